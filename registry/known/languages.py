"""Facts about the languages of XTREME (Hu et al. 2020), and of a few data sets beside it."""

from dataclasses import dataclass
from functools import lru_cache

_XTREME = "code: XTREME (Hu et al. 2020); family and script recalled"
_BESIDE = {"ro": "XQuAD", "ht": "XCOPA", "qu": "XCOPA"}  # data sets with languages that XTREME lacks


@dataclass(frozen=True, slots=True)
class Language:
    """A language by its ISO 639-1 code.

    `script` is the ISO 15924 code of the one that its test sets are written in; Hani, for Chinese, stands for
    simplified and traditional characters, which the test sets mix. An isolate is a family of its own, so that no two
    isolates are grouped. `distance` is the syntactic distance to English in [0, 1]: one minus the cosine of the vectors that
    the URIEL database has of the languages' syntax, what is unknown filled in from their neighbours (`syntax_knn`; Littell
    et al. 2017, data of lang2vec 1.1.2; Standard Arabic, Mandarin, Standard Malay, Cusco Quechua). `xtreme` says that it is
    one of the benchmark's 40.
    """

    code: str
    name: str
    family: str
    script: str
    distance: float
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

# Language and distance; `tests/campaigns/uriel.py` computes them anew.
_DISTANCES = (
    "af:.151 ar:.356 bg:.142 bn:.417 de:.097 el:.217 en:0 es:.178 et:.216 eu:.377 fa:.479 "
    "fi:.289 fr:.188 he:.249 hi:.384 ht:.27 hu:.306 id:.273 it:.142 ja:.5 jv:.399 ka:.315 "
    "kk:.552 ko:.447 ml:.464 mr:.435 ms:.298 my:.605 nl:.076 pt:.158 qu:.528 ro:.204 ru:.188 "
    "sw:.526 ta:.486 te:.479 th:.361 tl:.391 tr:.493 ur:.384 vi:.34 yo:.4 zh:.288"
)


def _rows() -> dict[str, Language]:
    """One row a word of `_FAMILIES`: code, name and, where it is not Latin, script; in the order of the codes."""
    rows, distances = {}, dict(pair.split(":") for pair in _DISTANCES.split())
    for family, words in _FAMILIES.items():
        for code, name, *script in (word.split(":") for word in words.split()):
            beside = _BESIDE.get(code)
            source = f"code: {beside}; family and script recalled" if beside else _XTREME
            rows[code] = Language(
                code, name, family, script[0] if script else "Latn", float(distances[code]), source, xtreme=beside is None
            )
    return dict(sorted(rows.items()))


LANGUAGES: dict[str, Language] = _rows()
XTREME: tuple[str, ...] = tuple(code for code, language in LANGUAGES.items() if language.xtreme)

# ISO 639-2 and 639-3 codes, macrolanguage first (recalled), and older 639-1 codes
_LONGER = (
    "af:afr ar:ara:arb bg:bul bn:ben de:deu:ger el:ell:gre en:eng es:spa et:est eu:eus:baq fa:fas:per:pes fi:fin fr:fra:fre "
    "he:heb:iw hi:hin ht:hat hu:hun id:ind:in it:ita ja:jpn jv:jav ka:kat:geo kk:kaz ko:kor ml:mal mr:mar ms:msa:may:zsm "
    "my:mya:bur nl:nld:dut pt:por qu:que:quz ro:ron:rum ru:rus sw:swa:swh ta:tam te:tel th:tha tl:tgl:fil tr:tur ur:urd vi:vie "
    "yo:yor zh:zho:chi:cmn"
)
_NAMES: dict[str, str] = {name: code for code, *names in (word.split(":") for word in _LONGER.split()) for name in (code, *names)}
MEANS = frozenset("avg average mean all overall macro micro total".split())
_NAMES |= {language.name.casefold(): code for code, language in LANGUAGES.items()}


@lru_cache(maxsize=4096)
def base_language(text: str) -> str:
    """The language that a label stands for, whatever its script or region: en of EN, eng, eng-Latn, en_US and English.

    By the first subtag of BCP 47, the codes of ISO 639-1, -2 and -3, and English names; what is not known stands for itself.
    """
    first = text.strip().replace("_", "-").split("-")[0].casefold()
    return _NAMES.get(first, first)


def same_language(one: str, other: str) -> bool:
    return base_language(one) == base_language(other)


def is_mean(label: str) -> bool:
    """Whether a label is how tables call what is over all languages."""
    return label.casefold() in MEANS
