"""What verbs share: options, tables on a terminal, and how a verb ends."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from xlift.registry.plan import Plan

Study = Annotated[Path, typer.Argument(help="a study's manifest (YAML)", show_default=False)]
StoreAt = Annotated[Path, typer.Option("--store", envvar="XLIFT_STORE", help="folder of the run store")]
DataAt = Annotated[Path | None, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data, for 'source: local'")]
ModelsAt = Annotated[Path | None, typer.Option("--models", envvar="XLIFT_MODELS", help="folder of fetched weights")]
AsJson = Annotated[bool, typer.Option("--json", help="for machines")]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes; one a core, or one on a GPU")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
Tracked = Annotated[bool, typer.Option("--mlflow/--no-mlflow", envvar="XLIFT_MLFLOW", help="or leave it to `xlift sync`")]


def table_of(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], file: TextIO | None = None) -> None:
    """Aligned columns; the last one may be as long as it likes."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, tuple("-" * width for width in widths[:-1]) + ("-" * len(head[-1]),), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=file)


def told_gaps(planned: "Plan") -> int:
    """1, with a line a reason, where cells cannot run though the manifest does not say so; otherwise 0."""
    for reason, count in planned.gaps().items():
        print(f"xlift: {count} cells cannot run: {reason}; or exclude them with 'as: blocked'", file=sys.stderr)
    return 1 if planned.gaps() else 0


def stop(message: str) -> NoReturn:
    """End with status 2: bad input."""
    print(f"xlift: {message}", file=sys.stderr)
    raise typer.Exit(2)
