"""Options of `suguk predict` that say what outputs should be like, and how they become settings."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suguk.errors import DataError, Problem, UserError

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.config import PredictConfig
    from suguk.predictor import Constraint

MinLength = Annotated[
    int | None, typer.Option(metavar="TOKENS", help="Fewest tokens of an output.  [default: the model's]")
]
Coverage = Annotated[
    float | None,
    typer.Option(
        metavar="BETA", help="Cost of source tokens that no attention went to.  [default: the model's]"
    ),
]
NoRepeat = Annotated[
    int | None, typer.Option(metavar="N", help="No N tokens come twice in an output.  [default: the model's]")
]
Groups = Annotated[
    int | None,
    typer.Option(metavar="G", help="Divide the beam into groups that differ (diverse beam search)."),
]
Diversity = Annotated[
    float | None, typer.Option(metavar="COST", help="How much groups are to differ.  [default: the model's]")
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Draw outputs at random instead of searching for the best.")
]
Temperature = Annotated[
    float | None, typer.Option(metavar="T", help="Of samples: below 1 more cautious.  [default: the model's]")
]
TopK = Annotated[int | None, typer.Option(metavar="K", help="Draw among the K most probable words only.")]
TopP = Annotated[
    float | None,
    typer.Option(metavar="P", help="Draw among the most probable words that hold the probability P."),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="Of samples: the same seed and source, the same output.")
]
Mbr = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help="Choose the output that agrees most with the others by chrf or bleu (minimum Bayes risk).",
    ),
]
Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Outputs begin with it.")]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="WORDS", help="Outputs hold these words; may be repeated.", show_default=False),
]
Ban = Annotated[
    list[str] | None,
    typer.Option(metavar="WORDS", help="No output holds these words; may be repeated.", show_default=False),
]
ConstraintFile = Annotated[
    str | None,
    typer.Option(
        "--constraints",
        metavar="FILE.jsonl",
        help='A line for each source: {"prefix": "...", "required": ["..."], "banned": ["..."]}, all optional.',
    ),
]
KEYS = {"prefix", "required", "banned"}


def check_used(
    options: "PredictConfig",
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    diversity: float | None,
    column: str,
) -> None:
    """UserError for what was given and does nothing. column: of sources, where there is no table."""
    of_samples = {"--temperature": temperature, "--top-k": top_k, "--top-p": top_p, "--seed": seed}
    idle = [name for name, value in of_samples.items() if value is not None]
    if idle and not options.sample:
        raise UserError(f"{', '.join(idle)}: only samples know that", hint="add --sample, or leave it out")
    if diversity is not None and options.groups == 1:
        raise UserError("--diversity: there is one group", hint="add --groups, or leave it out")
    if column:
        raise UserError("--source names a column of a table", hint="answer a table with --output DIR")


def constraints(
    prefix: str,
    require: list[str] | None,
    ban: list[str] | None,
    file: str | None,
    model: "TextPredictor",
    options: "PredictConfig",
) -> "Constraint | Iterator[Constraint] | None":
    """One constraint for all sources, or with a file one for each, to which the others are added.

    DataError for a file with anything in it that is no constraint, or that no search can meet.
    """
    from suguk.predictor import Constraint

    if file is None:
        if not (prefix or require or ban):
            return None
        return Constraint(prefix, tuple(require or ()), tuple(ban or ()))
    each = _of_file(file, Constraint(prefix, tuple(require or ()), tuple(ban or ())))
    return _possible(each, model, options, file)


def _of_file(path: str, every: "Constraint") -> "Iterator[Constraint]":
    """Read whole, so that all its faults are listed before anything is decoded."""
    from suguk.predictor import Constraint

    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            text = file.read()
            lines = text.removesuffix("\n").split("\n") if text else []
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"cannot be read: {fault}", where=path) from None
    found, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            given = _checked(json.loads(line) if line.strip() else {})
        except (ValueError, RecursionError) as fault:
            problems.append(
                Problem(path, number, "too deep" if isinstance(fault, RecursionError) else str(fault))
            )
            continue
        found.append(
            Constraint(
                given.get("prefix", "") or every.prefix,
                (*every.required, *given.get("required", ())),
                (*every.banned, *given.get("banned", ())),
            )
        )
    if problems:
        raise DataError("not all of its lines are constraints", problems, where=path)
    return iter(found)


def _possible(
    asked: "Iterator[Constraint]", model: "TextPredictor", options: "PredictConfig", path: str
) -> "Iterator[Constraint]":
    """The same ones. DataError for any that no search can meet, all of them listed before anything is decoded."""
    from suguk import asking

    found, problems = list(asked), []
    for number, one in enumerate(found, start=1):
        try:
            asking.check_possible(asking.tokens(one, model.target), options, number)
        except UserError as fault:
            problems.append(Problem(path, number, f"{fault.where}: {fault.message}; {fault.hint}"))
    if problems:
        raise DataError("not all of its constraints can be met", problems, where=path)
    return iter(found)


def _checked(given: Any) -> dict[str, Any]:
    """ValueError says what is not as it should be."""
    if not isinstance(given, dict):
        raise ValueError(f"expected an object, found {json.dumps(given, ensure_ascii=False)[:40]}")
    for key, value in given.items():
        if key not in KEYS:
            raise ValueError(f"expected prefix, required or banned, found {key!r}")
        text = isinstance(value, str)
        if not (
            text if key == "prefix" else isinstance(value, list) and all(isinstance(x, str) for x in value)
        ):
            raise ValueError(f"expected {'a text' if key == 'prefix' else 'a list of texts'} as {key}")
    return given
