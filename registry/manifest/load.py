"""From YAML to a checked `Study`: every complaint in one pass, each with its place."""

import difflib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from xlift.registry.files import small
from xlift.registry.findings import BadInput, Finding, Place, UserError, relative, similar
from xlift.registry.manifest import document, schema
from xlift.registry.manifest.complaints import Complaints, Form
from xlift.registry.manifest.document import Node
from xlift.registry.manifest.lock import read_lock
from xlift.registry.manifest.resolve import resolve
from xlift.registry.manifest.sections import Manifest, TableManifest
from xlift.registry.manifest.unused import check_unused
from xlift.registry.study import Resolved, Study
from xlift.registry.table import Table, TableStudy, read_csv, understand

WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


def load(path: Path) -> Study:
    """Read, join and check the manifest of a study that runs here.

    Raises:
        BadInput: with every finding, if any of them stops.
        UserError: its scores come from a table.
    """
    return running(read_manifest(path))


def running(study: Study | TableStudy) -> Study:
    """The study, where it runs here; UserError otherwise."""
    if isinstance(study, TableStudy):
        raise UserError(f"{study.path}: its scores come from a table, so there is nothing to run; xlift report {study.path}")
    return study


def read_manifest(path: Path, tables: Callable[[Path], Table] = read_csv) -> Study | TableStudy:
    """Read, join and check a manifest, and the table that it names; `tables` reads one.

    Raises:
        BadInput: with every finding, if any of them stops.
    """
    reader = _Reader()
    node = reader.read(path, None, ())
    if node and _of_a_table(node):
        return _table_study(node, path, reader, tables)
    manifest, facts = _understand(node, path.parent, reader.findings, whole=not reader.lost) if node else (None, None)
    if any(finding.stops for finding in reader.findings) or node is None or manifest is None or facts is None:
        raise BadInput(reader.findings, reader.sources)
    lock = read_lock(path, manifest.id) if manifest.tuning else None
    return Study(manifest, facts, path, tuple(reader.findings), node, reader.sources, lock)


def declared(path: Path) -> tuple[Manifest, Node]:
    """A manifest of a study that runs here, by its form alone: its names may stand for what is not here yet.

    Raises:
        BadInput: with every finding on its form.
        UserError: its scores come from a table.
    """
    reader = _Reader()
    node = reader.read(path, None, ())
    if node and _of_a_table(node):
        raise UserError(f"{path}: its scores come from a table, so there is nothing to fetch")
    manifest, slips = _parse(node, Manifest) if node else (None, [])
    findings = [*reader.findings, *(_slips(slips, node, whole=not reader.lost) if node else ())]
    if manifest is None or node is None or any(finding.stops for finding in findings):
        raise BadInput(findings, reader.sources)
    return manifest, node


def _of_a_table(root: Node) -> bool:
    return root.at(("data", "source")).value == "table"


def _table_study(root: Node, path: Path, reader: "_Reader", tables: Callable[[Path], Table]) -> TableStudy:
    study, (manifest, slips) = None, _parse(root, TableManifest)
    if manifest:
        study = understand(manifest, root, path, reader.findings, tables)
    reader.findings += _slips(slips, root, whole=not reader.lost)
    sources = reader.sources | (study.sources if study else {})
    if study is None or any(finding.stops for finding in reader.findings):
        raise BadInput(reader.findings, sources)
    return replace(study, warnings=tuple(reader.findings), sources=sources)


class _Reader:
    """Manifests laid over those that they extend, each file read once; `lost`: a base could not be read."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.sources: dict[str, str] = {}
        self.known: dict[Path, Node | None] = {}
        self.lost = False

    def read(self, path: Path, via: Place | None, above: tuple[Path, ...]) -> Node | None:
        """Mappings are joined, all else is replaced; None, with a finding, where the file cannot be read."""
        file = relative(path)
        place = via or Place(file)
        try:
            data, real = small(path), path.resolve()
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            self._without("E130", place, f"{file}: {reason}", "give the path of a manifest")
            return None
        except ValueError:  # a NUL in the path
            self._without("E130", place, f"{file!r} is no path", "give the path of a manifest")
            return None
        if real in above:
            self._without("E131", place, f"{file} extends itself", "remove one of the two")
            return None
        if real not in self.known:
            self.known[real] = self._joined(path, data, file, via, (*above, real))
        return self.known[real]

    def _joined(self, path: Path, data: bytes, file: str, via: Place | None, above: tuple[Path, ...]) -> Node | None:
        try:
            node, findings = document.read(data, file, via)
        except BadInput as error:
            self.findings += error.findings
            self.sources |= error.sources
            self.lost = True
            return None
        self.findings += findings
        self.sources[file] = data.decode("utf-8-sig")
        bases = node.value.get("extends")
        joined: Node | None = None
        for entry in bases.value if bases and isinstance(bases.value, list) else ():
            base = self.read(path.parent / entry.value, entry.place, above) if isinstance(entry.value, str) else None
            joined = _join(joined, base) if joined and base else base or joined
        return _join(joined, node) if joined else node

    def _without(self, code: str, place: Place, message: str, hint: str) -> None:
        self.findings.append(Finding(code, place, message, hint))
        self.lost = True


def _join(below: Node, above: Node) -> Node:
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    values = dict(below.value)
    for key, node in above.value.items():
        values[key] = _join(values[key], node) if key in values else node
    return replace(above, value=values, keys={**(below.keys or {}), **(above.keys or {})})


def _understand(root: Node, folder: Path, findings: list[Finding], *, whole: bool) -> tuple[Manifest | None, Resolved | None]:
    """The manifest and what its names stand for, or None with findings: also of what stands beside a slip of form."""
    manifest, slips = _parse(root, Manifest)
    if manifest and not whole:
        return manifest, None
    if manifest:
        resolved = resolve(manifest, root, folder, findings)
        if not any(finding.stops for finding in findings):  # of names that stand for nothing it is not known who reads them
            check_unused(Complaints(manifest, root, folder, findings), resolved.tasks)
        return manifest, resolved
    findings += _slips(slips, root, whole=whole)
    rest = _beside(root, [slip["loc"] for slip in slips])
    manifest, _ = _parse(rest, Manifest)
    if manifest and whole:
        found: list[Finding] = []
        resolve(manifest, rest, folder, found)
        touched = {name for slip in slips for name in _names(root, slip["loc"])}
        findings += [finding for finding in found if not finding.about & touched]
    return None, None


def _parse(root: Node, form: type[Form]) -> tuple[Form | None, list[ErrorDetails]]:
    try:
        return form.model_validate_json(json.dumps(root.plain())), []
    except ValidationError as errors:
        details = errors.errors(include_url=False)
    within = {error["loc"][:end] for error in details for end in range(len(error["loc"]))}
    slips = [e for e in details if not (e["type"] == "too_short" and e["loc"] in within)]  # its items' slips say more
    return None, [told for slip in slips for told in _untagged(slip, root, form)]


def _untagged(slip: ErrorDetails, root: Node, form: type[Form]) -> Iterator[ErrorDetails]:
    """A slip; of a union without a tag that is known, what is wrong with the tag, and keys that no member has."""
    if not slip["type"].startswith("union_tag_"):
        yield slip
        return
    path, tag = slip["loc"], slip["ctx"]["discriminator"].strip("'")
    kind = "missing" if slip["type"] == "union_tag_not_found" else "literal_error"
    yield {**slip, "type": kind, "loc": (*path, tag)}
    known = schema.keys(path, form)
    for key in root.at(path).value:
        if key not in known:
            yield {**slip, "type": "extra_forbidden", "loc": (*path, key)}


def _slips(slips: list[ErrorDetails], root: Node, *, whole: bool) -> Iterator[Finding]:
    """Findings of slips of form; what is missing may stand in a base that could not be read."""
    for slip in slips:
        if slip["type"] != "missing" or (whole and slip["loc"] not in _misspelt(slips)):
            yield from _translate(slip, root)


def _misspelt(slips: list[ErrorDetails]) -> set[tuple[int | str, ...]]:
    """Where keys are missing that stand beside them misspelt: one finding is enough."""
    found = set()
    for slip in slips:
        if slip["type"] == "extra_forbidden":
            *above, name = slip["loc"]
            missing = [other["loc"] for other in slips if other["type"] == "missing"]
            beside = [str(path[-1]) for path in missing if path[:-1] == tuple(above)]
            found |= {(*above, near) for near in difflib.get_close_matches(str(name), beside, n=1, cutoff=0.6)}
    return found


def _beside(root: Node, slips: list[tuple[int | str, ...]]) -> Node:
    """A document without its slips, and with something in the place of what is missing at the top."""
    stand_ins = {"schema": "xlift/1", "id": "x", "question": "x"}
    rest = root.without({root.steps(path) for path in slips if root.steps(path)})
    missing = {path[0]: stand_ins[path[0]] for path in slips if len(path) == 1 and path[0] in stand_ins}
    return replace(rest, value={**rest.value, **{key: Node(value, root.place) for key, value in missing.items()}})


def _names(root: Node, path: tuple[int | str, ...]) -> set[str]:
    """What a slip may be about: the steps to it, the texts within it, and those beside it, such as a model's id."""
    steps = root.steps(path)
    beside = root.at(steps[:-1]).value
    nodes = [*(root.at(steps).walk() if steps else ()), *(beside.values() if isinstance(beside, dict) else ())]
    return {text for text in (*path, *(node.value for node in nodes)) if isinstance(text, str)}


def _translate(error: ErrorDetails, root: Node) -> Iterator[Finding]:
    """A finding in our words for one of pydantic's errors."""
    path, kind, context = error["loc"], error["type"], error.get("ctx", {})
    form = TableManifest if _of_a_table(root) else Manifest
    node = root.at(path)
    last = next((step for step in reversed(path) if isinstance(step, str) and step.isidentifier()), "")  # not the tag of a union
    if kind == "extra_forbidden":
        parent = root.at(path[:-1])
        place = (parent.keys or {}).get(last, node.place)
        yield Finding(
            "E101", place, f"unknown key '{last}'", schema.belongs(path, form) or similar(last, schema.keys(path[:-1], form))
        )
    elif kind == "missing":
        yield Finding("E102", root.at(path[:-1]).place, f"key '{last}' is missing", f"add '{last}: …'")
    elif kind == "literal_error":
        known = schema.values(path)
        yield Finding("E103", node.place, f"'{_shown(node)}' is not one of the values of {last}", similar(str(node.value), known))
    elif kind == "string_pattern_mismatch":
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(node.value)).strip("-._")[:64]
        fitting = next((text for text in (plain, plain.lower()) if re.fullmatch(context["pattern"], text)), None)
        hint = f"write '{fitting}'" if fitting else f"it has to match {context['pattern']}"
        yield Finding("E104", node.place, f"'{_shown(node)}' does not have the form of a value of {last}", hint)
    elif kind.endswith("_type"):
        wanted = WANTED.get(kind.removesuffix("_type"), kind)
        quoted = wanted.endswith("number") and isinstance(node.value, str) and _is_number(node.value)
        hint = "remove the quotes" if quoted else f"write {wanted}"
        yield Finding("E118", node.place, f"{_form(node)} where {wanted} is wanted", hint)
    else:
        yield Finding("E105", node.place, f"{last}: {error['msg'].removeprefix('Value error, ')[:200].lower()}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
