"""Languages' syntactic distances to English, from URIEL's vectors, beside those of `known/languages.py`.

    pip install --no-deps lang2vec==1.1.2
    python tests/campaigns/uriel.py

A line a language, and exit status 1 where one differs.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from xlift.registry.known.languages import LANGUAGES

OWN = {"ar": "arb", "fa": "pes", "et": "ekk", "zh": "cmn", "ms": "zsm", "sw": "swh", "qu": "quz", "he": "heb"}


def main() -> int:
    found = find_spec("lang2vec")
    if found is None:
        raise SystemExit("pip install --no-deps lang2vec==1.1.2")
    data = Path(found.origin).parent / "data"
    filled = np.load(data / "feature_predictions.npz")
    codes = json.loads((data / "letter_codes.json").read_text())
    syntax = [at for at, name in enumerate(filled["feats"]) if name.startswith("S_")]
    rows = {name: at for at, name in enumerate(filled["langs"])}

    def vector(code: str) -> np.ndarray:
        return filled["data"][rows[OWN.get(code, codes.get(code))], syntax, 0].astype(float)

    english, wrong = vector("en"), 0
    for code, language in LANGUAGES.items():
        here = vector(code)
        distance = 1 - here @ english / np.sqrt((here @ here) * (english @ english))
        differs = abs(distance - language.distance) > 5e-4
        wrong += differs
        print(f"{code}  {distance:.3f}  {language.distance:.3f}{'  differs' if differs else ''}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
