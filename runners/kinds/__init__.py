"""The forms that tasks have, each with its behaviour."""

from xlift.runners.kinds.base import Kind
from xlift.runners.kinds.choice import ChoiceKind
from xlift.runners.kinds.mine import MineKind
from xlift.runners.kinds.mlm import MlmKind
from xlift.runners.kinds.pair import PairKind
from xlift.runners.kinds.retrieve import RetrieveKind
from xlift.runners.kinds.span import SpanKind
from xlift.runners.kinds.tag import TagKind
from xlift.runners.kinds.text import ChoiceText, PairText, SpanText, TagText

KINDS: dict[str, Kind] = {
    "pair": PairKind(),
    "tag": TagKind(),
    "span": SpanKind(),
    "choice": ChoiceKind(),
    "retrieve": RetrieveKind(),
    "mine": MineKind(),
    "mlm": MlmKind(),
}
TEXTS: dict[str, Kind] = {
    "pair": PairText(KINDS["pair"]),
    "tag": TagText(KINDS["tag"]),
    "span": SpanText(KINDS["span"]),
    "choice": ChoiceText(KINDS["choice"]),
}


def kind_of(name: str, *, texts: bool) -> Kind:
    """A kind by its name; `texts`: as text to text, where it is trained."""
    return TEXTS.get(name, KINDS[name]) if texts else KINDS[name]
