"""Complaints about input: each with its place, a code, and what would do. Codes:

E1xx the file and its form   E2xx names and values   E3xx the design   E4xx the analysis   E5xx the data   (W for warnings)
"""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: lines and columns count from 1; `width` is in characters."""

    file: str
    line: int = 1
    column: int = 1
    width: int = 1
    via: "Place | None" = None  # the `extends` entry that brought the file in

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` starts with E (stops) or W (does not); `hint` is what would do."""

    code: str
    place: Place
    message: str
    hint: str | None = None
    about: frozenset[str] = frozenset()  # the names of the manifest that it speaks of

    @property
    def stops(self) -> bool:
        return self.code.startswith("E")

    def render(self, source: str | None = None) -> str:
        """`file:line:column: CODE message`, the line with a caret, where it was inherited from, what would do."""
        lines = [f"{self.place}: {self.code} {self.message}"]
        text = source.splitlines()[self.place.line - 1 : self.place.line] if source else []
        if text and text[0].strip():
            shown = text[0].replace("\t", " ")[:160]
            label = str(self.place.line)
            lines.append(f"  {label} | {shown}")
            if self.place.column <= len(shown) + 1:
                width = max(1, min(self.place.width, len(shown) - self.place.column + 1))
                lines.append(f"  {' ' * len(label)} | {' ' * (self.place.column - 1)}{'^' * width}")
        via = self.place.via
        while via:
            lines.append(f"  from {via} (extends)")
            via = via.via
        if self.hint:
            lines.append(f"  do   {self.hint}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same fields for machines."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "code": self.code,
            "message": self.message,
            "do": self.hint,
            "from": str(self.place.via) if self.place.via else None,
        }


class UserError(ValueError):
    """What a user did, and, where it is known, what would do; the only error that the command line shows without a trace."""

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.hint = message, hint


class BadInput(UserError):
    """Raised once, with every finding of a pass."""

    def __init__(self, findings: Iterable[Finding], sources: dict[str, str] | None = None):
        self.findings = tuple(
            sorted(set(findings), key=lambda f: (f.place.file, f.place.line, f.place.column, f.code, f.message))
        )
        self.sources = sources or {}
        super().__init__("\n".join(f.render(self.sources.get(f.place.file)) for f in self.findings))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def similar(name: str, known: Iterable[str], *, verb: str = "write") -> str:
    """What would do instead of an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    alike = [other for other in names if other.lower() == name.lower()]
    near = alike or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"{verb} '{near[0]}'"
    shown = ", ".join(names[:24]) + (", …" if len(names) > 24 else "")
    return f"known: {shown}" if names else "there is none"


def unfit(name: str) -> str | None:
    """Why a name cannot be shown: what it holds that nobody sees (line breaks, turned writing, odd spaces), or its length."""
    if not name.isprintable():
        hidden = next(letter for letter in name if not letter.isprintable())
        return f"holds what cannot be seen: {unicodedata.name(hidden, 'a control character')} (U+{ord(hidden):04X})"
    return f"has {len(name)} characters, and {LONGEST_NAME} at most can be shown" if len(name) > LONGEST_NAME else None


def relative(path: Path) -> str:
    """A path as the user would type it: relative to the working folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError, RuntimeError):
        return str(path)
