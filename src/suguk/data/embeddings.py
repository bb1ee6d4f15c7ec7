"""Vectors of words from a file, for the entries of a vocabulary: word2vec text, GloVe text, fastText `.vec`.

Mikolov et al. 2013, Pennington et al. 2014, Bojanowski et al. 2017. A line is an entry and its numbers, with spaces
between; before them there may be one line with the number of entries and of dimensions. The file may be .gz. It is read
line by line: only the vectors that are wanted are held.
"""

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from suguk.data.lines import GZIP, readable
from suguk.errors import ConfigError, DataError, Problem
from suguk.fields import SPECIALS, TextField
from suguk.fields.text import MARKED, SPACE

LISTED = 1000  # malformed lines that are kept; a file of another kind has nothing else
ONE_VECTOR = "one entry a line: the word, then its numbers, with spaces between"


class Vectors(NamedTuple):
    """values: [N, E], row i is the vector of the vocabulary's entry ids[i]."""

    ids: NDArray[np.int64]
    values: NDArray[np.float32]


def read_vectors(path: str, field: TextField, width: int, setting: str) -> Vectors:
    """The vectors of the field's entries that are in the file; of a word that is there twice the first.

    An entry that begins with ▁ is looked for as it stands, and else without the mark. width: E; setting: its name, for
    messages. DataError for malformed lines, each with its number, and for a file without any of the entries;
    ConfigError for vectors of another width.
    """
    wanted = _wanted(field)
    problems: list[Problem] = []
    found: dict[int, tuple[bool, NDArray[np.float32]]] = {}  # id → whether it stood there with its mark
    for line, word, numbers in _rows(path, width, setting, problems):
        for id_, exact in wanted.get(word, ()):
            if id_ in found and (found[id_][0] or not exact):
                continue
            vector = _vector(numbers)
            if vector is not None:
                found[id_] = exact, vector
            elif len(problems) < LISTED:
                problems.append(Problem(path, line, f"not numbers: {_short(numbers)}", "malformed vector"))
    if problems:
        raise DataError(
            f"{len(problems):,} malformed lines", problems, where=path, hint=f"mend them; {ONE_VECTOR}"
        )
    if not found:
        raise DataError(
            f"none of the {field.size:,} entries of the vocabulary is in it",
            where=path,
            hint=f"vectors of words go with {setting}.tokenizer = word",
        )
    ids = sorted(found)
    return Vectors(np.array(ids, dtype=np.int64), np.stack([found[id_][1] for id_ in ids]))


def _wanted(field: TextField) -> Mapping[str, Sequence[tuple[int, bool]]]:
    """Word of the file → (id, whether the word is the entry as it stands)."""
    wanted: dict[str, list[tuple[int, bool]]] = {}
    for id_ in range(len(SPECIALS), field.size):
        (piece,) = field.pieces([id_])
        wanted.setdefault(piece, []).append((id_, True))
        if field.kind in MARKED and len(piece) > 1 and piece.startswith(SPACE):
            wanted.setdefault(piece[1:], []).append((id_, False))
    return wanted


def _rows(path: str, width: int, setting: str, problems: list[Problem]) -> Iterator[tuple[int, str, bytes]]:
    """Line, word and numbers of every row that has as many numbers as there are dimensions."""
    expected = 0
    for number, line in enumerate(_lines(path), 1):
        cells = line.count(b" ")
        head = number == 1 and cells == 1 and all(cell.isdigit() for cell in line.split(b" "))
        expected = int(line.split(b" ")[1]) if head else expected or cells
        if expected and expected != width:
            raise ConfigError(
                f"vectors of {expected:,} numbers, and model.embedding is {width:,}",
                where=f"{setting}.embeddings = {path}",
                hint=f"--set model.embedding={expected}",
            )
        word, _, numbers = line.partition(b" ")
        if cells > expected > 0:  # a word may hold spaces: those of GloVe's 840B do
            word = line.rsplit(b" ", expected)[0]
            numbers = line[len(word) + 1 :]
        if not head and (not 0 < expected <= cells or _vector(word.partition(b" ")[2]) is not None):
            if len(problems) < LISTED:
                message = f"expected a word and {width:,} numbers, found {cells:,}"
                problems.append(Problem(path, number, message, "malformed vector"))
        elif not head:
            yield number, word.decode(errors="replace"), numbers


def _vector(numbers: bytes) -> NDArray[np.float32] | None:
    """None unless these are finite numbers."""
    try:
        vector = np.array([float(cell) for cell in numbers.split(b" ")], dtype=np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None


def _lines(path: str) -> Iterator[bytes]:
    """Without their ends and the spaces before them. DataError for what is no text, or no file."""
    readable(path)
    try:
        with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as file:
            for number, line in enumerate(cast(BinaryIO, file)):
                line = line if number else line.removeprefix(BOM_UTF8)
                if b"\0" in line or line.startswith(GZIP):
                    hint = "vectors are read as text: save them so, or unpack the file"
                    raise DataError("is binary, expected text", where=path, hint=hint)
                yield line.rstrip(b" \r\n")
    except (OSError, EOFError, zlib.error) as fault:
        raise DataError(f"cannot be read: {fault}", where=path, hint="copy the file again") from None


def _short(numbers: bytes) -> str:
    shown = numbers.decode(errors="replace")
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
