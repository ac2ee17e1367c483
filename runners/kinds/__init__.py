"""The forms that tasks have, each with its behaviour."""

from xlift.runners.kinds.base import Kind
from xlift.runners.kinds.choice import ChoiceKind
from xlift.runners.kinds.mlm import MlmKind
from xlift.runners.kinds.pair import PairKind
from xlift.runners.kinds.retrieve import RetrieveKind
from xlift.runners.kinds.span import SpanKind
from xlift.runners.kinds.tag import TagKind

KINDS: dict[str, Kind] = {
    "pair": PairKind(),
    "tag": TagKind(),
    "span": SpanKind(),
    "choice": ChoiceKind(),
    "retrieve": RetrieveKind(),
    "mlm": MlmKind(),
}
