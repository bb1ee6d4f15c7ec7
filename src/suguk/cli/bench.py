"""`suguk bench`: how fast this machine trains."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from suguk.config import Config

Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="A recipe of `suguk recipes`, or a .toml file; may be repeated.  [default: small and chars]",
        show_default=False,
    ),
]
DataOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA...", help=f"{values.DATA_HELP}  [default: generated pairs]", show_default=False
    ),
]
Updates = Annotated[int, typer.Option(metavar="N", min=1, help="Updates that are timed, for each recipe.")]

DEFAULT = ("small", "chars")
WARM_UP = 10  # updates before the timed ones: memory is fetched, caches fill
LETTERS = {"char", "symbols"}
# What is printed: name in the JSON, label, format.
LINES = (
    ("tokens_per_second", "target tokens/s, median", ",.0f"),
    ("tokens_per_second_overall", "target tokens/s, overall", ",.0f"),
    ("update_ms", "ms an update, median", ",.1f"),
    ("update_gflop", "GFLOP an update", ",.2f"),
    ("gflops", "GFLOP/s", ",.1f"),
    ("product_gflops", "GFLOP/s of a matrix product", ",.1f"),
    ("share", "share of that", ".1%"),
    ("padding", "padding", ".1%"),
    ("parameters", "parameters", ",d"),
    ("peak_memory_mb", "peak memory, MB", ",.0f"),
    ("precision", "precision", ""),
    ("device", "device", ""),
    ("threads", "threads", "d"),
)


def bench(
    data: DataOrNone = None,
    recipe: Recipes = None,
    settings: values.Settings = None,
    updates: Updates = 60,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Measure how fast this machine trains recipes.

    Makes some updates of each recipe's training, in a process of its own, on DATA or on generated pairs: sentences
    like Multi30k's, for `chars` words. No model is kept. GFLOP are those of the matrix products with real
    tokens alone; their share is of what a product of two matrices of 2048 × 2048 reaches in the same type.

    \b
    Examples:
      suguk bench
      suguk bench train.en train.de --recipe small --recipe luong2015
      suguk bench --recipe small --set model.hidden=512 --set train.precision=bf16 --updates 200 --json
    """
    from suguk import config

    if data:
        values.check_paths(data)
    given = config.assignments(
        values.overrides(
            settings,
            data_train=data or None,
            data_source=source or None,
            data_target=target or None,
            data_header=header,
            data_skip_bad=skip_bad or None,
        )
    )
    # All of them first: a mistyped one is told at once.
    chosen = {name: config.load(name, given) for name in dict.fromkeys(recipe or DEFAULT)}
    found = [_apart(name, settings, updates, quiet=quiet) for name, settings in chosen.items()]
    if json:
        streams.write_json({"warm_up": WARM_UP, "recipes": found}, indent=1)
    else:
        streams.write_text(table(found))


def table(found: list[dict[str, Any]]) -> str:
    """A line for each figure, a column for each recipe."""
    rows = [["", *(Path(one["recipe"]).name for one in found)]]
    rows += [[label, *(format(one[key], how) for one in found)] for key, label, how in LINES]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])] for row in rows]
    about = f"{found[0]['updates']:,} updates after {WARM_UP} of warm-up, on {found[0]['data']}"
    return "\n".join([*map("  ".join, lines), "", about])


def _apart(name: str, settings: "Config", updates: int, *, quiet: bool) -> dict[str, Any]:
    """The figures of a recipe from a fresh process, so that its peak of memory is its own.

    This one stays small for that: a process begins with the peak of the one that started it.
    """
    import multiprocessing

    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_measure, args=(theirs, name, settings, updates), daemon=True)
    try:
        process.start()
        theirs.close()
        with values.progress(WARM_UP + updates, name, quiet=quiet) as advance:
            for message in _received(ours):
                if isinstance(message, dict):
                    data = " ".join(settings.data.train) or "generated pairs"
                    return {"recipe": name, "data": data, **message}
                if isinstance(message, Exception):
                    raise message
                if message is None:
                    advance(None)
                elif not quiet:
                    say(f"{name}: {message}")
        process.join()
        raise UserError(
            f"the measuring process ended early, with status {process.exitcode}",
            where=name,
            hint="where memory was short, a smaller train.batch_tokens needs less",
        )
    finally:
        ours.close()
        if process.pid is not None:
            process.kill()
            process.join()


def _received(connection: "Connection[Any, Any]") -> Iterator[Any]:
    """Until the other process has ended."""
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return


def _measure(connection: "Connection[Any, Any]", name: str, settings: "Config", updates: int) -> None:
    """In a process of its own. Sends texts to show, None for each update, then a dict of figures or an exception."""
    import contextlib
    import signal
    import traceback
    from dataclasses import asdict

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that a person interrupts ends this one
    send: Callable[[Any], None] = connection.send
    with contextlib.suppress(BrokenPipeError):  # that process was killed
        try:
            from suguk.training import bench

            letters = {settings.source.tokenizer, settings.target.tokenizer} & LETTERS
            kind = bench.WORDS if letters or Path(name).stem == "chars" else bench.SENTENCES
            figures = bench.measure(settings, kind, updates, WARM_UP, note=send, advance=lambda _: send(None))
            send(asdict(figures))
        except BrokenPipeError:
            raise
        except Exception as fault:
            if not isinstance(fault, UserError):
                fault.add_note(traceback.format_exc())  # which does not travel by itself
            send(fault)
