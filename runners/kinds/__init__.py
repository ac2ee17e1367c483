"""The forms that tasks have, each with its behaviour."""

from xlift.runners.kinds.base import Kind
from xlift.runners.kinds.choice import ChoiceKind
from xlift.runners.kinds.mlm import MlmKind
from xlift.runners.kinds.pair import PairKind
from xlift.runners.kinds.retrieve import RetrieveKind
from xlift.runners.kinds.span import SpanKind
from xlift.runners.kinds.tag import TagKind
from xlift.runners.kinds.text import Written

KINDS: dict[str, Kind] = {
    "pair": PairKind(),
    "tag": TagKind(),
    "span": SpanKind(),
    "choice": ChoiceKind(),
    "retrieve": RetrieveKind(),
    "mlm": MlmKind(),
}
WRITTEN: dict[str, Kind] = {name: Written(KINDS[name], name) for name in ("pair", "tag", "span", "choice")}


def kind_of(name: str, *, texts: bool) -> Kind:
    """A kind by its name; `texts`: as text to text, where it is trained."""
    return WRITTEN.get(name, KINDS[name]) if texts else KINDS[name]
