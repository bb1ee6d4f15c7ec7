"""The command line: one short file per verb. Data goes to standard output, all else to standard error.

The verbs' signatures are all that `suguk --help` imports; what a verb needs it imports when it runs.
"""

import io
import sys
from typing import Annotated

import typer

from suguk.cli import (
    align,
    bench,
    card,
    check,
    demo,
    encode,
    evaluate,
    export,
    predict,
    recipes,
    report,
    rescore,
    score,
    train,
    tune,
)
from suguk.cli.faults import Verbs
from suguk.cli.train import TrainCommand
from suguk.cli.values import PathsCommand

app = typer.Typer(
    name="suguk",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: no rich to import, and the same text in a pipe
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"suguk {metadata.version('suguk')}")
        raise typer.Exit


@app.callback(
    epilog="Exit status: 0 done, 2 something to mend (the message says what), 1 a fault in suguk, "
    "130 interrupted. Every verb explains itself: `suguk train --help`."
)
def suguk(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recurrent sequence-to-sequence models: train one on your own pairs, see what it learned, use it."""


app.command()(demo.demo)
app.command(cls=PathsCommand)(check.check)
app.command(cls=TrainCommand)(train.train)
app.command(cls=PathsCommand)(tune.tune)
app.command()(predict.predict)
app.command()(score.score)
app.command()(align.align)
app.command()(rescore.rescore)
app.command()(encode.encode)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(export.export)
app.command()(card.card)
app.command()(bench.bench)
app.command()(recipes.recipes)


def main() -> None:
    """Console entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # help has letters that the locale may lack
            stream.reconfigure(errors="replace")
    app(prog_name="suguk")
