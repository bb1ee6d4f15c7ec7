"""Many texts in little memory.

A `str` takes fifty bytes besides its characters, so the texts of some million pairs do not fit where their file does.
Here they lie one after another as UTF-8: in memory while they are few, beyond that in a file without a name, from which
each is read when it is asked for. The system keeps of that file what there is room for.
"""

import itertools
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, overload

import numpy as np

from suguk.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD = 2**25  # bytes that are kept in memory
BLOCK = 2**12  # texts that are read at a time where all of them are


class Texts(Sequence[str]):
    """A list of texts that only grows. Equal to any sequence of the same texts. Threads may read it, one may append."""

    def __init__(self, texts: Iterable[str] = (), *, held: int = HELD) -> None:
        """held: bytes from which on they go into a file, in the folder of temporary files ($TMPDIR)."""
        self._ends = array("q", [0])
        self._tail = bytearray()  # behind what is in the file
        self._file: IO[bytes] | None = None
        self._written, self._held, self._lock = 0, held, Lock()
        self.extend(texts)

    def append(self, text: str) -> None:
        """One more. UnicodeEncodeError for half of a surrogate pair, UserError where the disk is full."""
        content = text.encode()
        with self._lock:
            if len(self._tail) + len(content) > self._held:
                self._spill()
            self._tail += content
            self._ends.append(self._ends[-1] + len(content))

    def extend(self, texts: Iterable[str]) -> None:
        """Several more."""
        for text in texts:
            self.append(text)

    def _spill(self) -> None:
        folder = "the folder of temporary files"
        try:
            folder = _place()
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - closed by the next line
                weakref.finalize(self, self._file.close)
            self._file.seek(self._written)
            rest = memoryview(bytes(self._tail))
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as fault:
            raise UserError(
                f"the texts do not fit into a temporary file: {fault.strerror or fault}",
                where=folder,
                hint="free disk space, or name another folder in TMPDIR",
            ) from None
        self._written += len(self._tail)
        self._tail = bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step != 1:
                return [self[at] for at in range(begin, end, step)]
            return [text for at in range(begin, end, BLOCK) for text in self._block(at, min(at + BLOCK, end))]
        at = range(len(self))[index]
        return self._bytes(self._ends[at], self._ends[at + 1]).decode()

    def sizes(self) -> "NDArray[np.int64]":
        """Bytes of each text in UTF-8, without reading any."""
        ends = np.array(self._ends, np.int64)
        return ends[1:] - ends[:-1]

    def __iter__(self) -> Iterator[str]:
        at = 0
        while at < len(self):
            end = min(at + BLOCK, len(self))
            yield from self._block(at, end)
            at = end

    def _block(self, begin: int, end: int) -> list[str]:
        ends = self._ends[begin : end + 1]
        content = self._bytes(ends[0], ends[-1])
        cuts = [place - ends[0] for place in ends]
        return [content[a:b].decode() for a, b in itertools.pairwise(cuts)]

    def _bytes(self, begin: int, end: int) -> bytes:
        with self._lock:
            written = self._written
            tail = bytes(self._tail[max(begin - written, 0) : max(end - written, 0)])
            return tail if begin >= written else self._read(begin, min(end, written)) + tail

    def _read(self, begin: int, end: int) -> bytes:
        assert self._file is not None
        self._file.seek(begin)
        parts, wanted = [], end - begin
        while wanted:
            part = self._file.read(wanted)
            if not part:
                raise UserError("a temporary file was cut short by another program", where=_place())
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes | bytearray):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type["Texts"], tuple[list[str]]]:
        """Copies have a file of their own."""
        return Texts, (list(self),)

    def __repr__(self) -> str:
        return f"Texts({self[:3]}{' …' if len(self) > 3 else ''}, {len(self):,} in all)"


def _place() -> str:
    """Where the user wants temporary files; if that is not said, not in /tmp, which often is memory."""
    kept = Path("/var/tmp")
    if not any(map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))) and kept.is_dir() and os.access(kept, os.W_OK):
        return str(kept)
    return tempfile.gettempdir()
