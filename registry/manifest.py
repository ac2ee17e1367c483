"""From YAML to a checked `Study`: every complaint in one pass, each with its place."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from registry import document
from registry.checks import Resolved, resolve
from registry.document import Node
from registry.findings import BadInput, Finding, Place, relative, similar
from registry.study import Manifest

WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


@dataclass(frozen=True)
class Study:
    """A checked manifest, what its names stand for, and its warnings."""

    manifest: Manifest
    facts: Resolved
    path: Path
    warnings: tuple[Finding, ...]

    @property
    def id(self) -> str:
        return self.manifest.id


def load(path: Path) -> Study:
    """Read, join and check a manifest.

    Raises:
        BadInput: with every finding, if any of them stops.
    """
    sources: dict[str, str] = {}
    node, findings = _read(path, None, (), sources)
    manifest = _parse(node, findings)
    facts = resolve(manifest, node, path.parent, findings) if manifest else None
    if any(finding.stops for finding in findings) or manifest is None or facts is None:
        raise BadInput(findings, sources)
    return Study(manifest, facts, path, tuple(findings))


def _read(path: Path, via: Place | None, above: tuple[Path, ...], sources: dict[str, str]) -> tuple[Node, list[Finding]]:
    """A manifest laid over those that it extends: mappings are joined, all else is replaced."""
    file = relative(path)
    place = via or Place(file)
    try:
        data, real = path.read_bytes(), path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise BadInput([Finding("E130", place, f"{file}: {reason}", "give the path of a manifest")], sources) from None
    except ValueError:  # a NUL in the path
        raise BadInput([Finding("E130", place, f"{file!r} is no path", "give the path of a manifest")], sources) from None
    if real in above:
        raise BadInput([Finding("E131", place, f"{file} extends itself", "remove one of the two")], sources)
    node, findings = document.read(data, file, via)
    sources[file] = data.decode("utf-8-sig")
    bases = node.value.get("extends")
    joined: Node | None = None
    for entry in bases.value if bases and isinstance(bases.value, list) else ():
        if isinstance(entry.value, str):
            base, found = _read(path.parent / entry.value, entry.place, (*above, real), sources)
            findings += found
            joined = _join(joined, base) if joined else base
    return (_join(joined, node) if joined else node), findings


def _join(below: Node, above: Node) -> Node:
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    values = dict(below.value)
    for key, node in above.value.items():
        values[key] = _join(values[key], node) if key in values else node
    return replace(above, value=values, keys={**(below.keys or {}), **(above.keys or {})})


def _parse(root: Node, findings: list[Finding]) -> Manifest | None:
    try:
        return Manifest.model_validate_json(json.dumps(root.plain()))
    except ValidationError as errors:
        details = errors.errors(include_url=False)
        within = {error["loc"][:end] for error in details for end in range(len(error["loc"]))}
        findings += [
            finding
            for error in details
            if not (error["type"] == "too_short" and error["loc"] in within)  # its items' slips say more
            for finding in _translate(error, root)
        ]
        return None


def _translate(error: ErrorDetails, root: Node) -> Iterator[Finding]:
    """A finding in our words for one of pydantic's errors."""
    path, kind, context = error["loc"], error["type"], error.get("ctx", {})
    node = root.at(path)
    last = next((step for step in reversed(path) if isinstance(step, str) and step.isidentifier()), "")  # not the tag of a union
    if kind == "extra_forbidden":
        parent = root.at(path[:-1])
        place = (parent.keys or {}).get(last, node.place)
        yield Finding("E101", place, f"unknown key '{last}'", similar(last, _keys(path[:-1])))
    elif kind == "missing":
        yield Finding("E102", root.at(path[:-1]).place, f"key '{last}' is missing", f"add '{last}: …'")
    elif kind == "literal_error":
        known = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        yield Finding("E103", node.place, f"'{_shown(node)}' is not one of the values of {last}", similar(str(node.value), known))
    elif kind == "string_pattern_mismatch":
        yield Finding(
            "E104", node.place, f"'{_shown(node)}' does not have the form {context['pattern']}", "letters, digits, '-', '_', '.'"
        )
    elif kind.endswith("_type"):
        wanted = WANTED.get(kind.removesuffix("_type"), kind)
        hint = "remove the quotes" if wanted.endswith("number") and isinstance(node.value, str) else f"write {wanted}"
        yield Finding("E118", node.place, f"{_form(node)} where {wanted} is wanted", hint)
    else:
        yield Finding("E105", node.place, f"{last}: {error['msg'].removeprefix('Value error, ')[:200].lower()}")


def _keys(path: tuple[Any, ...]) -> list[str]:
    """The keys that the schema knows at a path."""
    schema = Manifest.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for step in path:
        node = _child(node, step, definitions)
    return list(_resolve(node, definitions).get("properties", {}))


def _child(node: dict[str, Any], step: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolve(node, definitions)
    if isinstance(step, int):
        return node.get("items", {})
    named = {**node.get("patternProperties", {}), "": node.get("additionalProperties")}  # a mapping from any name
    return node.get("properties", {}).get(step) or next((value for value in named.values() if isinstance(value, dict)), {})


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and the one alternative that is not null."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolve(option, definitions)
    return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions) if "$ref" in node else node


def _shown(node: Node) -> str:
    return str(node.plain())[:60]


def _form(node: Node) -> str:
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "a mapping"
