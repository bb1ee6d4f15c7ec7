"""`suguk predict`: one line in, one line out."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.errors import UserError

if TYPE_CHECKING:
    from suguk.predictor import Hypothesis, Prediction

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
LineBuffered = Annotated[
    bool,
    typer.Option(
        "--line-buffered", help="Answer each line before reading the next, as on a terminal; slower."
    ),
]


def predict(
    model: values.Model,
    file: Input = None,
    beam: values.Beam = None,
    n_best: NBest = None,
    length_penalty: values.LengthPenalty = None,
    max_length: values.MaxLength = None,
    jsonl: values.Jsonl = False,
    attention: AttentionDir = None,
    line_buffered: LineBuffered = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
) -> None:
    """Answer each line of FILE or standard input with one line.

    Lines are UTF-8; an empty line is answered too, so that line numbers stay the same. A line break or a
    tab inside an output is written as one space (--jsonl keeps it). The score is the log probability divided
    by the length penalty. With --n-best a source has fewer lines than N where the beam holds fewer different
    outputs; --jsonl keeps its hypotheses together.

    \b
    Examples:
      echo "estoy en el metro" | suguk predict runs/es-en
      suguk predict runs/es-en news.es --beam 10 > news.en
      suguk predict runs/es-en news.es --n-best 3
      suguk predict runs/es-en news.es --jsonl --attention pictures
    """
    loaded = values.open_model(model, device, engine)
    options = values.predict_options(
        loaded.config.predict,
        beam=beam,
        n_best=n_best or 1,
        length_penalty=length_penalty,
        max_length=max_length,
    )
    from suguk.predictor import LONGEST_TEXT

    if attention is not None:
        _make(attention)

    def answers(sources: Iterable[str]) -> "Iterator[Prediction]":
        return loaded.stream(sources, options, attention=attention is not None)

    with streams.Lines(file, LONGEST_TEXT) as lines:
        waiting = line_buffered or lines.interactive  # else many are decoded together
        found = (answer for line in lines for answer in answers([line])) if waiting else answers(lines)
        for number, prediction in enumerate(found, start=1):
            _write(number, prediction, jsonl=jsonl, ranked=n_best is not None)
            if attention is not None:
                draw(prediction, attention / f"{number:04d}.svg")


def _make(pictures: Path) -> None:
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(
            f"cannot be made a directory: {fault.strerror}", where=pictures, hint="name another --attention"
        ) from None


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
