"""The forms that tasks have, a module each: its example, how a file's row is read, and what a model learns and is scored by.

A module is named as its row in `registry.kinds`, and has a `KIND`. It is imported where it is first asked for, and imports torch
where that is first used: what reads data alone needs none.
"""

from importlib import import_module

from xlift.runners.kinds.base import Kind


def kind_of(name: str, *, texts: bool = False) -> Kind:
    """A kind by its name; `texts`: as text to text, where it is trained."""
    if texts:
        from xlift.runners.kinds.text import TEXTS

        if name in TEXTS:
            return TEXTS[name]
    kind: Kind = import_module(f"{__name__}.{name}").KIND
    return kind
