"""`suguk card`: what an exported file says about itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.errors import ModelError

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE.onnx", help="A file that `suguk export` wrote, or a run directory with one."
    ),
]


def card(file: File, json_: values.Json = False) -> None:
    """Print the card of an exported file: data, scores, licence.

    Besides: versions, dates, languages, note, and how the file compares with PyTorch. Nothing of the file is
    run for it, and it is checked against its sha256.

    \b
    Examples:
      suguk card es-en.onnx
      suguk card es-en.onnx --json
    """
    from suguk.predictor import EXPORTED
    from suguk.runtime import container

    if file.is_dir():  # a run directory
        file = file / EXPORTED
    try:
        about = json.loads(container.metadata(container.read(file), file)[container.ABOUT_KEY])
    except (KeyError, ValueError) as fault:
        raise ModelError(f"damaged metadata: {fault}", where=file, hint="export it again") from None
    if json_:
        streams.write_json(about, indent=2)
    else:
        streams.write_text("\n".join(_lines(about)))


def _lines(value: dict[str, Any], above: str = "") -> Iterator[str]:
    """A line for each value: names joined by dots, what is empty left out."""
    for key, one in value.items():
        name = f"{above}{key}"
        if isinstance(one, dict):
            yield from _lines(one, f"{name}.")
        elif isinstance(one, list):
            for number, each in enumerate(one, start=1):
                yield from _lines({str(number): each}, f"{name}.")
        elif one not in (None, ""):
            yield f"{name}: {one}"
