"""`suguk predict`: one line in, one line out."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from suguk.cli import menu, streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.config import PredictConfig
    from suguk.predictor import Constraint, Constraints, Hypothesis, Prediction

Input = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="Sources, one a line, may be .gz.  [default: standard input]"),
]
NBest = Annotated[
    int | None,
    typer.Option(metavar="N", help="Up to N lines per source, the best first: OUTPUT, tab, SCORE."),
]
AttentionDir = Annotated[
    Path | None,
    typer.Option(
        "--attention", metavar="DIR", help="Draw the attention of line 1 into DIR/0001.svg, and so on."
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Answer a line that is not UTF-8, is too long or has no output that meets all that is asked for with an "
        "empty one, and name it, instead of stopping there.",
    ),
]
LineBuffered = Annotated[
    bool,
    typer.Option(
        "--line-buffered", help="Answer each line before reading the next, as on a terminal; slower."
    ),
]

OutputDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="FILE is Parquet, or a folder of it: write it by parts with its outputs. Goes on where it was stopped.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Predict with N processes of one thread each.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="With --output: on a Ray cluster (local, auto, HOST:PORT or ray://HOST:PORT)."
    ),
]


def predict(
    model: values.Model,
    file: Input = None,
    beam: values.Beam = None,
    n_best: NBest = None,
    length_penalty: values.LengthPenalty = None,
    max_length: values.MaxLength = None,
    min_length: menu.MinLength = None,
    coverage_penalty: menu.Coverage = None,
    no_repeat_ngram: menu.NoRepeat = None,
    groups: menu.Groups = None,
    diversity: menu.Diversity = None,
    sample: menu.Sample = False,
    temperature: menu.Temperature = None,
    top_k: menu.TopK = None,
    top_p: menu.TopP = None,
    seed: menu.Seed = None,
    mbr: menu.Mbr = None,
    prefix: menu.Prefix = "",
    require: menu.Require = None,
    ban: menu.Ban = None,
    constraints: menu.ConstraintFile = None,
    settings: values.Settings = None,
    jsonl: values.Jsonl = False,
    attention: AttentionDir = None,
    line_buffered: LineBuffered = False,
    skip_bad: SkipBad = False,
    output: OutputDir = None,
    source: values.Source = "",
    workers: Workers = None,
    ray: Ray = None,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
) -> None:
    """Answer each line of FILE or standard input with one line.

    Lines are UTF-8; an empty line is answered too, so that line numbers stay the same. A line break or a
    tab inside an output is written as one space (--jsonl keeps it). Scores are log probabilities over the
    length penalty. With --n-best a source has fewer lines than N where the beam holds fewer different outputs.
    A line that cannot be answered ends the answers; --skip-bad goes on.

    \b
    Examples:
      echo "estoy en el metro" | suguk predict runs/es-en
      suguk predict runs/es-en news.es --sample --top-p 0.9 --n-best 5
      suguk predict runs/es-en news.es --prefix "I think" --ban very --no-repeat-ngram 3
      suguk predict es-en.onnx news.es --workers 8 > news.en
      suguk predict es-en.onnx corpus/ --source es --output out/ --ray auto
    """
    loaded = values.open_model(model, device, engine, threads)
    options = values.predict_options(
        loaded.config.predict,
        beam=beam,
        n_best=n_best,
        settings=settings,
        length_penalty=length_penalty,
        max_length=max_length,
        min_length=min_length,
        coverage_penalty=coverage_penalty,
        no_repeat_ngram=no_repeat_ngram,
        groups=groups,
        diversity=diversity,
        sample=sample or None,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        mbr=mbr,
    )
    menu.check_used(options, temperature, top_k, top_p, seed, diversity, source if output is None else "")
    asked = menu.constraints(prefix, require, ban, constraints, loaded, options)
    how = _Lines(n_best is not None or options.n_best > 1, jsonl, attention, line_buffered, workers, skip_bad)
    if output is not None or ray is not None or workers is not None:
        elsewhere = device not in ("auto", "cpu") or engine != "auto" or threads > 0
        _refuse_together(model, how, ray, output, constrained=asked is not None, elsewhere=elsewhere)
    if output is None:
        _answer(model, loaded, file, options, asked, how)
    else:
        _table(model, file, output, options, source, workers, ray)


class _Lines(NamedTuple):
    """How lines are answered and written."""

    ranked: bool
    jsonl: bool
    pictures: Path | None
    line_buffered: bool
    workers: int | None
    skip_bad: bool


def _answer(
    model: str,
    loaded: "TextPredictor",
    file: str | None,
    options: "PredictConfig",
    asked: "Constraint | Iterator[Constraint] | None",
    how: _Lines,
) -> None:
    from suguk.asking import too_few_constraints, too_many_constraints
    from suguk.predictor import LONGEST_TEXT

    attention = how.pictures is not None
    if how.pictures is not None:
        _make(how.pictures)

    def answers(sources: Iterable[str], asked: "Constraints") -> "Iterator[Prediction]":
        return loaded.stream(sources, options, attention=attention, constraints=asked, skip_unmet=True)

    def one_by_one(lines: Iterable[str]) -> "Iterator[Prediction]":
        """As `answers` of all lines, each answered before the next one is waited for."""
        number = 0
        for number, line in enumerate(lines, start=1):
            of_line = list(islice(asked, 1)) if isinstance(asked, Iterator) else asked
            if of_line == []:
                raise too_few_constraints(number - 1)
            yield from answers([line], of_line)
        if isinstance(asked, Iterator) and next(asked, None) is not None:
            raise too_many_constraints(number)

    with streams.Lines(file, LONGEST_TEXT, skip_bad=how.skip_bad) as lines:
        if lines.interactive:
            say("type a line for an answer; Ctrl-D ends")
            # A bad line is told, and another one typed.
            lines.skip_bad, how = True, how._replace(skip_bad=True)
        waiting = how.line_buffered or lines.interactive  # else many are decoded together
        found = one_by_one(lines) if waiting else answers(lines, asked)
        if how.workers is not None:
            from suguk.corpus import map_lines

            found = map_lines(model, lines, options, how.workers, attention=attention)
        cut = 0
        for number, prediction in enumerate(found, start=1):
            cut += not (prediction.finished or prediction.problem)
            if problem := lines.bad.pop(number, "") or prediction.problem:
                _leave_out(f"{lines.name}:{number}", number, problem, how)
                continue
            _write(number, prediction, jsonl=how.jsonl, ranked=how.ranked)
            if how.pictures is not None:
                draw(prediction, how.pictures / f"{number:04d}.svg")
        if cut and not lines.interactive:
            say(
                f"warning: {cut:,} outputs were cut before their end; predict.max_length and length_ratio bound them"
            )


def _refuse_together(
    model: str, how: _Lines, ray: str | None, output: Path | None, *, constrained: bool, elsewhere: bool
) -> None:
    """What is not done with --output, --workers and --ray is said before the start."""
    from suguk.loading import members

    if ray is not None and output is None:
        raise UserError("--ray needs a place for its parts", where="--ray", hint="name it with --output DIR")
    given = {
        "--prefix, --require, --ban and --constraints": constrained,
        "--line-buffered": how.line_buffered,
        "--skip-bad": output is not None and how.skip_bad,
        "--device, --engine and --threads": elsewhere,
        "--attention": output is not None and how.pictures is not None,
        "--jsonl": output is not None and how.jsonl,
    }
    other = [name for name, wanted in given.items() if wanted]
    if other:
        by = "--output" if output is not None else "--workers"
        raise UserError(f"{by} does not know {', '.join(other)}", hint="leave one of the two out")
    if len(members(model)) > 1:
        raise UserError(
            "several processes take an ensemble as one exported file only",
            where=model,
            hint=f"`suguk export {model} FILE.onnx`, then give the file",
        )


def _table(
    model: str,
    file: str | None,
    output: Path,
    options: "PredictConfig",
    source: str,
    workers: int | None,
    ray: str | None,
) -> None:
    from suguk.corpus import predict_table

    if file is None:
        raise UserError("--output needs a Parquet file, or a folder of them", hint="name it after the model")
    done = predict_table(model, [file], output, options=options, source=source, workers=workers, ray=ray)
    say(
        f"{output}: {done.rows:,} rows in {done.done:,} parts, {done.skipped:,} parts were there; "
        f"{done.seconds:.1f} s"
    )


def _make(pictures: Path) -> None:
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(
            f"cannot be made a directory: {fault.strerror}", where=pictures, hint="name another --attention"
        ) from None


def _leave_out(where: str, number: int, problem: str, how: _Lines) -> None:
    """What stands in the place of an answer, with --skip-bad; UserError without."""
    if not how.skip_bad:
        raise UserError(problem, where=where, hint="ask for less, or leave the line out: --skip-bad")
    say(f"{where}: left out: {problem}")
    if how.jsonl:
        streams.write_json({"line": number, "problem": problem})
    else:
        streams.write_line("")


def _write(number: int, prediction: "Prediction", *, jsonl: bool, ranked: bool) -> None:
    if jsonl:
        streams.write_json(as_json(number, prediction))
    elif ranked:
        for hypothesis in prediction.n_best:
            streams.write_line(hypothesis.output, f"{hypothesis.score:.4f}")
    else:
        streams.write_line(prediction.output)


def draw(prediction: "Prediction", path: Path) -> None:
    """The attention of one prediction as a heatmap."""
    from suguk.explain.heatmap import heatmap

    if prediction.attention is not None:
        title = f"{prediction.source} → {prediction.output}"
        path.write_text(heatmap(prediction.attention, title, prediction.score), encoding="utf-8")


def as_json(number: int, prediction: "Prediction") -> dict[str, Any]:
    """One line of --jsonl. number: of the input line, from 1."""
    plain = {
        "line": number,
        "source": prediction.source,
        **_hypothesis(prediction),
        "n_best": [_hypothesis(hypothesis) for hypothesis in prediction.n_best],
    }
    if prediction.attention is not None:
        shown = prediction.attention
        plain["attention"] = {
            "source_tokens": shown.source_tokens,
            "target_tokens": shown.target_tokens,
            "weights": [[round(weight, 6) for weight in row] for row in shown.weights.tolist()],
        }
    return plain


def _hypothesis(hypothesis: "Hypothesis") -> dict[str, Any]:
    return {
        "output": hypothesis.output,
        "score": hypothesis.score,
        "log_prob": hypothesis.log_prob,
        "tokens": hypothesis.tokens,
        "token_scores": hypothesis.token_scores,
        "finished": hypothesis.finished,
    }
