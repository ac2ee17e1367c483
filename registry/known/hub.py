"""Where the data of tasks are on the hub, one row a task: repositories at commits, configurations, splits, and the rule that
makes rows of a task of theirs (`runners.fetch.rules`).

Commits were seen in public files that pin them; licences and numbers of rows are those of the data sets' cards and scripts, and
recalled where the card was not read. What is recalled is checked when the hub is met: columns, labels by name, numbers of rows.
Not here: CCGbank (licensed), BUCC 2018 and UDPOS, whose copies on the hub lack what their tasks test (made from their archives).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CONVERTED = "refs/convert/parquet"  # the hub's own conversion of repositories that hold a script


@dataclass(frozen=True, slots=True)
class Repository:
    """A data set on the hub; `commit` is that of `branch`, None where none is known and today's is taken."""

    id: str
    commit: str | None
    licence: str
    branch: str = "main"
    declared: bool = False  # by a manifest, whose commit goes before that of a lock


@dataclass(frozen=True, slots=True)
class Part:
    """One split of a configuration. `{code}` in the configuration stands for the test language, as the repository calls it."""

    repository: Repository
    config: str
    split: str
    rule: str
    rows: int | None = None  # where the split has one language, or the same number in all
    column: str | None = None  # of a text
    first: int | None = None  # so many rows of those that are kept, and no further file is fetched; all where absent


@dataclass(frozen=True, slots=True)
class Published:
    """What there is of one task: parts by split (train, dev, test), read one after the other."""

    splits: Mapping[str, tuple[Part, ...]]
    codes: Mapping[str, str] = field(default_factory=dict)  # language -> what the repository calls it, where it differs
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # split -> languages of the task that it lacks

    def parts(self, split: str, language: str) -> tuple[tuple[Part, str], ...]:
        """The parts of a split in one language, with their configurations; empty where the hub has none."""
        if language in self.without.get(split, ()):
            return ()
        code = self.codes.get(language, language)
        return tuple((part, part.config.replace("{code}", code)) for part in self.splits.get(split, ()))


_GLUE = Repository("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", "MNLI: OANC and others; QQP: Quora's terms")
_SNLI = Repository("stanfordnlp/snli", "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b", "cc-by-sa-4.0 (recalled)")
_ANLI = Repository("facebook/anli", "8e4813d81f46d313dac7892e1c28076917cfcdf9", "cc-by-nc-4.0")
_SQUAD = Repository("rajpurkar/squad", "7b6d24c440a36b6815f21b70d25016731768db1f", "cc-by-sa-4.0 (recalled)")
_SQUAD2 = Repository("rajpurkar/squad_v2", "3ffb306f725f7d2ce8394bc1873b24868140c412", "cc-by-sa-4.0")
_HELLASWAG = Repository("Rowan/hellaswag", "218ec52e09a7e7462a5400043bb9a69a41d06b76", "MIT (recalled)")
_COSMOSQA = Repository("allenai/cosmos_qa", "ed50fe83db62b355759053b1cd5eef344ee371e0", "cc-by-4.0", CONVERTED)
_COMMONSENSEQA = Repository("tau/commonsense_qa", "94630fe30dad47192a8546eb75f094926d47e155", "mit")
_XNLI = Repository("facebook/xnli", "b8dd5d7af51114dbda02c0e3f6133f332186418e", "cc-by-nc-4.0 (recalled)")
_PAWSX = Repository(
    "google-research-datasets/paws-x", "4cd8187c404bda33cb1f62b49b001115862acf37", "free for any purpose, with attribution"
)
_XTREME = Repository("google/xtreme", "ec5f1f46e9af79639a90684a7a70a956c4998f04", "WikiANN: unknown; Tatoeba: cc-by-2.0")
_XQUAD = Repository("google/xquad", "51adfef1c1287aab1d2d91b5bead9bcfb9c68583", "cc-by-sa-4.0")
_MLQA = Repository("facebook/mlqa", None, "cc-by-sa-3.0", CONVERTED)
_TYDIQA = Repository("google-research-datasets/tydiqa", "da78f23f9119363459acbaf46bf89426ff26c259", "apache-2.0")
_XCOPA = Repository("cambridgeltl/xcopa", "042f78955ba48e6404616762fa6e05e839c3907a", "cc-by-4.0")
_COPA = Repository("aps/super_glue", None, "COPA: bsd-2-clause (recalled)")
_ISO3 = (  # as Tatoeba's files are called: of macrolanguages the one that was collected
    "af:afr ar:ara bg:bul bn:ben de:deu el:ell es:spa et:est eu:eus fa:pes fi:fin fr:fra he:heb hi:hin hu:hun id:ind it:ita "
    "ja:jpn jv:jav ka:kat kk:kaz ko:kor ml:mal mr:mar nl:nld pt:por ru:rus sw:swh ta:tam te:tel th:tha tl:tgl tr:tur ur:urd "
    "vi:vie zh:cmn"
)
_TATOEBA = dict(pair.split(":") for pair in _ISO3.split())
TYDIQA = {  # the beginnings of ids, by which one file's languages are told apart
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
}
HUB: dict[str, Published] = {
    "mnli": Published(
        {
            "train": (Part(_GLUE, "mnli", "train", "nli", 392_702),),
            "dev": (Part(_GLUE, "mnli", "validation_matched", "nli", 9_815),),
        }
    ),
    "anli": Published(
        {
            "train": (
                Part(_ANLI, "plain_text", "train_r1", "nli", 16_946),
                Part(_ANLI, "plain_text", "train_r2", "nli", 45_460),
                Part(_ANLI, "plain_text", "train_r3", "nli", 100_459),
                Part(_GLUE, "mnli", "train", "nli", 392_702),
                Part(_SNLI, "plain_text", "train", "nli", 550_152),  # of which 785 have no label
            ),
            "dev": tuple(Part(_ANLI, "plain_text", f"dev_r{n}", "nli", rows) for n, rows in ((1, 1000), (2, 1000), (3, 1200))),
        }
    ),
    "qqp": Published(
        {"train": (Part(_GLUE, "qqp", "train", "qqp", 363_846),), "dev": (Part(_GLUE, "qqp", "validation", "qqp", 40_430),)}
    ),
    "squad1": Published(
        {
            "train": (Part(_SQUAD, "plain_text", "train", "answers", 87_599),),
            "dev": (Part(_SQUAD, "plain_text", "validation", "answers", 10_570),),
        }
    ),
    "squad2": Published(
        {
            "train": (Part(_SQUAD2, "squad_v2", "train", "answers", 130_319),),
            "dev": (Part(_SQUAD2, "squad_v2", "validation", "answers", 11_873),),
        }
    ),
    "hellaswag": Published(
        {
            "train": (Part(_HELLASWAG, "default", "train", "hellaswag", 39_905),),
            "dev": (Part(_HELLASWAG, "default", "validation", "hellaswag", 10_042),),
        }
    ),
    "cosmosqa": Published(
        {
            "train": (Part(_COSMOSQA, "default", "train", "cosmosqa", 25_262),),
            "dev": (Part(_COSMOSQA, "default", "validation", "cosmosqa", 2_985),),
        }
    ),
    "commonsenseqa": Published(
        {
            "train": (Part(_COMMONSENSEQA, "default", "train", "commonsenseqa", 9_741),),
            "dev": (Part(_COMMONSENSEQA, "default", "validation", "commonsenseqa", 1_221),),
        }
    ),
    "xnli": Published(  # its training sets but English are translated: it trains on MNLI
        {
            "dev": (Part(_XNLI, "{code}", "validation", "nli", 2_490),),
            "test": (Part(_XNLI, "{code}", "test", "nli", 5_010),),
        }
    ),
    "pawsx": Published(
        {
            "train": (Part(_PAWSX, "{code}", "train", "paraphrases", 49_401),),
            "dev": (Part(_PAWSX, "{code}", "validation", "paraphrases", 2_000),),
            "test": (Part(_PAWSX, "{code}", "test", "paraphrases", 2_000),),
        }
    ),
    "panx": Published(
        {
            "train": (Part(_XTREME, "PAN-X.{code}", "train", "names"),),
            "dev": (Part(_XTREME, "PAN-X.{code}", "validation", "names"),),
            "test": (Part(_XTREME, "PAN-X.{code}", "test", "names"),),
        }
    ),
    "xquad": Published({"test": (Part(_XQUAD, "xquad.{code}", "validation", "answers", 1_190),)}),
    "mlqa": Published(
        {
            "dev": (Part(_MLQA, "mlqa.{code}.{code}", "validation", "answers"),),
            "test": (Part(_MLQA, "mlqa.{code}.{code}", "test", "answers"),),
        }
    ),
    "tydiqa": Published(  # all languages in one file
        {
            "train": (Part(_TYDIQA, "secondary_task", "train", "tydiqa"),),
            "test": (Part(_TYDIQA, "secondary_task", "validation", "tydiqa"),),
        }
    ),
    "tatoeba": Published({"test": (Part(_XTREME, "tatoeba.{code}", "validation", "translations"),)}, codes=_TATOEBA),
    "xcopa": Published(  # English is COPA, whose test labels are hidden
        {
            "train": (Part(_COPA, "copa", "train", "copa", 400),),
            "dev": (Part(_COPA, "copa", "validation", "copa", 100),),
            "test": (Part(_XCOPA, "{code}", "test", "copa", 500),),
        },
        without={"test": ("en",)},
    ),
}
