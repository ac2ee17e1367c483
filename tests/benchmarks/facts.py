"""What an answer takes on a registry of many finished runs, and what a study's report does.

    python tests/benchmarks/facts.py [--runs 11760] [--languages 8] [--metrics 1] [--studies 1] [--store DIR]
    python tests/benchmarks/facts.py --report --runs 840 --languages 12 --store /tmp/store      # 8,316 gains
    python tests/benchmarks/facts.py --report --runs 2520 --languages 32 --store /tmp/larger    # 70,308 gains

Makes a store of so many finished evaluations and their trainings, file by file in the form of real ones, and asks it for the mean
gain by target: first, again, and after 100 more runs; with --report it writes the first study's report. CPU seconds beyond those of
the imports, and the largest memory.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from xlift.registry import kept
from xlift.registry.card import Analysis, Cell, StageCard, StudyCard
from xlift.registry.store import FileMark, Record, Store, part_name

QUERY = "SELECT target, avg(gain) AS gain FROM gains GROUP BY target ORDER BY target"
MODELS, TREATMENTS, TARGETS = 7, 10, 12  # of which one is the baseline
MORE = 100  # runs
CODES = "en de fr es zh ar hi sw ru tr vi th bg el ur ja ko fi hu it nl pl pt ro sv ta te id he fa et eu lt".split()


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def axes(runs: int) -> Iterator[tuple[int, str, str, str]]:
    """Seed, model, treatment and target, seed by seed."""
    seeds = -(-runs // (MODELS * TREATMENTS * TARGETS))
    for at, (seed, model, treated, target) in enumerate(product(*map(range, (seeds, MODELS, TREATMENTS, TARGETS)))):
        if at < runs:
            yield seed + 1, f"model-{model}", f"task-{treated}" if treated else "none", f"target-{target}"


def chance(*words: object) -> float:
    """Between -1 and 1, by what is said."""
    return int(digest(*words)[:6], 16) / 16**6 * 2 - 1


def truth(cell: Cell, language: str, k: int) -> float:
    """A score that rises with size, with effects of all that is crossed, and noise."""
    size, treated = int(cell.model[-1]), cell.intermediate
    bonus = 0.0 if treated == "none" else 0.02 + 0.01 * chance(treated) + 0.01 * chance(treated, cell.target)
    shared = 0.1 * chance(language) + 0.1 * chance(cell.target) + 0.02 * chance(cell.model, language)
    runs = 0.01 * chance(cell.stage) + 0.01 * chance(treated, cell.model, cell.seed) + 0.01 * chance(cell.stage, language, k)
    return 0.5 + 0.02 * size + bonus * (1 - 0.1 * size) + shared + runs


def card(study: str, runs: int, languages: int) -> StudyCard:
    codes, cells, stages = CODES[:languages], list[Cell](), list[StageCard]()
    for seed, model, treated, target in axes(runs):
        size = 10**8 * 2 ** int(model[-1])
        common = {"model": model, "family": "made", "params_total": size, "params_non_embedding": size}
        ids = [digest(study, seed, model, treated, target, kind)[:16] for kind in ("train", "evaluate")]
        for kind, id, parent in zip(("train", "evaluate"), ids, (None, ids[0]), strict=True):
            stages.append(StageCard(id=id, kind=kind, task=target, seed=seed, parent=parent, source="local", **common))
        data = {code: digest(target, code) for code in codes}
        own = {"intermediate": treated, "variant": "plain", "target": target, "seed": seed}
        cells.append(Cell(stage=ids[1], languages=tuple(codes), data=data, **common, **own))
    known = {"question": "How long?", "source_language": "en", "analysis": Analysis()}
    return StudyCard(study=study, cells=tuple(cells), stages=tuple(stages), **known)


def write(store: Store, made: StudyCard, metrics: int, which: slice) -> None:
    """Some evaluations of a card and their trainings, as commits leave them."""
    pairs = zip(made.cells, zip(made.stages[::2], made.stages[1::2], strict=True), strict=True)
    for cell, (training, evaluation) in list(pairs)[which]:
        for stage in (training, evaluation):
            files = {}
            folder = store.folder(stage.id)
            (folder / "scores").mkdir(parents=True)
            for language in cell.languages if stage.kind == "evaluate" else ():
                lines = ""
                for k in range(metrics):
                    score = {"language": language, "metric": f"m{k}", "value": truth(cell, language, k), "primary": k == 0}
                    lines += json.dumps(score | {"items": 500, "chance": 0.1, "se": 0.02, "data": cell.data[language]}) + "\n"
                name = part_name(language, cell.data[language]).replace(".jsonl", ".1.jsonl")
                (folder / name).write_text(lines)
                files[name] = FileMark(size=len(lines), sha256=hashlib.sha256(lines.encode()).hexdigest())
            (folder / "stage.json").write_text(json.dumps({"kind": stage.kind, "seed": stage.seed, "id": stage.id}))
            known = {"started": "2026-11-30T10:00:00.000+00:00", "seconds": 60.0, "host": "here", "versions": {"torch": "2.13.0"}}
            record = Record(id=stage.id, files=files, released=stage.kind == "train", **known)
            (folder / "record.json").write_text(record.model_dump_json(indent=1))


def made(root: Path, runs: int, languages: int, metrics: int, studies: int) -> Store:
    """Studies of so many runs together; of the first one, MORE are planned beside them."""
    store = Store(root)
    for at in range(studies):
        count = runs // studies
        each = card(f"study-{at}", count + MORE * (at == 0), languages)
        kept.write(store.root / "studies" / f"{each.study}.json", each)
        write(store, each, metrics, slice(count))
    return store


def used(*command: str) -> tuple[float, float, str]:
    """CPU seconds of a process, its largest memory in GB, and what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)[:200]} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, said


def asked(root: Path, name: str, nothing: float, times: int = 3) -> str:
    """The least of some times: other work on a machine only adds."""
    taken, memory, said = min(used(sys.executable, "-m", "xlift", "sql", QUERY, "--store", str(root)) for _ in range(times))
    print(f"{name}: {taken - nothing:.2f} CPU s beyond imports, {memory:.2f} GB", flush=True)
    return said


def reported(store: Store, out: Path) -> None:
    from xlift.analysis import facts
    from xlift.analysis.report.page import report

    own, begun = store.cards()[0], time.process_time()
    connection = facts.connect(store, [own])
    print(f"read: {time.process_time() - begun:.1f} CPU s")
    page = report(own, connection).write(out)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    gains = connection.execute("SELECT count(*) FROM gains").fetchone()[0]
    print(
        f"{gains} gains: {time.process_time() - begun:.1f} CPU s, a page of {page.stat().st_size / 1e6:.2f} MB, {memory:.2f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11760)
    parser.add_argument("--languages", type=int, default=8)
    parser.add_argument("--metrics", type=int, default=1)
    parser.add_argument("--studies", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--store", type=Path, help="made there where it is absent, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.store or Path(folder) / "store"
        if not root.exists():
            made(root, options.runs, options.languages, options.metrics, options.studies)
        if options.report:
            reported(Store(root), Path(folder) / "report")
            return
        (Path(folder) / "empty" / "runs").mkdir(parents=True)
        (Path(folder) / "empty" / "studies").mkdir()
        empty = [sys.executable, "-m", "xlift", "sql", QUERY, "--store", str(Path(folder) / "empty")]
        nothing = min(used(*empty)[0] for _ in range(3))
        print(f"{options.runs} runs, {options.runs * options.languages * options.metrics} scores; imports {nothing:.2f} CPU s")
        first = asked(root, "first", nothing, times=1)
        assert asked(root, "again", nothing) == first
        store = Store(root)
        write(store, store.cards()[0], options.metrics, slice(options.runs // options.studies, None))
        assert asked(root, f"after {MORE} more runs", nothing) != first


if __name__ == "__main__":
    main()
