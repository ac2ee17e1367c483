"""The languages that models' pretraining saw, of those in `languages.LANGUAGES`."""

from dataclasses import dataclass

from xlift.registry.known.languages import LANGUAGES
from xlift.registry.known.models import MODELS


@dataclass(frozen=True, slots=True)
class Pretraining:
    """`count` is the source's own number of languages, with those that no task here has; `verified`: the list was read there."""

    languages: frozenset[str]
    count: int
    source: str
    verified: bool

    @property
    def told(self) -> str:
        """The source, and whether the list was read there."""
        return self.source if self.verified else f"{self.source} (recalled)"


def _but(*unseen: str) -> frozenset[str]:
    return frozenset(LANGUAGES) - frozenset(unseen)


def _of(codes: str) -> frozenset[str]:
    return frozenset(codes.split()) & LANGUAGES.keys()


_CC100 = _but("ht", "qu", "yo")

# By family, or by a model's own name on the hub where it differs from its family. What has no row is not known.
PRETRAINING: dict[str, Pretraining | None] = {
    "xlmr": Pretraining(_CC100, 100, "Conneau et al. 2020, table 6", False),
    "mdeberta": Pretraining(_CC100, 100, "He et al. 2023: the data of XLM-R", False),
    "e5": Pretraining(_CC100, 100, "Wang et al. 2024: from a model distilled from XLM-R", False),
    "mt5": Pretraining(_but("qu"), 101, "Xue et al. 2021, table 6", False),
    "mmbert": Pretraining(_but(), 1833, "Marone et al. 2025", False),
    "eurobert": Pretraining(
        _of("en fr de es zh it ru pl pt ja vi nl ar tr hi"), 15, "Boizard et al. 2025; announcement of the release", True
    ),
    "bloom": Pretraining(
        _of("ar bn ca en es eu fr gu hi id kn ml mr ne pa pt sw ta te ur vi yo zh"), 46, "Le Scao et al. 2022, table 1", False
    ),
    "xglm": Pretraining(
        _of("en ru zh de es fr ja it pt el ko fi id tr ar vi th bg ca hi et bn ta ur sw te eu my ht qu"),
        30,
        "Lin et al. 2022; model card of XGLM-1.7B",
        True,
    ),
    "facebook/xglm-4.5B": None,  # 134 languages, of which no list was found
    "qwen3": Pretraining(_but("qu", "yo"), 119, "Qwen Team 2025, list of supported languages", False),
}


def pretraining(hub: str | None) -> Pretraining | None:
    """What is known of the pretraining of a model on the hub: by its name, or else by its family there."""
    if hub not in MODELS:
        return None
    return PRETRAINING[hub] if hub in PRETRAINING else PRETRAINING.get(MODELS[hub].family)
