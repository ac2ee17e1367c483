import re

from xlift.registry.known.languages import LANGUAGES, XTREME


def test_the_benchmark_has_forty_languages():
    assert " ".join(XTREME) == (
        "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl tr ur vi yo zh"
    )


def test_every_row_is_complete_and_stands_under_its_own_code():
    for code, language in LANGUAGES.items():
        assert language.code == code and re.fullmatch("[a-z]{2}", code)
        assert re.fullmatch("[A-Z][a-z]{3}", language.script), code
        assert language.name and language.family and language.source


def test_names_are_unique():
    assert len({language.name for language in LANGUAGES.values()}) == len(LANGUAGES)


def test_isolates_share_no_family():
    alone = ("eu", "ko", "ja", "ka", "th")
    families = [language.family for language in LANGUAGES.values()]
    assert all(families.count(LANGUAGES[code].family) == 1 for code in alone)


def test_scripts_differ_from_latin_where_the_family_does_not_tell():
    scripts = {code: LANGUAGES[code].script for code in ("sw", "bg", "kk", "tr", "ur", "hi", "zh", "vi")}
    assert scripts == {
        "sw": "Latn",
        "bg": "Cyrl",
        "kk": "Cyrl",
        "tr": "Latn",
        "ur": "Arab",
        "hi": "Deva",
        "zh": "Hani",
        "vi": "Latn",
    }
