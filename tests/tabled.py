"""A table of scores that has no fault, and its manifest: to change and to load."""

import csv
import io
import random

HEAD = ["model", "size", "family", "intermediate", "target", "language", "seed", "metric", "score", "items", "protocol", "source"]
MANIFEST = """\
schema: xlift/1
id: told
question: Does it grow?
data:
  source: table
  file: scores.csv
  origin: published
  columns: {parameters: size}
analysis: {x: params_total}
"""
Rows = list[dict[str, str]]


def table() -> Rows:
    """Four models, with and without mnli, on two targets in two languages, at two seeds."""
    draw = random.Random(1)
    return [
        dict(zip(HEAD, map(str, row), strict=True))
        for model, size in (("a", 10**8), ("b", 10**9), ("c", 3 * 10**9), ("d", 10**10))
        for intermediate in ("none", "mnli")
        for target in ("xnli", "mine")
        for language in ("de", "sw")
        for seed in (1, 2)
        for row in [
            (
                model,
                size,
                "f",
                intermediate,
                target,
                language,
                seed,
                "accuracy",
                round(draw.uniform(0.4, 0.9), 4),
                500,
                "zero-shot",
                "A 2020",
            )
        ]
    ]


def text_of(rows: Rows) -> str:
    made = io.StringIO()
    writer = csv.DictWriter(made, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return made.getvalue()
