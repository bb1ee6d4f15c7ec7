"""`suguk demo`: the whole way on bundled data, in minutes."""

from collections.abc import Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.cli.predict import draw

if TYPE_CHECKING:
    from suguk.predictor import Prediction, Predictor

Out = Annotated[
    Path, typer.Option(metavar="DIR", help="The run directory to make; a number is added where there is one.")
]
Minutes = Annotated[float, typer.Option(min=0.01, help="Time budget of the training.")]

# Chosen on the validation part, for a few minutes on two cores.
SETTINGS = (
    "source.vocab_size=4000",
    "target.vocab_size=4000",
    "model.dropout=0.1",
    "train.lr=0.003",
    "train.warmup=200",
    "train.label_smoothing=0.0",
    "train.ema=0",  # in so short a training an average lags behind
    "train.valid_every=0.5",
)
SHOWN = 12  # translations


def demo(
    out: Out = Path("runs/demo"),
    minutes: Minutes = 3.3,
    settings: values.Settings = None,
    device: values.Device = "auto",
    quiet: values.Quiet = False,
) -> None:
    """Train Spanish → English in minutes and show what was learned.

    The data are short sentences of the Tatoeba project (CC BY 2.0), bundled with suguk. Prints scores on
    sentences that the model has never seen, and a dozen translations; draws attention, learning curves and
    scores by length into the run directory.

    \b
    Examples:
      suguk demo
      suguk demo --minutes 10 --out runs/longer
    """
    import suguk
    from suguk.data.read import read, references

    folder = free(out)
    with ExitStack() as stack:
        train, valid, test = (str(stack.enter_context(resources.as_file(part))) for part in parts())
        suguk.train(
            train,
            valid=valid,
            out=folder,
            recipe="small",
            overrides=_overrides(minutes, device, settings or ()),
            display="silent" if quiet else "auto",
        )
        sources, targets = references(read([test]))
    model = suguk.load(folder, device)
    _evaluate(model, sources, targets, folder, quiet=quiet)
    shown = [round((k + 0.5) * len(sources) / SHOWN) for k in range(SHOWN)]
    _translate(model, [sources[k] for k in shown], [targets[k] for k in shown], folder)
    streams.write_text(
        f"\nmodel            {folder}\nlearning curves  {folder / 'curves.svg'}\n"
        f"by length        {folder / 'by-length.svg'}\nattention        {folder / 'attention'}/0001.svg …\n\n"
        f"Try it:  echo 'estoy en casa' | suguk predict {folder}"
    )


def _overrides(minutes: float, device: str, settings: Sequence[str]) -> list[str]:
    named = values.overrides(None, train_minutes=minutes, train_device=device)
    return [*SETTINGS, *named, *settings]


def parts() -> "Sequence[resources.abc.Traversable]":
    """The bundled extract: train, valid and test, which share no source sentence."""
    folder = resources.files("suguk") / "demo_data"
    return [folder / f"{part}.tsv.gz" for part in ("train", "valid", "test")]


def free(out: Path) -> Path:
    """`out`, or with a number added the first that does not exist, so that a demo can be run again."""
    out = out if out.name else out.resolve()  # `.` has no name to add a number to
    candidate, number = out, 2
    while candidate.exists():
        candidate, number = out.with_name(f"{out.name}-{number}"), number + 1
    return candidate


def _evaluate(
    model: "Predictor", sources: list[str], targets: list[list[str]], folder: Path, *, quiet: bool
) -> None:
    from suguk.evaluation import report
    from suguk.explain.curves import by_length

    if not quiet:
        say(f"\ntranslating {len(sources):,} sentences that training has not seen")
    with values.progress(len(sources), "decoding", quiet=quiet) as advance:
        found = report.evaluate(model, sources, targets, on_prediction=advance)
    by_length(found, folder / "by-length.svg")
    streams.write_text(found.text())


def _translate(model: "Predictor", sources: list[str], targets: list[list[str]], folder: Path) -> None:
    pictures = folder / "attention"
    pictures.mkdir()
    streams.write_text("\nTwelve of them, evenly spaced:\n")
    predictions: list[Prediction] = model.predict(sources, attention=True)
    for number, (prediction, references) in enumerate(zip(predictions, targets, strict=True), start=1):
        draw(prediction, pictures / f"{number:04d}.svg")
        rows = [("", prediction.source), ("→", prediction.output), ("=", " | ".join(references))]
        streams.write_text("\n".join(f"{mark:>3} {text}" for mark, text in rows))
