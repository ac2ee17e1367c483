"""JSON Schema of the manifest: for editors that complete and check YAML as it is typed, and for what findings say of it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from xlift.registry.manifest.sections import Declared, Manifest, TableManifest

Path = tuple[int | str, ...]
Norm = dict[str, Any]  # a part of a schema


def schema() -> Norm:
    """The norm of the manifest's form; names and conditions are checked by `manifest.resolve` beyond it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xlift study",
        **TypeAdapter(Manifest | TableManifest).json_schema(by_alias=True),
    }


def keys(path: Path, form: type[Declared]) -> list[str]:
    """The keys that a manifest may have at a path; of a union without its tag, those of all its members."""
    return list(dict.fromkeys(key for node in _alternatives(path, form) for key in node.get("properties", {})))


def values(path: Path) -> list[str]:
    """The values between which a manifest may choose at a path."""
    found = (value for form in (Manifest, TableManifest) for node in _alternatives(path, form) for value in _values(node))
    return list(dict.fromkeys(found))


def belongs(path: Path, form: type[Declared]) -> str | None:
    """What would do about a key that stands in another member of a union than the one that is declared; None of other keys."""
    *above, tag, key = path if len(path) > 1 else ("", *path)
    for node in _at(tuple(above), form):
        others = [name for name, member in _members(node, _definitions(form)) if key in member.get("properties", {})]
        if others and tag not in others and "discriminator" in node:
            return f"it belongs to {node['discriminator']['propertyName']}: {' or '.join(others)}; write that, or remove it"
    return None


def _values(node: Norm) -> list[str]:
    return [str(value) for value in node.get("enum", [node["const"]] if "const" in node else [])]


def _alternatives(path: Path, form: type[Declared]) -> Iterator[Norm]:
    for node in _at(path, form):
        yield from (member for _, member in _members(node, _definitions(form))) if "discriminator" in node else (node,)


def _at(path: Path, form: type[Declared]) -> list[Norm]:
    """The parts of the schema that stand at a path: several below a union whose tag the path does not name."""
    definitions = _definitions(form)
    nodes = [_whole(form)]
    for step in path:
        nodes = [below for node in nodes for below in _children(_resolve(node, definitions), step, definitions)]
    return [_resolve(node, definitions) for node in nodes]


@cache
def _whole(form: type[Declared]) -> Norm:
    return form.model_json_schema()


def _definitions(form: type[Declared]) -> Norm:
    return _whole(form).get("$defs", {})


def _members(node: Norm, definitions: Norm) -> list[tuple[str, Norm]]:
    """The members of a tagged union, by their tags."""
    mapping = node.get("discriminator", {}).get("mapping", {})
    return [(tag, definitions[reference.rpartition("/")[2]]) for tag, reference in mapping.items()]


def _children(node: Norm, step: int | str, definitions: Norm) -> Iterator[Norm]:
    if members := dict(_members(node, definitions)):
        if step in members:
            yield members[str(step)]
        else:
            yield from (child for member in members.values() for child in _children(member, step, definitions))
    elif isinstance(step, int):
        yield node.get("items", {})
    elif step in (properties := node.get("properties", {})):
        yield properties[step]
    else:  # a mapping from any name
        named = (*node.get("patternProperties", {}).values(), node.get("additionalProperties"))
        yield from [value for value in named if isinstance(value, dict)][:1]


def _resolve(node: Norm, definitions: Norm) -> Norm:
    """Follow references, and the one alternative that is not null."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolve(option, definitions)
    return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions) if "$ref" in node else node
