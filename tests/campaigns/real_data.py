"""Where real data and models for campaigns are: XLIFT_DATA, the folder of XTREME's development data, and models/."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def data() -> Path:
    """The folder of `<task>/<split>.<language>.jsonl.gz`; SystemExit, in words, where it is not given."""
    folder = os.environ.get("XLIFT_DATA")
    if not folder or not (Path(folder) / "xnli").is_dir():
        raise SystemExit(
            "set XLIFT_DATA to the folder that holds XTREME's development data, as <task>/<split>.<language>.jsonl.gz"
        )
    return Path(folder)
