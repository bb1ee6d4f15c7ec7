"""Options that several verbs share, and how their values become settings."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from suguk.cli.faults import say
from suguk.errors import DataError, UserError

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.config import DataConfig, PredictConfig
    from suguk.data.read import Pairs
    from suguk.loading import Engine

SHOWN = 20  # bad rows that are listed
DATA_HELP = (
    "One table (TSV, CSV, JSONL, Parquet) or two parallel text files, source first; text files may be .gz."
)
SAMPLES = 32  # that agreement is looked for among, if no number is given
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run directory of `suguk train`, a file of `suguk export`, or run directories joined by + as one "
        "ensemble.",
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        min=0,
        max=256,
        metavar="N",
        help="Threads that compute.  [default: as many as there are cores]",
        show_default=False,
    ),
]
Data = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help=DATA_HELP, show_default=False),
]
Source = Annotated[
    str,
    typer.Option(
        metavar="COL", help="Source column of a table, by name or number from 1.  [default: the first]"
    ),
]
Target = Annotated[
    str,
    typer.Option(metavar="COL", help="Target column of a table, by name or number.  [default: the second]"),
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="The table has a header row, or none.  [default: recognised]",
        show_default=False,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Drop bad pairs, count and list them, instead of refusing the data."),
]
Valid = Annotated[
    list[str] | None,
    typer.Option(
        "--valid",
        metavar="PATH [PATH]",
        help="Validation data: one table or two files.  [default: split off DATA, disjoint by source]",
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A recipe of `suguk recipes`, or a .toml file.  [default: small or chars, as the data are]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Change a setting; may be repeated.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line with everything known.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or cuda:N.")]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", help="torch, onnx (the export in a run directory), or auto: onnx unless there is a GPU."
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH[,PATH]",
        help="More training data: a table, or two files with a comma between; may be repeated.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")]
Beam = Annotated[
    int | None, typer.Option(metavar="K", help="Width of the beam; 1: greedy.  [default: the model's]")
]
LengthPenalty = Annotated[
    float | None,
    typer.Option(metavar="ALPHA", help="0 compares plain log probabilities.  [default: the model's]"),
]
MaxLength = Annotated[
    int | None, typer.Option(metavar="TOKENS", help="Most tokens of an output.  [default: the model's]")
]


class PathsCommand(TyperCommand):
    """`--valid` takes one or two paths, as DATA does, which options of fixed width cannot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags = [parameter for parameter in self.params if getattr(parameter, "is_flag", False)]
        names = {name for flag in flags for name in (*flag.opts, *flag.secondary_opts)}
        return super().parse_args(ctx, spread_valid(args, names))


def spread_valid(args: Sequence[str], flags: set[str]) -> list[str]:
    """`--valid A B` as `--valid A --valid B`. flags: the options that take no value.

    Up to two words after --valid are its paths. If there is no other word, DATA follows it directly, and the
    first half of the words are its paths: `--valid val.tsv train.tsv`.
    """
    if "--valid" not in args:
        return list(args)
    start = args.index("--valid") + 1
    end = next((k for k in range(start, len(args)) if args[k].startswith("-")), len(args))
    found = end - start
    if not _words([*args[: start - 1], *args[end:]], flags):
        found //= 2
    paths = args[start : start + max(1, min(found, 2))]
    spread = [word for path in paths for word in ("--valid", path)]
    return [*args[: start - 1], *(spread or ["--valid"]), *args[start + len(paths) :]]


def _words(args: Sequence[str], flags: set[str]) -> list[str]:
    words, skip = [], False
    for arg in args:
        if skip:
            skip = False
        elif arg.startswith("-") and arg != "-":
            skip = "=" not in arg and arg not in flags
        else:
            words.append(arg)
    return words


def check_paths(data: Sequence[str], what: str = "DATA") -> None:
    """UserError unless there are one or two paths."""
    if len(data) not in (1, 2):
        raise UserError(
            f"{what}: expected one table or two parallel text files, found {len(data)} paths",
            hint="give the source file first, then the target file",
        )


def open_model(path: str, device: str, engine: str, threads: int = 0) -> "TextPredictor":
    """The model of a run directory or of an exported file."""
    import suguk

    return suguk.load(path, device, cast("Engine", engine), threads)  # an unknown one is refused there


def predict_options(
    base: "PredictConfig",
    *,
    beam: int | None = None,
    n_best: int | None = None,
    settings: Sequence[str] | None = None,
    **given: Any,
) -> "PredictConfig":
    """`base` with what was given (None: not); a beam that was not given is as wide as n_best. ConfigError.

    settings: items of --set, of the section predict.
    """
    from suguk import config

    set_ = config.assignments(settings or ())
    for section in set_.keys() - {"predict"}:
        raise UserError(
            f"only settings of predict can change now, found {section}", where="--set", hint="train with it"
        )
    over = set_.get("predict", {}) | {key: value for key, value in given.items() if value is not None}
    told = n_best if n_best is not None else over.get("n_best")
    wide = base.n_best if told is None else told
    if not (isinstance(wide, int) and isinstance(over.get("beam", 1), int)):
        return config.options(base, **over)  # which refuses it
    if beam is None and "beam" not in over:
        if over.get("sample"):
            beam = wide if over.get("mbr", base.mbr) == "none" else max(SAMPLES, wide)
        else:
            beam = max(base.beam, wide)
    if beam is not None:
        over["beam"] = beam
    over["n_best"] = wide if told is not None else min(wide, max(over.get("beam", base.beam), 1))
    return config.options(base, **over)


def overrides(settings: Sequence[str] | None, **given: Any) -> list[str]:
    """--set items, then options that stand for a setting: `train_seed=3` is train.seed=3; None: not given."""
    import json

    named = [(name.replace("_", ".", 1), value) for name, value in given.items() if value is not None]
    return [*(settings or ()), *(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in named)]


def read_pairs(
    data: Sequence[str],
    source: str,
    target: str,
    header: bool | None,
    *,
    of: "DataConfig",
    skip_bad: bool,
    quiet: bool,
) -> "Pairs":
    """The pairs of DATA; what reading decided, and what --skip-bad left out, goes to standard error.

    of: the model's, whose columns are taken where DATA has them by name.
    """
    from suguk.data.check import judged
    from suguk.data.read import read, refusal
    from suguk.predictor import LONGEST_TEXT

    found, pairs = judged(
        read(data, source=source, target=target, header=header, skip_bad=True, like=of.names),
        LONGEST_TEXT,
    )
    problems = [problem for problem in found if problem.fatal]
    if problems and not skip_bad:
        raise refusal(problems)
    if not len(pairs):
        raise DataError("there is no good pair in it", problems, where=data[0])
    if not quiet:
        for line in [*pairs.notes, *map(str, problems[:SHOWN])]:
            say(line)
        if problems:
            rest = len(problems) > SHOWN
            say(
                f"left out {len(problems):,} bad rows in all"
                + (f"; those after the first {SHOWN}: `suguk check --json`" if rest else "")
            )
    return pairs


@contextmanager
def progress(total: int, what: str, *, quiet: bool) -> "Iterator[Callable[[object], None]]":
    """A bar on standard error while a person watches; the yielded function counts one."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda _: bar.advance(task)
