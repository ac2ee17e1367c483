"""What the page says of copies and means among the rows of a table (review A3.21)."""

import tabled

from xlift import studies
from xlift.analysis import facts, paired
from xlift.analysis.study.faults import faults
from xlift.registry.manifest.load import read_manifest
from xlift.registry.store import Store


def notes(folder, rows: tabled.Rows) -> list[str]:
    folder.mkdir()
    (folder / "scores.csv").write_text(tabled.text_of(rows))
    (folder / "study.yaml").write_text(tabled.MANIFEST)
    study, store = read_manifest(folder / "study.yaml"), Store(folder / "store")
    studies.imported(study, store)
    connection = facts.connect(store, [study.card()])
    found = faults(study.card(), paired.gains(connection, "told"), paired.scores(connection, "told"))
    return [note.text for note in found if note.text.startswith(("Copied seeds", "A mean among"))]


def test_copies_of_seeds_and_means_among_languages_are_on_the_page(tmp_path):
    rows = tabled.table()
    rows += [{**row, "language": "fr", "score": f"{float(row['score']) / 2:.4f}"} for row in rows if row["language"] == "de"]
    assert not notes(tmp_path / "faultless", rows)
    key = ("model", "intermediate", "target", "language")
    first = {tuple(row[name] for name in key): row["score"] for row in reversed(rows)}
    copied = [{**row, "score": first[tuple(row[name] for name in key)]} if row["model"] == "a" else row for row in rows]
    (said,) = notes(tmp_path / "copies", copied)
    assert "4 of the 32 runs have every score of another seed" in said
    (said,) = notes(
        tmp_path / "means", [{**row, "language": {"fr": "AVG"}.get(row["language"], row["language"])} for row in rows]
    )
    assert "'AVG' looks like one over languages" in said
