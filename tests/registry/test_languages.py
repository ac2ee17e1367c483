import re

from xlift.registry.known.languages import LANGUAGES, XTREME
from xlift.registry.known.models import MODELS
from xlift.registry.known.pretraining import PRETRAINING, pretraining


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


def test_pretrainings_are_of_known_models_and_languages():
    models = {model.hub for model in MODELS.values()} | {model.family for model in MODELS.values()}
    for name, known in PRETRAINING.items():
        assert name in models
        assert known is None or (known.languages <= LANGUAGES.keys() and known.count >= len(known.languages) and known.source)
    assert "yo" not in pretraining("FacebookAI/xlm-roberta-base").languages
    assert pretraining("facebook/xglm-4.5B") is None and "qu" in pretraining("facebook/xglm-7.5B").languages
    assert pretraining(None) is None and pretraining("ours/xlmr") is None


def test_distances_are_shares_and_english_is_at_none():
    assert LANGUAGES["en"].distance == 0
    assert all(0 < language.distance < 1 for code, language in LANGUAGES.items() if code != "en")
