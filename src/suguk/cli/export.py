"""`suguk export`: a run directory as one file that decodes without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from suguk.cli import values
from suguk.cli.faults import say

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory of `suguk train`, or several joined by +.")
]
File = Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The file to write; replaced if it exists.")]
Single = Annotated[
    bool,
    typer.Option("--fp32", help="Keep weights in single precision: up to four times as large, and slower."),
]
Check = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="PATH",
        help="Pairs to compare the file and PyTorch on: a table, or twice, for two parallel files.  "
        "[default: what the run was validated on]",
    ),
]
Languages = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Languages of source and target, for the card: 'es, en'.")
]
License = Annotated[str | None, typer.Option(metavar="TEXT", help="Licence of the model, for the card.")]
Note = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What else users of the file should know, for the card.")
]


def export(
    run: Run,
    file: File,
    fp32: Single = False,
    check: Check = None,
    languages: Languages = None,
    license: License = None,
    note: Note = None,
    quiet: values.Quiet = False,
) -> None:
    """Write a trained model as one ONNX file that decodes by itself.

    Several run directories joined by + become one file with an ensemble of them. It holds encoder, search,
    weights, tokenizers, settings and a card, and runs with onnxruntime, tokenizers and numpy: `suguk predict
    FILE.onnx` needs no PyTorch. Weights have eight bits, and an answer does not depend on what else is in its
    batch. Before it is kept, the file is compared with PyTorch on real sentences; what was found is printed,
    and kept in the file.

    \b
    Examples:
      suguk export runs/es-en es-en.onnx
      suguk export runs/es-en es-en.onnx --languages "es, en" --license CC-BY-4.0
      suguk export runs/es-en+runs/es-en-2 ensemble.onnx
      suguk predict es-en.onnx news.es --beam 5
    """
    from suguk.export.write import export as write

    given = {"languages": languages, "license": license, "note": note}
    card = {key: value for key, value in given.items() if value is not None}
    parity = write(run, file, single=fp32, check=tuple(check or ()), card=card)
    if not quiet:
        say(f"{parity.text()}\n{file}: {file.stat().st_size / 1e6:.1f} MB")
