"""`suguk evaluate`: outputs against references."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suguk import files
from suguk.cli import streams, values
from suguk.cli.faults import say

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.evaluation.report import Evaluation

Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="Of bleu, chrf, ter, exact, cer, wer, per.  [default: all that fit the target's tokens]",
    ),
]
Lowercase = Annotated[
    bool | None,
    typer.Option(
        "--lowercase/--no-lowercase",
        help="Compare without upper and lower case.  [default: if the model was trained with data.lowercase]",
    ),
]
Tokenize = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Tokenisation of BLEU: 13a, intl, char, zh, ja-mecab, ko-mecab, or none."
    ),
]
Picture = Annotated[
    Path | None, typer.Option(metavar="FILE.svg", help="Draw the scores by source length into this file.")
]


def evaluate(
    model: values.Model,
    data: values.Data,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    metrics: Metrics = None,
    lowercase: Lowercase = None,
    tokenize: Tokenize = "13a",
    beam: values.Beam = None,
    length_penalty: values.LengthPenalty = None,
    max_length: values.MaxLength = None,
    settings: values.Settings = None,
    picture: Picture = None,
    json: values.Json = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
    quiet: values.Quiet = False,
) -> None:
    """Score the model's outputs for DATA against its targets.

    Prints scores with signatures, perplexity, speed, scores by source length, the worst and the best outputs.
    Rows with the same source are several references for one output.

    \b
    Examples:
      suguk evaluate runs/es-en test.tsv
      suguk evaluate runs/en-de test.en test.de --tokenize none --json
      suguk evaluate runs/g2p words.tsv --metrics exact,per --picture by-length.svg
      suguk evaluate runs/es-en+runs/es-en-2 test.tsv --set predict.mbr=chrf --set predict.no_repeat_ngram=3
    """
    values.check_paths(data)
    if picture is not None:
        files.free(picture, ".svg")
    loaded = values.open_model(model, device, engine, threads)
    options = values.predict_options(
        loaded.config.predict,
        beam=beam,
        n_best=1,
        settings=settings,
        length_penalty=length_penalty,
        max_length=max_length,
    )
    from suguk.data.read import references
    from suguk.evaluation import report

    sources, targets = references(
        values.read_pairs(data, source, target, header, of=loaded.config.data, skip_bad=skip_bad, quiet=quiet)
    )
    names = _names(metrics, loaded)
    with values.progress(len(sources), "decoding", quiet=quiet) as advance:
        found = report.evaluate(
            loaded,
            sources,
            targets,
            options,
            names,
            lowercase=loaded.config.data.lowercase if lowercase is None else lowercase,
            tokenize=tokenize,
            on_prediction=advance,
        )
    if json:
        streams.write_json(found.to_json(), indent=1)
    else:
        streams.write_text(found.text())
    if picture is not None:
        _draw(found, picture, quiet=quiet)


def _names(given: str | None, model: "TextPredictor") -> tuple[str, ...]:
    from suguk.evaluation.report import DEFAULT

    if given is not None:
        return tuple(name.strip().lower() for name in given.split(",") if name.strip())
    return ("exact", "per", "bleu") if model.target.kind == "symbols" else DEFAULT


def _draw(found: "Evaluation", picture: Path, *, quiet: bool) -> None:
    from suguk.explain.curves import by_length

    by_length(found, picture)
    if not quiet:
        say(f"scores by source length: {picture}")
