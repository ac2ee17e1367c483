"""Facts about tasks, one row each. Adding a task adds no code: behaviour belongs to its kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xlift.registry.known.languages import XTREME
from xlift.registry.stage import KindName, Normaliser

MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")  # whose articles MLQA's comparison of answers knows


@dataclass(frozen=True, slots=True)
class Task:
    """What the field agrees on about one task.

    `languages` are those of its test sets (ISO 639-1); empty for tasks that only train. `trains_on` names the task
    whose training set it uses: its own, another's (XNLI trains on MNLI), or None (retrieval is not trained).
    `includes` names training sets that its own contains, or the tasks of a mixture. `labels` are in the order of the
    classes; empty where the kind has none. `columns` of `choice` may be several, separated by blanks.
    """

    name: str
    kind: KindName | Literal["mixture"]
    metric: str
    source: str
    trains_on: str | None
    languages: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    includes: tuple[str, ...] = ()
    train_items: int | None = None
    normaliser: Normaliser = "squad"  # how answers are compared
    licensed: str | None = None  # the data set that a user must bring, where its licence forbids more


_NLI = ("entailment", "neutral", "contradiction")
_PREMISE = {"first": "premise", "second": "hypothesis", "label": "label"}
_TAGGED = {"tokens": "tokens", "tags": "tags"}
_ANSWERED = {"context": "context", "question": "question", "answers": "answers"}
_ALIGNED = {"source": "source", "pivot": "english"}
_UPOS = (
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
)


def _xtreme_without(codes: str) -> tuple[str, ...]:
    return tuple(code for code in XTREME if code not in codes.split())


_INTERMEDIATE = (
    Task(
        "anli",
        "pair",
        "accuracy",
        "ANLI+ of Phang et al. 2020: three rounds of ANLI (Nie et al. 2020), MNLI and SNLI; items computed",
        "anli",
        labels=_NLI,
        fields=_PREMISE,
        includes=("mnli",),
        train_items=1_104_934,
    ),
    Task(
        "mnli",
        "pair",
        "accuracy",
        "Williams et al. 2018, by way of GLUE (configuration mnli)",
        "mnli",
        labels=_NLI,
        fields=_PREMISE,
        train_items=392_702,
    ),
    Task(
        "qqp",
        "pair",
        "accuracy",
        "Quora question pairs, by way of GLUE (configuration qqp); F1 is reported beside accuracy",
        "qqp",
        labels=("not_duplicate", "duplicate"),
        fields={"first": "question1", "second": "question2", "label": "label"},
        train_items=363_846,
    ),
    Task(
        "squad1",
        "span",
        "f1",
        "SQuAD 1.1 (Rajpurkar et al. 2016)",
        "squad1",
        fields=_ANSWERED,
        train_items=87_599,
    ),
    Task(
        "squad2",
        "span",
        "f1",
        "SQuAD 2.0 (Rajpurkar et al. 2018): SQuAD 1.1 and unanswerable questions",
        "squad2",
        fields=_ANSWERED,
        includes=("squad1",),
        train_items=130_319,
    ),
    Task(
        "hellaswag",
        "choice",
        "accuracy",
        "Zellers et al. 2019; as in jiant, ctx_b begins every ending",
        "hellaswag",
        fields={"context": "ctx_a", "stem": "ctx_b", "choices": "endings", "label": "label"},
        train_items=39_905,
    ),
    Task(
        "ccg",
        "tag",
        "accuracy",
        "CCGbank (Hockenmaier and Steedman 2007); the user's files give the supertags; 38,015 items recalled",
        "ccg",
        fields=_TAGGED,
        licensed="CCGbank (LDC2005T13)",
    ),
    Task(
        "cosmosqa",
        "choice",
        "accuracy",
        "Huang et al. 2019",
        "cosmosqa",
        fields={"context": "context", "question": "question", "choices": "answer0 answer1 answer2 answer3", "label": "label"},
        train_items=25_262,
    ),
    Task(
        "commonsenseqa",
        "choice",
        "accuracy",
        "Talmor et al. 2019; no context; choices hold texts and their letters",
        "commonsenseqa",
        fields={"question": "question", "choices": "choices", "label": "answerKey"},
        train_items=9_741,
    ),
    Task(
        "sick",
        "pair",
        "accuracy",
        "Marelli et al. 2014, English; not one of Phang et al. 2020",
        "sick",
        labels=_NLI,
        fields=_PREMISE,
        train_items=4_500,
    ),
)

_TARGETS = (
    Task(
        "xnli",
        "pair",
        "accuracy",
        "Conneau et al. 2018",
        "mnli",
        tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split()),
        _NLI,
        _PREMISE,
        train_items=392_702,
    ),
    Task(
        "pawsx",
        "pair",
        "accuracy",
        "Yang et al. 2019",
        "pawsx",
        tuple("de en es fr ja ko zh".split()),
        ("0", "1"),
        {"first": "sentence1", "second": "sentence2", "label": "label"},
        train_items=49_401,
    ),
    Task(
        "udpos",
        "tag",
        "f1_xtreme",
        "Universal Dependencies 2.5, as in XTREME (Hu et al. 2020)",
        "udpos",
        _xtreme_without("bn jv ka ml ms my sw"),
        _UPOS,
        _TAGGED,
        train_items=21_253,
    ),
    Task(
        "panx",
        "tag",
        "entity_f1",
        "WikiANN (Pan et al. 2017), as in XTREME (Hu et al. 2020)",
        "panx",
        XTREME,
        ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"),
        _TAGGED,
        train_items=20_000,
    ),
    Task(
        "xquad",
        "span",
        "f1",
        "Artetxe et al. 2020; without the later Romanian",
        "squad1",
        tuple("ar de el en es hi ru th tr vi zh".split()),
        fields=_ANSWERED,
        train_items=87_599,
    ),
    Task(
        "mlqa",
        "span",
        "f1",
        "Lewis et al. 2020, context and question in one language",
        "squad1",
        tuple("ar de en es hi vi zh".split()),
        fields=_ANSWERED,
        normaliser="mlqa",
        train_items=87_599,
    ),
    Task(
        "tydiqa",
        "span",
        "f1",
        "TyDiQA-GoldP (Clark et al. 2020); train on ids that begin with english",
        "tydiqa",
        tuple("ar bn en fi id ko ru sw te".split()),
        fields=_ANSWERED,
        train_items=3_696,
    ),
    Task(
        "bucc",
        "mine",
        "f1",
        "BUCC 2018 (Zweigenbaum et al. 2018) as in XTREME: dev is its sample, test its training set; the hub has gold alone",
        None,
        tuple("de fr ru zh".split()),
        fields={"text": "text", "side": "side", "pairs": "pairs", "split": "split"},
    ),
    Task(
        "tatoeba",
        "retrieve",
        "accuracy",
        "Artetxe and Schwenk 2019, as in XTREME (Hu et al. 2020)",
        None,
        _xtreme_without("en ms my yo"),
        fields=_ALIGNED,
    ),
    Task(
        "xcopa",
        "choice",
        "accuracy",
        "Ponti et al. 2020; English is COPA (Roemmele et al. 2011); not in XTREME's nine",
        "xcopa",
        tuple("en et ht id it qu sw ta th tr vi zh".split()),
        fields={"context": "premise", "question": "question", "choices": "choice1 choice2", "label": "label"},
        train_items=400,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in (*_INTERMEDIATE, *_TARGETS)}


def same_training_data(tasks: Mapping[str, Task], intermediate: str, trains_on: str | None) -> bool:
    """Whether the training set of `intermediate` overlaps the one called `trains_on`, which a target trains on.

    Such cells measure more of the same training, not transfer. A mixture overlaps where one of its tasks does.
    """
    return trains_on is not None and not _contained(tasks, tasks[intermediate].trains_on).isdisjoint(_contained(tasks, trains_on))


def _contained(tasks: Mapping[str, Task], name: str | None) -> set[str]:
    """The training sets within the one called `name`, itself among them."""
    found, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name and name not in found:
            found.add(name)
            waiting += tasks[name].includes if name in tasks else ()
    return found
