"""`suguk encode`: sources as vectors."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import MissingExtra, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from suguk.answers import TextPredictor

Input = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="Sources, one a line, may be .gz.  [default: standard input]"),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", help="FILE.npy (float32 [N, C]) or FILE.parquet (source, vector)."
    ),
]
Mean = Annotated[
    bool,
    typer.Option(
        "--mean", help="The mean of all encoder states instead of the context, which is the last one."
    ),
]
_AT_ONCE = 2048  # sources


def encode(
    model: values.Model,
    file: Input = None,
    output: Output = Path("vectors.npy"),
    mean: Mean = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
    quiet: values.Quiet = False,
) -> None:
    """Write the context vector of each line of FILE or standard input.

    The context is what the encoder hands to the decoder: near for sources that a model without attention
    would answer alike (Cho 2014, Sutskever 2014). A model with attention reads all states, so --mean says
    more of its sources. Row N belongs to line N, empty lines included.

    \b
    Examples:
      suguk encode runs/es-en news.es --output news.npy
      suguk encode es-en.onnx news.es --output news.parquet --mean
    """
    write = {".npy": _write_npy, ".parquet": _write_parquet}.get(output.suffix)
    if write is None:
        raise UserError(
            f"expected a name that ends in .npy or .parquet, found {output.name!r}", where="--output"
        )
    loaded = values.open_model(model, device, engine, threads)
    from suguk.predictor import LONGEST_TEXT

    with streams.Lines(file, LONGEST_TEXT) as lines:
        count = write(loaded, _Whole(lines), output, mean)
    if not quiet:
        say(f"{count:,} sources; vectors: {output}")


class _Whole:
    """Lines to the last one: a file of vectors is written of all of them or not at all."""

    def __init__(self, lines: streams.Lines) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[str]:
        yield from self.lines
        if self.lines.fault is not None:
            raise self.lines.fault


def _vectors(
    model: "TextPredictor", sources: Iterable[str], mean: bool
) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
    for part in streams.chunks(sources, _AT_ONCE):
        yield part, model.encode(part, mean=mean)


def _write_npy(model: "TextPredictor", sources: Iterable[str], path: Path, mean: bool) -> int:
    import numpy as np

    from suguk import files

    count, like = 0, np.empty((0, model.encode([""], mean=mean).shape[1]), np.float32)

    def fill(temporary: Path) -> None:
        nonlocal count
        count = files.write_rows(temporary, (vectors for _, vectors in _vectors(model, sources, mean)), like)

    files.write(path, fill)
    return count


def _write_parquet(model: "TextPredictor", sources: Iterable[str], path: Path, mean: bool) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow", "train", "writing Parquet") from None
    from suguk import files

    width, count = model.encode([""], mean=mean).shape[1], 0
    schema = pa.schema([("source", pa.string()), ("vector", pa.list_(pa.float32(), width))])

    def fill(temporary: Path) -> None:
        nonlocal count
        with pq.ParquetWriter(temporary, schema) as writer:
            for part, vectors in _vectors(model, sources, mean):
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
                writer.write_table(pa.table([pa.array(part, pa.string()), column], schema=schema))
                count += len(part)

    files.write(path, fill)
    return count
