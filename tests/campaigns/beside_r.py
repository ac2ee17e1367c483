"""400 random meta-analyses and 200 random mixed models, beside R (lmerTest with pbkrtest, metafor).

    sh tests/campaigns/r-packages.sh                 # Debian's packages, as root
    python tests/campaigns/beside_r.py               # some five minutes
    python tests/campaigns/beside_r.py --summary     # what the rows say

Meta-analyses have two to twelve studies, one to several effects each, ties among them, a moderator in some, and every estimator and
test: z, Knapp and Hartung's, t by containment and on k - p. Mixed models have three to nine models, crossed and nested factors, lost
rows, and fixed effects that depend on each other in a third of them (`--aliased drop`, as lmer drops columns). Rows go to
experiments/results/inference/beside-r.csv: the largest relative difference of estimates, standard errors, degrees of freedom and p.

Bars, those of tests/analysis: estimates and standard errors 1e-6, degrees of freedom 1e-5, p 1e-4 where they are told; a criterion
is never above R's. R stops early where a variance is hardly there: a case whose criterion R leaves above ours by more than 1e-8 says
nothing of us, and is counted apart; so is one of which the fit itself says that its variances cannot be told apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from xlift.analysis import meta, mixed
from xlift.registry.findings import UserError

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "experiments" / "results" / "inference" / "beside-r.csv"
METAS, MIXED = 400, 200
TIGHT, LOOSE = 1e-6, 1e-5  # estimates and standard errors; degrees of freedom
METHODS = ("REML", "ML", "DL", "HE", "SJ", "EB", "FE")


def drawn_meta(number: int) -> tuple[dict, pd.DataFrame]:
    rng = np.random.default_rng([1, number])
    studies = int(rng.integers(2, 13))
    each = rng.integers(1, 5, studies) if number % 2 else np.ones(studies, int)
    study = np.repeat(np.arange(studies), each)
    k = len(study)
    v = rng.uniform(0.005, 0.08, k)
    y = 0.3 + 0.25 * rng.normal(size=studies)[study] + rng.normal(size=k) * np.sqrt(v + rng.choice([0.0, 0.03]))
    if number % 7 == 0:
        y = np.round(y, 1)  # ties
    rows = pd.DataFrame({"study": [f"s{i}" for i in study], "effect": [f"e{i}" for i in range(k)], "yi": y, "vi": v})
    rows["x"] = rng.normal(size=studies)[study] if rng.random() < 0.5 else rng.normal(size=k)
    moderators = "~ x" if rng.random() < 0.4 and k > 4 and studies > 3 else "~ 1"
    case = {"name": f"meta{number}", "kind": "meta", "moderators": moderators}
    if number % 2:
        dfs = str(rng.choice(["contain", "residual"]))
        method = str(rng.choice(["REML", "ML"]))
        nested = rng.random() < 0.7 and each.max() > 1
        case |= {"random": ["~ 1 | study", "~ 1 | effect"] if nested else ["~ 1 | study"], "dfs": dfs, "method": method}
    else:
        case |= {"method": str(rng.choice(METHODS)), "test": str(rng.choice(["z", "knha", "t"]))}
        case["test"] = "z" if case["method"] == "FE" else case["test"]
    return case, rows


def ours_meta(case: dict, rows: pd.DataFrame) -> meta.Meta:
    options = {"moderators": case["moderators"], "method": case["method"]}
    if "random" in case:
        terms = " + ".join(f"(1 | {text.split('| ')[1]})" for text in case["random"])
        return meta.meta(rows, "yi", "vi", random=terms, df=case["dfs"], **options)
    if case["test"] == "t":
        options["df"] = "residual"
    return meta.meta(rows, "yi", "vi", knapp_hartung=case["test"] == "knha", **options)


FORMULAS = (
    "gain ~ lp * inter + family + (1 | lang) + (1 | model)",
    "gain ~ lp * inter + family + (1 + lp | lang) + (1 | model) + (1 | target)",
    "gain ~ lp + inter + (1 | lang) + (1 | model) + (1 | model:inter)",
    "gain ~ lp * inter + (1 | target) + (1 | model) + (1 | target:inter)",
    "gain ~ inter + family + (1 | lang) + (1 | model) + (0 + lp | lang)",
)


def drawn_mixed(number: int) -> tuple[dict, pd.DataFrame]:
    rng = np.random.default_rng([2, number])
    models, inters, langs, targets = (int(rng.integers(*ends)) for ends in ((4, 10), (2, 4), (3, 6), (2, 4)))
    axes = [np.arange(n) for n in (models, inters, langs, targets)]
    m, i, lang, t = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    sizes = np.round(np.sort(rng.uniform(-1, 1, models)), 2)
    family = rng.permutation(np.arange(models) % 2)
    keep = rng.random(len(m)) > 0.1
    if number % 3 == 0:  # a treatment on one model: its slope is no column of its own
        keep &= (i != inters - 1) | (m == rng.integers(models))
    sd = dict(zip("abcdef", rng.choice([0.0, 0.3, 0.8, 1.5], 6), strict=True))
    y = 1 + 0.5 * i + sizes[m] + 0.7 * family[m] + sd["a"] * rng.normal(size=models)[m] + sd["b"] * rng.normal(size=langs)[lang]
    y += sd["c"] * rng.normal(size=targets)[t] + sd["d"] * rng.normal(size=(models, inters))[m, i] + rng.normal(size=len(m))
    y += sd["e"] * rng.normal(size=langs)[lang] * sizes[m]
    rows = pd.DataFrame({"gain": y, "lp": sizes[m], "model": [f"m{k}" for k in m], "inter": [f"i{k}" for k in i]})
    rows = rows.assign(lang=[f"l{k}" for k in lang], target=[f"t{k}" for k in t], family=[f"f{k}" for k in family[m]])
    return {"name": f"mixed{number}", "kind": "mixed", "formula": FORMULAS[number % len(FORMULAS)]}, rows[keep].reset_index(
        drop=True
    )


def relative(ours: np.ndarray, theirs: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference, relative to R's number, or to `floor` where that is larger."""
    ours, theirs = np.atleast_1d(np.asarray(ours, float)), np.atleast_1d(np.asarray(theirs, float))
    apart = ours != theirs  # which infinities may not be
    return float(np.max(np.abs(ours - theirs)[apart] / np.maximum(np.abs(theirs[apart]), floor), initial=0.0))


def compared_meta(case: dict, rows: pd.DataFrame, theirs: dict) -> dict:
    row = {"case": case["name"], "asked": " ".join(str(case.get(name, "")) for name in ("method", "test", "dfs", "moderators"))}
    try:
        found = ours_meta(case, rows)
    except UserError as error:
        return row | {"said": str(error)}
    if "error" in theirs:
        return row | {"said": f"R: {theirs['error']}"}
    table, scale = found.estimates, float(np.median(rows["vi"]))
    df = np.where(np.asarray(theirs["df"], float) >= 1e98, np.inf, theirs["df"])
    ahead = found.loglik - theirs["loglik"]
    return row | {
        "estimate": relative(table["estimate"], theirs["estimate"], floor=float(np.sqrt(scale))),
        "se": relative(table["se"], theirs["se"]),
        "df": relative(table["df"], df),
        "p": relative(table["p"], theirs["p"], floor=1e-6),
        "criterion": -2 * ahead if case["method"] in ("REML", "ML") else 0.0,
    }


def compared_mixed(case: dict, rows: pd.DataFrame, theirs: dict) -> dict:
    row = {"case": case["name"], "asked": case["formula"]}
    if "error" in theirs:
        return row | {"said": f"R: {theirs['error']}"}
    fit = mixed.fit(case["formula"], rows, aliased="drop")
    names = [r_name(term) for term in fit.cross.names]
    assert sorted(names) == sorted(theirs["terms"]), (names, theirs["terms"])
    other = pd.DataFrame(theirs["effects"], index=theirs["terms"]).loc[names]
    raw = pd.DataFrame({"estimate": fit.params.to_numpy(), "se": np.sqrt(np.diag(fit.cov_params()))})
    told = fit.effects["df"].notna().to_numpy()
    ours = fit.effects[told]
    return row | {
        "estimate": relative(raw["estimate"], other["estimate"], floor=float(rows["gain"].std())),
        "se": relative(raw["se"], other["se"]),
        "df": relative(ours["df"], other["df"][told]),
        "p": relative(ours["p"], other["p"][told], floor=1e-6),
        "criterion": fit.criterion - theirs["criterion"],
        "aliased": len(fit.grid.design.aliased),
        "said": "variances not told apart" if any(caution.kind == "confounded" for caution in fit.cautions) else None,
    }


def r_name(term: str) -> str:
    return term.replace("Intercept", "(Intercept)").replace("[T.", "").replace("]", "")


def run() -> None:
    drawn = [*(drawn_meta(number) for number in range(METAS)), *(drawn_mixed(number) for number in range(MIXED))]
    with tempfile.TemporaryDirectory() as folder:
        for case, rows in drawn:
            rows.to_csv(Path(folder) / f"{case['name']}.csv", index=False)
        (Path(folder) / "cases.json").write_text(json.dumps([case for case, _ in drawn]))
        subprocess.run(["Rscript", HERE / "beside_r.R", folder], check=True)
        answers = json.loads((Path(folder) / "answers.json").read_text())
    compare = {"meta": compared_meta, "mixed": compared_mixed}
    table = [compare[case["kind"]](case, rows, theirs) for (case, rows), theirs in zip(drawn, answers, strict=True)]
    pd.DataFrame(table).to_csv(RESULTS, index=False, float_format="%.3g")


def summary() -> pd.DataFrame:
    table = pd.read_csv(RESULTS)
    rows = []
    for kind in ("meta", "mixed"):
        own = table[table["case"].str.startswith(kind)]
        early = own["criterion"] < -1e-8  # R stopped above ours
        split = own["said"].eq("variances not told apart")  # which the fit says: estimates depend on a split that nothing tells
        fair = own[own["estimate"].notna() & ~early & ~split]
        off = fair[
            (fair[["estimate", "se"]] > TIGHT).any(axis=1)
            | (fair["df"] > LOOSE)
            | (fair["p"] > 1e-4)
            | (fair["criterion"] > 1e-8)
        ]
        worst = fair[["estimate", "se", "df", "p", "criterion"]].max()
        rows.append(
            {
                "kind": kind,
                "cases": len(own),
                "not answered": int(own["estimate"].isna().sum()),
                "R stopped early": int(early.sum()),
                "variances not told apart": int(split.sum()),
            }
            | {f"worst {name}": f"{value:.1e}" for name, value in worst.items()}
            | {"beyond the bars": len(off), "which": " ".join(off["case"])}
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--summary", action="store_true")
    if not parser.parse_args().summary:
        run()
    print(summary().to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
