"""Power, as a table and a figure: more models, more seeds, more languages or more targets?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis.report import plots
from xlift.analysis.report.table import Table, points
from xlift.analysis.study.power import WANTED, Power
from xlift.registry.findings import UserError


def power_table(found: Sequence[Power], slopes: Sequence[float], *, note: str, tokens: float, flops: float) -> Table:
    """A row a design: its size, its cost, the slope that it detects, and the chance of finding `slopes` (points)."""
    data, shown = [], []
    for power in found:
        rows, (least, its_error) = power.design.rows, power.detectable
        sizes = {name: rows[name[:-1]].nunique() for name in ("models", "targets", "languages", "seeds")}
        jobs, hours = len(power.design.jobs), power.design.gpu_hours(tokens, flops)
        chances = {f"{slope:g}": power.at(slope / 100) for slope in slopes}
        data.append(
            {"design": power.design.name, **sizes, "gains": len(rows), "jobs": jobs, "gpu_hours": hours}
            | {"detectable_points": points(least), "detectable_mc_se": points(its_error)}
            | {f"power_{name}": chance for name, (chance, _) in chances.items()}
            | {f"power_{name}_mc_se": error for name, (_, error) in chances.items()}
            | {"samples": len(power.error), "failed": power.failed}
        )
        shown.append(
            {"Design": power.design.name}
            | {name.capitalize(): f"{count:,}" for name, count in sizes.items()}
            | {"Jobs": f"{jobs:,}", "GPU hours": f"{hours:,.0f}"}
            | {f"{100 * WANTED:.0f} % slope": f"{points(least):.2f} ± {points(its_error):.2f}"}
            | {f"at {name}": f"{100 * chance:.0f} % ± {100 * error:.0f}" for name, (chance, error) in chances.items()}
        )
    note += f" GPU hours at 6 x parameters x {tokens:.2g} tokens a training and {flops:.2g} FLOP a second."
    return Table("power", "What a design can find", pd.DataFrame(data), pd.DataFrame(shown), 1, note)


def note(known: Mapping[str, float], told: str, unknown: Sequence[str], samples: int, seed: int) -> str:
    """What was simulated: standard deviations (fractions) of `told`, those of which nothing is known, and the samples."""
    said = f"Standard deviations of {told}: {', '.join(f'{name} {points(sd):.2f}' for name, sd in known.items())} points. "
    said += f"Taken as 0, since nothing is known of them: {', '.join(unknown)}. " if unknown else ""
    return f"{said}{samples} samples a design, seed {seed}; ± is the Monte Carlo standard error; two-sided tests at 5 %."


def answer(found: Sequence[Power]) -> str:
    """Which of the designs that hold more than the declared one detects the smallest slope, and for how many jobs."""
    first, *others = found
    if not others:
        return ""
    best = min(others, key=lambda power: power.detectable[0])
    (least, its_error), (now, now_error) = best.detectable, first.detectable
    said = f"The design as declared detects {points(now):.2f} points for ten times the parameters; {best.design.name} detects "
    said += f"{points(least):.2f}, the smallest of these, with {len(best.design.jobs):,} jobs for {len(first.design.jobs):,}."
    if now - least < 2 * np.hypot(its_error, now_error):
        said += " That is no more than Monte Carlo error can tell."
    return said


def write(table: Table, found: Sequence[Power], out: Path) -> list[Path]:
    """power.md, power.csv, power.tex, power.svg and power.png in `out`."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is no folder; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    figure = plots.power([(power.design.name, *_curve(power)) for power in found], WANTED)
    texts = {"md": table.to_markdown(), "csv": table.to_csv(), "tex": table.to_latex(), "svg": plots.svg(figure)}
    for ending, text in texts.items():
        (out / f"power.{ending}").write_text(text, encoding="utf-8")
    (out / "power.png").write_bytes(plots.png(figure))
    return [out / f"power.{ending}" for ending in (*texts, "png")]


def _curve(power: Power) -> tuple[np.ndarray, np.ndarray]:
    """Slopes from 0 on, and the chance to find them."""
    top = power.detectable[0] * 2
    slopes = np.linspace(0, top if np.isfinite(top) else 0.2, 60)
    return slopes, np.array([power.at(slope)[0] for slope in slopes])
