"""Facts about the languages of XTREME (Hu et al. 2020), and of a few data sets beside it."""

from dataclasses import dataclass

_XTREME = "code: XTREME (Hu et al. 2020); family and script recalled"
_BESIDE = {"ro": "XQuAD", "ht": "XCOPA", "qu": "XCOPA"}  # data sets with languages that XTREME lacks


@dataclass(frozen=True, slots=True)
class Language:
    """A language by its ISO 639-1 code.

    `script` is the ISO 15924 code of the one that its test sets are written in; Hani, for Chinese, stands for
    simplified and traditional characters, which the test sets mix. An isolate is a family of its own, so that no two
    isolates are grouped. `xtreme` says that it is one of the benchmark's 40.
    """

    code: str
    name: str
    family: str
    script: str
    source: str
    xtreme: bool = True


_FAMILIES: dict[str, str] = {
    "Indo-European": "af:Afrikaans bg:Bulgarian:Cyrl bn:Bengali:Beng de:German el:Greek:Grek en:English es:Spanish "
    "fa:Persian:Arab fr:French hi:Hindi:Deva it:Italian mr:Marathi:Deva nl:Dutch pt:Portuguese "
    "ru:Russian:Cyrl ur:Urdu:Arab ro:Romanian ht:Haitian",
    "Afro-Asiatic": "ar:Arabic:Arab he:Hebrew:Hebr",
    "Austro-Asiatic": "vi:Vietnamese",
    "Austronesian": "id:Indonesian jv:Javanese ms:Malay tl:Tagalog",
    "Basque": "eu:Basque",
    "Dravidian": "ml:Malayalam:Mlym ta:Tamil:Taml te:Telugu:Telu",
    "Japonic": "ja:Japanese:Jpan",
    "Kartvelian": "ka:Georgian:Geor",
    "Koreanic": "ko:Korean:Kore",
    "Kra-Dai": "th:Thai:Thai",
    "Niger-Congo": "sw:Swahili yo:Yoruba",
    "Quechuan": "qu:Quechua",
    "Sino-Tibetan": "my:Burmese:Mymr zh:Chinese:Hani",
    "Turkic": "kk:Kazakh:Cyrl tr:Turkish",
    "Uralic": "et:Estonian fi:Finnish hu:Hungarian",
}


def _rows() -> dict[str, Language]:
    """One row a word of `_FAMILIES`: code, name and, where it is not Latin, script; in the order of the codes."""
    rows = {}
    for family, words in _FAMILIES.items():
        for code, name, *script in (word.split(":") for word in words.split()):
            beside = _BESIDE.get(code)
            source = f"code: {beside}; family and script recalled" if beside else _XTREME
            rows[code] = Language(code, name, family, script[0] if script else "Latn", source, xtreme=beside is None)
    return dict(sorted(rows.items()))


LANGUAGES: dict[str, Language] = _rows()
XTREME: tuple[str, ...] = tuple(code for code, language in LANGUAGES.items() if language.xtreme)
