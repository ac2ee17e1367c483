"""Random answers in MLQA's seven languages, the same in every process, and what the benchmark's own script says of them.

`mlqa-f1.json.gz` holds, by language, the F1 of each of the 3,000 cases of `cases(language)`, from `f1_score` of
mlqa_evaluation_v1.py at commit 5ef5c731a96acb7008b51aac4acb5fa9dff4f297 of facebookresearch/MLQA, and the cases' sha-256.
With that script in this folder, `python mlqa.py` writes the file again.
"""

import gzip
import hashlib
import json
import random
from pathlib import Path

LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")
FILE = Path(__file__).with_name("mlqa-f1.json.gz")
WORDS = {
    "ar": "ال البيت بيت الكلب كلب في سنة ١٩٩٩ والكتاب كتاب مدينة المدينة الملك و ، ؟ « » ـ",
    "de": "der die das den dem des ein eine einen einem eines einer Eiffelturm Jahr 1999 Größe GRÖSSE Straße in „ “ , . - ’s",
    "en": "the a an The AN house's house 1999 of U.S. (state) co-op “quoted” naïve don't $5 50% + = theory",
    "es": "el la los las un una unos unas El «Quijote» Quijote año 1999 ¿qué? ¡sí! de niño - ella",
    "hi": "यह एक घर है । राजा 1999 १९९९ में का की , ॥ (दिल्ली) किताब",
    "vi": "của là cái chiếc những Của nhà năm 1999 thành phố Hà Nội . , – cáichén lành",
    "zh": "1999年 的 北京 。 ， 《红楼梦》 「中」 city 在 中国 人口 3.5亿 ～ 、 A座",
}


def cases(language: str, count: int = 3000) -> list[tuple[str, str]]:
    """(gold, guess) pairs that often share words, with odd blanks, case, punctuation and a word cut in two."""
    draw, words = random.Random(f"mlqa {language}"), WORDS[language].split()
    found = []
    for _ in range(count):
        gold = [draw.choice(words) for _ in range(draw.randint(1, 6))]
        guess = [w for w in gold if draw.random() < 0.7] + [draw.choice(words) for _ in range(draw.randint(0, 2))]
        texts = []
        for side in (gold, guess):
            text = draw.choice([" ", " ", "  ", "" if language == "zh" else " ", "\t", "-"]).join(side)
            text = draw.choice([str, str.upper, str.title, str])(text)
            cut = draw.randint(0, len(text))
            texts.append(text[:cut] + draw.choice(["", "", " ", ".", "…", "،", "。", "^", "$", "`"]) + text[cut:])
        found.append((texts[0], texts[1]))
    return found


def digest(language: str) -> str:
    return hashlib.sha256(json.dumps(cases(language), ensure_ascii=False).encode()).hexdigest()


if __name__ == "__main__":
    from mlqa_evaluation_v1 import f1_score  # type: ignore[import-not-found]

    content = {
        name: {"cases": digest(name), "f1": [round(f1_score(guess, gold, name), 6) for gold, guess in cases(name)]}
        for name in LANGUAGES
    }
    FILE.write_bytes(gzip.compress(json.dumps(content, separators=(",", ":")).encode(), mtime=0))
