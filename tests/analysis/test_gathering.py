"""What files of data say is what is fitted."""

import random
from pathlib import Path

import pandas as pd
import pytest

from xlift.analysis.mixed import gathering

CODES = ["nan", "NA", "null", "None", "de"]  # Min Nan, Namibia, and what people call things


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_codes_that_look_like_nothing_are_texts_and_nothing_else_is(tmp_path: Path, suffix):  # review A3.21
    draw = random.Random(1)
    rows = [(code, i, draw.random()) for code in CODES for i in range(4)]
    frame = pd.DataFrame(rows, columns=["language", "n", "gain"])
    frame["told"] = ["", "x", *["NA"] * 18]
    frame["size"] = ["NA", "", *range(18)]
    path = tmp_path / f"rows{suffix}"
    frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    found = gathering.opened(path)
    assert found["language"].tolist() == frame["language"].tolist()
    assert found["told"].isna().tolist() == [True] + [False] * 19  # an empty field is missing
    assert found["size"].tolist()[2:] == list(range(18)) and found["size"][:2].isna().all()  # and so is NA among numbers
    pd.testing.assert_series_equal(found["gain"], frame["gain"])
