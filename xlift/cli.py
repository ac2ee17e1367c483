"""The command line: one thin function a verb. Heavy packages are imported by the verbs that need them."""

import sys
import warnings
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, TextIO

import typer

from xlift import catalogue, cluster, fits, manifests, results, running

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A declarative experiment registry with statistical meta-analysis.",
)
for verb in (
    manifests.check,
    manifests.schema,
    manifests.init,
    manifests.show,
    catalogue.tasks,
    manifests.plan,
    manifests.why,
    manifests.register,
    running.run,
    cluster.worker,
    cluster.status,
    cluster.logs,
    cluster.cancel,
    running.tune,
    running.sync,
    running.ui,
    results.sql,
    results.gains,
    results.import_,
    results.report,
    results.power,
    fits.fit,
    fits.meta,
):
    app.command(verb.__name__.rstrip("_"))(verb)

models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
models_app.callback()(catalogue.models)
models_app.command("fetch")(catalogue.fetch_models)
models_app.command()(catalogue.convert)
app.add_typer(models_app, name="models")
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What a study takes from elsewhere.")
data_app.command()(catalogue.pin)
data_app.command()(catalogue.fetch)
data_app.command()(catalogue.verify)
data_app.command()(catalogue.udpos)
data_app.command()(catalogue.ccg)
data_app.command()(catalogue.xtreme)
data_app.command()(catalogue.bucc)
app.add_typer(data_app, name="data")


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning on standard error: our own in a line of words, others with the place that gave them."""
    from xlift.registry.kept import NotRead

    ours = issubclass(category, NotRead)
    shown = f"xlift: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    sys.stderr.write(shown)


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="print the version", is_eager=True)] = False) -> None:
    if show_version:
        print(f"xlift {version('xlift')}")
        raise typer.Exit


def main() -> None:
    """Run a verb: exit status 0 done, 1 failed runs, 2 bad input; never a traceback for the user's mistakes."""
    from xlift.registry.findings import BadInput, UserError

    warnings.showwarning = _warned
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a manifest holds may not be printable
    try:
        app()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"xlift: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
