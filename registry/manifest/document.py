"""YAML 1.2 with the place of every value, from bytes that may be anything.

Only the core schema: mappings with text keys, sequences, text, numbers, true/false, null. No anchors, tags or merge
keys: what a reader sees is what is there. `5e-6` is a number and `no` is text.
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, MappingStartEvent, NodeEvent, ScalarEvent, SequenceStartEvent

from xlift.registry.findings import BadInput, Finding, Place

DEEPEST = 32
LONGEST = 4_000_000  # bytes
INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
SPECIAL = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands: `value` is a scalar, a list of nodes, or a dict from key to node.

    `keys` are the places of a mapping's keys.
    """

    value: Any
    place: Place
    keys: dict[str, Place] | None = None

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> "Node":
        """The deepest node on a path; steps that do not exist are passed over."""
        node = self
        for step in self.steps(path):
            node = node.value[step]
        return node

    def steps(self, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """The steps of a path that exist."""
        node, found = self, []
        for step in path:
            if isinstance(node.value, dict):
                known = step in node.value
            else:
                known = isinstance(node.value, list) and isinstance(step, int) and step < len(node.value)
            if known:
                node = node.value[step]
                found.append(step)
        return tuple(found)

    def without(self, paths: Set[tuple[str | int, ...]], here: tuple[str | int, ...] = ()) -> "Node":
        """This node without those on some paths."""
        if isinstance(self.value, dict):
            kept: Any = {k: node.without(paths, (*here, k)) for k, node in self.value.items() if (*here, k) not in paths}
        elif isinstance(self.value, list):
            kept = [node.without(paths, (*here, i)) for i, node in enumerate(self.value) if (*here, i) not in paths]
        else:
            return self
        return replace(self, value=kept)

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        yield self
        below = self.value.values() if isinstance(self.value, dict) else self.value if isinstance(self.value, list) else ()
        for node in below:
            yield from node.walk()


def read(data: bytes, file: str, via: Place | None = None) -> tuple[Node, list[Finding]]:
    """The document's root mapping, and what is wrong with it short of stopping.

    Raises:
        BadInput: it is no YAML document at all, or its root is no mapping.
    """
    text = _decode(data, file, via)
    findings: list[Finding] = []
    try:
        events = iter(list(YAML(typ="safe", pure=True).parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1, via=via) if mark else Place(file, via=via)
        reason = error.problem or error.context or "cannot be read"
        raise BadInput(
            [Finding("E110", place, f"not YAML: {reason}", "check indentation, quotes and colons")], {file: text}
        ) from None
    except (YAMLError, ValueError, IndexError, AttributeError, AssertionError, TypeError, RecursionError) as error:
        # The parser's own slips on broken input: it names no place, so the beginning stands for it.
        raise BadInput([Finding("E110", Place(file, via=via), f"not YAML: {type(error).__name__}")], {file: text}) from None
    builder = _Builder(events, file, via, findings)
    root = builder.document()
    if root is None or not isinstance(root.value, dict):
        place = root.place if root else Place(file, via=via)
        found = [Finding("E111", place, "a manifest is a mapping of keys to values", "start with 'schema: xlift/1'")]
        raise BadInput(findings + found, {file: text})
    return root, findings


def _decode(data: bytes, file: str, via: Place | None) -> str:
    if len(data) > LONGEST:
        raise BadInput([Finding("E112", Place(file, via=via), f"{len(data):,} bytes are no manifest", f"at most {LONGEST:,}")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        raise BadInput(
            [Finding("E113", _place(before, file, via), f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")]
        ) from None
    control = CONTROL.search(text)
    if control:
        place = _place(text[: control.start()], file, via)
        raise BadInput([Finding("E114", place, f"character U+{ord(control[0]):04X} is not allowed", "remove it")], {file: text})
    return text


def _place(before: str, file: str, via: Place | None) -> Place:
    lines = before.split("\n")
    return Place(file, len(lines), len(lines[-1]) + 1, via=via)


class _Builder:
    """Nodes from the parser's events."""

    def __init__(self, events: Iterator[Any], file: str, via: Place | None, findings: list[Finding]):
        self.events, self.file, self.via, self.findings = events, file, via, findings

    def document(self) -> Node | None:
        root, documents = None, 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._complain("E115", event, "a second document", "one file is one document: remove '---'")
                    break
            elif isinstance(event, NodeEvent):
                root = self._node(event, 0)
        return root

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place(event)
        if depth > DEEPEST:
            raise BadInput([*self.findings, Finding("E116", place, f"nested deeper than {DEEPEST} levels")])
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            self._complain("E117", event, "anchors and aliases are not read", "write the value out, or use extends")
        tag = getattr(event, "tag", None)
        if tag and str(tag) not in ("!", "None"):
            self._complain("E117", event, f"tag {tag} is not read", "remove it")
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, place, depth)
        if isinstance(event, SequenceStartEvent):
            return Node([self._node(item, depth + 1) for item in self._until_end()], place)
        return Node(self._scalar(event) if isinstance(event, ScalarEvent) else None, place)

    def _mapping(self, start: Any, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for event in self._until_end():
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            name = key.value
            if not isinstance(name, str):
                name = event.value if isinstance(event, ScalarEvent) else ""
                self._complain("E118", event, "a key is text", f'write "{name}"' if name else "use a word")
            elif name in values:
                self._complain("E119", event, f"key '{name}' stands twice (first in line {keys[name].line})", "keep one")
            values.setdefault(name, value)
            keys.setdefault(name, key.place)
        return Node(values, place, keys)

    def _until_end(self) -> Iterator[Any]:
        for event in self.events:
            if not isinstance(event, NodeEvent):  # the end of this mapping or sequence
                return
            yield event

    def _scalar(self, event: ScalarEvent) -> Any:
        text = event.value
        control = CONTROL.search(text)  # written as an escape
        if control:
            self._complain("E114", event, f"character U+{ord(control[0]):04X} is not allowed", "remove it")
            return ""
        if event.style or str(event.tag) == "!":
            return text
        if text in SPECIAL:
            return SPECIAL[text]
        if INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if FLOAT.fullmatch(text):
            number = float(text)
            if number - number == 0:  # finite
                return number
            self._complain("E120", event, f"{text[:20]} is beyond the range of numbers")
        return text

    def _place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Place(self.file, start.line + 1, start.column + 1, max(1, width), self.via)

    def _complain(self, code: str, event: Any, message: str, hint: str | None = None) -> None:
        self.findings.append(Finding(code, self._place(event), message, hint))
