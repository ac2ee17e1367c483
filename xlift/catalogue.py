"""Verbs on what is known, and on what a study takes from elsewhere: tasks, models, data."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xlift.options import AsJson, DataAt, ModelsAt, Study, table_of


def tasks() -> None:
    """List the known tasks, of XTREME and of the lab."""
    from xlift.registry.known import lab
    from xlift.registry.known.tasks import TASKS

    rows = [
        (t.name, t.kind, t.metric, t.trains_on or "-", str(len(t.languages)) if t.languages else "-", t.source)
        for t in [*TASKS.values(), *lab.TASKS.values()]
    ]
    table_of(("task", "kind", "metric", "trains on", "languages", "source"), rows)


def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the known models: sizes, kinds of task, memory of training in GB without activations, pretraining's languages."""
    from xlift.registry.known.memory import METHODS, training_gb
    from xlift.registry.known.models import MODELS
    from xlift.registry.known.pretraining import pretraining

    if context.invoked_subcommand:
        return
    rows: list[dict[str, Any]] = []
    for model in MODELS.values():
        parameters, seen = model.parameters(encoder_only=True), pretraining(model.hub)
        rows.append(
            {
                "model": model.hub,
                "family": model.family,
                "parameters": parameters.total,
                "outside embeddings": parameters.non_embedding,
                "kinds": model.architecture.kinds,
                **{f"{method} GB": round(training_gb(parameters, method), 1) for method in METHODS},
                "languages": seen.count if seen else None,
                "seen": sorted(seen.languages) if seen else None,
                "languages' source": seen.told if seen else None,
                "source": model.source,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    shown = [name for name in rows[0] if name != "seen"]
    table_of(tuple(shown), [tuple(_said(row[name]) for name in shown) for row in rows])
    print(
        "\nGB: weights, gradients and AdamW's moments; lora with rank 8. mT5 is its encoder. --json has each model's languages."
    )


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, int):
        return f"{value / 1e6:,.1f}M" if value > 1e6 else str(value)
    return "-" if value is None else str(value)


def fetch_models(
    study: Study,
    models: ModelsAt = None,
) -> None:
    """Fetch the weights of a study's models on the hub, at pinned commits, into folders that runs read."""
    from xlift import fetching

    fetching.fetch_models(study, models)


def convert(folder: Annotated[Path, typer.Argument(help="a model's folder", show_default=False)]) -> None:
    """Write pickled weights as safetensors, and SentencePiece's file as tokenizer.json: what alone is read elsewhere."""
    from xlift.runners.convert import convert

    for name, digest in convert(folder).items():
        print(f"{digest}  {name}")


def pin(study: Study) -> None:
    """Write the hub's current commit in place of every `revision: pin`; all of them or none."""
    from xlift.registry.manifest.load import declared
    from xlift.runners import hub

    for name, commit in hub.pin(*declared(study)).items():
        print(f"{commit}  {name}")


def fetch(
    wanted: Annotated[list[str], typer.Argument(help="studies, or tasks such as xnli", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Fetch what studies or tasks need of the hub's data sets, at pinned commits, as the files that tasks read."""
    from xlift import fetching

    fetching.fetch(wanted, data)


def verify(
    study: Annotated[Path | None, typer.Argument(help="a study; the folder's own lock where absent", show_default=False)] = None,
    data: DataAt = None,
    models: ModelsAt = None,
) -> None:
    """Compare fetched data, or weights, with their lock; needs no network."""
    from xlift import fetching

    raise typer.Exit(fetching.verify(study, data, models))


def udpos(
    published: Annotated[Path, typer.Argument(help="the folder in which its archive was unpacked", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Write Universal Dependencies 2.5 as UDPOS, as XTREME prepares it."""
    from xlift.runners.data.udpos import ENGLISH, convert

    made = convert(published, data)
    for path, sentences in made.items():
        print(f"{sentences:>9,}  {path}")
    english = made.get(data / "udpos" / "train.en.jsonl")
    if english != ENGLISH:
        what = f"{english:,} English training sentences" if english else "no English training sentences"
        print(f"xlift: there are {what}, and version 2.5 has {ENGLISH:,}: it is another one, or not whole", file=sys.stderr)


def ccg(
    published: Annotated[Path, typer.Argument(help="the folder of LDC2005T13", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Write CCGbank, which is licensed, as files that its task reads, and its labels."""
    from xlift.runners.data.ccg import LABELS, convert

    for path, sentences in convert(published, data).items():
        print(f"{sentences:>9,}  {path}")
    print(f"labels: {data / 'ccg' / LABELS}, which a manifest extends")


def xtreme(
    published: Annotated[Path, typer.Argument(help="the folder `download` of XTREME's scripts", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Write what XTREME's own scripts downloaded as files that its tasks read, as far as it has labels."""
    from xlift.runners.data.xtreme import convert

    done = convert(published, data)
    for path, items in done.made.items():
        print(f"{items:>9,}  {path}")
    for path, why in done.left.items():
        print(f"xlift: {path}: {why}", file=sys.stderr)


def bucc(
    published: Annotated[Path, typer.Argument(help="the folder in which its archives were unpacked", show_default=False)],
    data: Annotated[Path, typer.Option("--data", envvar="XLIFT_DATA", help="folder of the data", show_default=False)],
) -> None:
    """Write BUCC 2018 as files that its task reads."""
    from xlift.runners.data.bucc import convert

    for path, sentences in convert(published, data).items():
        print(f"{sentences:>9,}  {path}")
