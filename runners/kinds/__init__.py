"""The forms that tasks have, each with its behaviour."""

from runners.kinds.base import Kind
from runners.kinds.choice import ChoiceKind
from runners.kinds.mlm import MlmKind
from runners.kinds.pair import PairKind
from runners.kinds.retrieve import RetrieveKind
from runners.kinds.span import SpanKind
from runners.kinds.tag import TagKind

KINDS: dict[str, Kind] = {
    "pair": PairKind(),
    "tag": TagKind(),
    "span": SpanKind(),
    "choice": ChoiceKind(),
    "retrieve": RetrieveKind(),
    "mlm": MlmKind(),
}
