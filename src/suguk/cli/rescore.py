"""`suguk rescore`: n-best lists in a new order."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import DataError, Problem, UserError

Lists = Annotated[
    str,
    typer.Argument(
        metavar="FILE.jsonl", help="N-best lists, as `suguk predict --n-best N --jsonl` writes them."
    ),
]
Weight = Annotated[
    float,
    typer.Option(
        min=0, max=1, metavar="W", help="How much this model counts; the score in the list counts 1 − W."
    ),
]
NBest = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Keep the best N of each list.  [default: all]")
]
_AT_ONCE = 64  # lists
MOST = sys.float_info.max
_MAKE = "make them with `suguk predict MODEL FILE --n-best 10 --jsonl`"


def rescore(
    model: values.Model,
    lists: Lists,
    weight: Weight = 0.5,
    n_best: NBest = None,
    length_penalty: values.LengthPenalty = None,
    jsonl: values.Jsonl = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
) -> None:
    """Order n-best lists anew, by another model or an ensemble.

    A hypothesis' new score is W · s + (1 − W) · its score in the list, where s is its log probability under
    MODEL over the length penalty. Writes the best output of each list, or with --jsonl the whole lists, in
    the form that they were read in, where only score is new. The scores in the list have to be log
    probabilities over the same length penalty: not agreement, as --mbr has it. What `predict --skip-bad`
    left out stays out, with an empty line in its place.

    \b
    Examples:
      suguk predict runs/small news.es --n-best 20 --jsonl > lists.jsonl
      suguk rescore runs/large lists.jsonl > news.en
      suguk rescore runs/a+runs/b lists.jsonl --weight 0.7 --jsonl > reordered.jsonl
    """
    found = _checked(lists)
    loaded = values.open_model(model, device, engine, threads)
    options = values.predict_options(loaded.config.predict, length_penalty=length_penalty)
    for part in streams.chunks(found, _AT_ONCE):
        lists_of = [one for one in part if not _left_out(one)]
        pairs = [(one["source"], each["output"]) for one in lists_of for each in one["n_best"]]
        scores = iter(loaded.score([source for source, _ in pairs], [output for _, output in pairs]))
        for one in part:
            if _left_out(one):
                _leave_out(one, jsonl=jsonl)
                continue
            for each in one["n_best"]:
                new = next(scores)
                own = new.log_prob / options.penalty_of(len(new.token_scores))
                each["score"] = weight * own + (1 - weight) * each["score"]
            before = one["n_best"][0]
            # As a search orders them: those that have ended first.
            ranked = sorted(one["n_best"], key=lambda each: (not each.get("finished", True), -each["score"]))
            ranked = ranked[:n_best]
            if jsonl:
                if ranked[0] is not before:
                    one.pop("attention", None)  # it is of the hypothesis that was first
                streams.write_json({**one, **ranked[0], "n_best": ranked})
            else:
                streams.write_line(ranked[0]["output"])


def _left_out(one: dict[str, Any]) -> bool:
    """Whether it stands in the place of a line that `suguk predict --skip-bad` left out."""
    return isinstance(one.get("problem"), str)


def _leave_out(one: dict[str, Any], *, jsonl: bool) -> None:
    """What stands in the place of a line that was left out before, so that line numbers stay the same."""
    say(f"line {one.get('line')}: left out before: {one['problem']}")
    if jsonl:
        streams.write_json(one)
    else:
        streams.write_line("")


def _checked(path: str) -> Iterator[dict[str, Any]]:
    """The lists of a file one after the other, once all of it has been read.

    UserError if the file cannot be read, DataError with every line that is not an n-best list.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise UserError(
            "is no file, expected one: lists are all checked before the first is answered, so they are read twice",
            where=path,
            hint="write them into a file first",
        )
    count, problems = 0, []
    for one in _lists(path):
        count += 1
        problems += [one] if isinstance(one, Problem) else []
    if not count:
        raise UserError("there are no lists in it", where=path, hint=_MAKE)
    if problems:
        raise DataError(
            "not all of its lines are n-best lists",
            problems,
            where=path,
            hint=_MAKE,
        )
    return (one for one in _lists(path) if not isinstance(one, Problem))


def _lists(path: str) -> Iterator[dict[str, Any] | Problem]:
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                try:
                    one = json.loads(line)
                    _check(one)
                except ValueError as fault:
                    yield Problem(path, number, f"not an n-best list: {fault}")
                except RecursionError:
                    yield Problem(path, number, "not an n-best list: too deep")
                else:
                    yield one
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"cannot be read: {fault}", where=path) from None


def _check(one: Any) -> None:
    """ValueError: what is wrong."""
    from suguk.incoming import is_text
    from suguk.predictor import LONGEST_TEXT

    if not isinstance(one, dict):
        raise ValueError("no object with a source and its hypotheses")
    if _left_out(one):
        if "n_best" in one:
            raise ValueError("a problem and hypotheses")
        return
    hypotheses = one.get("n_best")
    if not isinstance(one.get("source"), str) or not isinstance(hypotheses, list) or not hypotheses:
        raise ValueError("no source, or no hypotheses")
    for each in hypotheses:
        if not isinstance(each, dict) or not isinstance(each.get("output"), str):
            raise ValueError("a hypothesis without an output")
        score = each.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= MOST:
            raise ValueError(f"a hypothesis whose score is {score!s:.40}")
    texts = [one["source"], *(each["output"] for each in hypotheses)]
    if not all(map(is_text, texts)):
        raise ValueError("half a surrogate pair is no character")
    longest = max(map(len, texts))
    if longest > LONGEST_TEXT:
        raise ValueError(f"a text of {longest:,} characters; at most {LONGEST_TEXT:,} are read")
