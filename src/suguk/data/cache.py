"""What was computed from data, kept on disk for the next run: vocabularies and token ids.

An entry is a folder named by the sha256 of all that it depends on, texts included: it can be out of use, never out of
date. It appears whole or not at all, and is used or not without a word: no training fails for the sake of its cache.

The place is `suguk` under $XDG_CACHE_HOME or ~/.cache; SUGUK_CACHE names another one, or `off`. It may be deleted at
any time.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suguk import files
from suguk.errors import UserError
from suguk.fields import TextField

VERSION = 1  # of what entries hold
BLOCK = 2**13  # texts that are encoded at a time
LIMIT = 2**30  # bytes of all entries but the last few; those unused for longest go first
STALE = 86_400  # seconds after which an unfinished entry is nobody's
KEPT = 4  # entries that stay, however large: what one training uses


def place() -> Path | None:
    """The folder of the cache; None where there is to be none."""
    named = os.environ.get("SUGUK_CACHE", "")
    if named.lower() == "off":
        return None
    if named:
        return Path(named)
    above = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(above) if above else Path.home() / ".cache") / "suguk"
    except RuntimeError:  # no home
        return None


def key(*parts: Any) -> str:
    """sha256 of JSON values, and of the versions of suguk and of the library that makes tokenizers."""
    versions = [VERSION, *(metadata.version(name) for name in ("suguk", "tokenizers"))]
    return hashlib.sha256(json.dumps([versions, *parts]).encode()).hexdigest()


def digest(*columns: Sequence[str]) -> str:
    """sha256 of texts, row by row."""
    found = hashlib.sha256()
    for row in zip(*columns, strict=True):
        found.update(("\x00".join(row) + "\x01").encode())
    return found.hexdigest()


def find(name: str) -> Path | None:
    """The folder of an entry, marked as used now."""
    folder = place()
    if folder is None or not (folder / name).is_dir():
        return None
    try:
        os.utime(folder / name)
    except OSError:
        return None
    return folder / name


def keep(name: str, contents: Mapping[str, bytes | Callable[[Path], object]]) -> None:
    """Write an entry, and make room if there are too many. Nothing happens where that is impossible.

    contents: see `files.write_folder`.
    """
    folder = place()
    if folder is None:
        return
    try:
        files.write_folder(folder / name, contents)
        _prune(folder)
    except (UserError, OSError):  # full, read-only, or another process was faster
        return


def forget(entry: Path) -> None:
    """Remove an entry that turned out to be damaged."""
    shutil.rmtree(entry, ignore_errors=True)


def _prune(folder: Path) -> None:
    for entry in folder.glob(".*"):  # what is being written, or was when its process was killed
        if time.time() - entry.stat().st_mtime > STALE:
            forget(entry)
    entries = sorted(
        (entry for entry in folder.glob("[!.]*") if entry.is_dir()), key=lambda e: e.stat().st_mtime
    )
    sizes = [sum(file.stat().st_size for file in entry.iterdir()) for entry in entries]
    total = sum(sizes)
    for entry, size in zip(entries[:-KEPT], sizes, strict=False):
        if total <= LIMIT:
            return
        forget(entry)
        total -= size


def token_ids(field: TextField, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`field.encode_batch` in one array, and the length of each row. From the cache the array is memory-mapped."""
    name = key("ids", field.to_json(), digest(texts))
    kept = _mapped(name, len(texts))
    if kept is not None:
        return kept
    lengths = np.empty(len(texts), dtype=np.int64)

    nothing = np.empty(0, np.int32)

    def write(path: Path) -> None:
        files.write_rows(path, _encoded(field, texts, lengths), nothing)

    keep(name, {"ids.npy": write, "lengths.npy": lambda path: np.save(path, lengths)})
    kept = _mapped(name, len(texts))
    return kept or (np.concatenate([nothing, *_encoded(field, texts, lengths)]), lengths)


def _mapped(name: str, rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """The entry of that many rows; None if there is none, or a damaged one, which goes."""
    entry = find(name)
    if entry is None:
        return None
    try:
        ids, lengths = (np.load(entry / f"{part}.npy", mmap_mode="r") for part in ("ids", "lengths"))
        if len(lengths) == rows and len(ids) == lengths.sum():
            return ids, lengths
    except (OSError, ValueError, EOFError):
        pass
    forget(entry)
    return None


def _encoded(
    field: TextField, texts: Sequence[str], lengths: NDArray[np.int64]
) -> Iterator[NDArray[np.int32]]:
    """Block by block: what the library makes of a text takes a hundred times the memory of its ids."""
    for begin in range(0, len(texts), BLOCK):
        rows = field.encode_batch(texts[begin : begin + BLOCK])
        lengths[begin : begin + BLOCK] = [len(row) for row in rows]
        yield np.concatenate(rows)
