"""From a Parquet file through Kenward-Roger: CPU seconds and memory above the imports, in a fresh process a size.

    python tests/benchmarks/speed.py                # 50,000 rows; 500,000 rows in 20,000 cells; the verb on 1,000 rows
    python tests/benchmarks/speed.py --lme4         # the same 50,000 rows in R's lme4 (Debian: apt-get install r-cran-lme4)
    python tests/benchmarks/speed.py --study        # a study's own model: 71,280 gains, whole and with 20 % lost
    python tests/benchmarks/speed.py --study --lme4 # and 6,480 gains in 1,620 cells beside lmerTest (r-cran-lmertest), alternated

Bars: 0.5 CPU s, 1 CPU s, 100 MB, 3 s; lme4's default fit at least 20 times slower at 50,000 rows. A study's own model: 10 CPU s
and 700 MB through Kenward-Roger; lme4 with Satterthwaite at least 3 times slower at 1,620 cells.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORMULA = "gain ~ lp * inter + (1 + lp | lang) + (1 | target) + (1 | model) + (1 | model:inter)"
SHARED = "gain ~ lp * treatment + (1 + lp | language) + (1 | target) + (1 | model) + (1 | model:target) + (1 | cell)"
SHAPES = {"50k": (6, 9, 9, 36, 3), "500k": (6, 9, 9, 40, 27)}
CHILD = """
import resource, sys, time, json
import duckdb, formulaic, numpy, pandas, scipy.linalg, scipy.optimize, scipy.stats
from xlift.analysis.mixed import cautions
from xlift.analysis import facts, mixed
peak = lambda: int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) / 1024
before, start = peak(), time.process_time()
fit = mixed.fit(sys.argv[2], sys.argv[1])
fit.effects, fit.warnings
print(json.dumps({"rows": fit.nobs, "random effects": fit.state.model.q, "cpu_s": round(time.process_time() - start, 3),
                  "memory_mb": round(peak() - before, 1), "criterion": fit.criterion, "lp": fit.params["lp"]}))
"""
LMERTEST = """
suppressMessages({library(lme4); library(lmerTest)}); d <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
used <- system.time({m <- lmerTest::lmer(%s, d); s <- coef(summary(m))})
cat(sprintf('{"rows": %%d, "cpu_s": %%.3f, "criterion": %%.9f, "lp": %%.9f}', nrow(d), used[1] + used[2], REMLcrit(m), fixef(m)["lp"]))
"""
LME4 = """
suppressMessages(library(lme4)); d <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
used <- system.time(m <- lmer(%s, d))
cat(sprintf('{"rows": %%d, "cpu_s": %%.3f, "criterion": %%.9f, "lp": %%.9f}', nrow(d), used[1] + used[2], REMLcrit(m), fixef(m)["lp"]))
"""


def measured(path: Path, formula: str = FORMULA) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), formula], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def verb(frame, folder: Path) -> dict:
    frame.head(1000).to_csv(folder / "small.csv", index=False)
    environment, start = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import xlift.cli; xlift.cli.main()",
            "fit",
            "--data",
            str(folder / "small.csv"),
            "--formula",
            FORMULA,
        ],
        env=environment,
        capture_output=True,
        check=True,
    )
    return {"rows": 1000, "wall_s": round(time.perf_counter() - start, 2)}


def lme4(frame, folder: Path, formula: str = FORMULA, script: str = LME4) -> dict:
    if not shutil.which("Rscript"):
        raise SystemExit("no Rscript; on Debian: apt-get install r-cran-lme4")
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "fit.R").write_text(script % formula)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        ["Rscript", "--vanilla", str(folder / "fit.R"), str(folder / "rows.csv")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def own_model(folder: Path, *, beside: bool) -> None:
    """The primary model of a large study, and (1 | cell) beside lmerTest."""
    import registries

    from xlift.analysis.study.primary import DEFAULT

    for lost in (0.0, 0.2):
        large = registries.study(models=8, treatments=11, targets=9, languages=30, seeds=3, lost=lost)
        large.to_parquet(folder / "large.parquet", index=False)
        print("default formula", json.dumps(measured(folder / "large.parquet", DEFAULT["these"])), flush=True)
    small = registries.study(models=6, treatments=4, targets=9, languages=30, seeds=1)
    small.to_parquet(folder / "small.parquet", index=False)
    for _ in range(3):
        ours = measured(folder / "small.parquet", SHARED)
        print("1,620 cells", json.dumps(ours), flush=True)
        if beside:
            theirs = lme4(small, folder, SHARED, LMERTEST)
            print("lmerTest", json.dumps(theirs), f"{theirs['cpu_s'] / ours['cpu_s']:.1f} times our CPU time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lme4", action="store_true")
    parser.add_argument("--study", action="store_true")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests" / "analysis")]
    import registries

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.study:
            own_model(folder, beside=options.lme4)
            return
        for label, shape in SHAPES.items():
            frame = registries.simulate(*shape, seed=1).sample(frac=1, random_state=0)  # rows in no order
            frame.to_parquet(folder / f"{label}.parquet", index=False)
            ours = measured(folder / f"{label}.parquet")
            print(label, json.dumps(ours), flush=True)
            if label == "50k":
                print("verb", json.dumps(verb(frame, folder)), flush=True)
                if options.lme4:
                    theirs = lme4(frame, folder)
                    print("lme4", json.dumps(theirs), f"{theirs['cpu_s'] / ours['cpu_s']:.0f} times our CPU time", flush=True)


if __name__ == "__main__":
    main()
