"""Lines of text files. They end at \\n or \\r\\n and nowhere else.

A form feed, U+0085 or U+2028 inside a sentence must not shift all later pairs by one.
"""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from suguk.data.texts import Texts
from suguk.errors import DataError, Problem
from suguk.incoming import is_text

KINDS = "give one table (.tsv, .csv, .jsonl, .parquet) or two parallel text files; text may be .gz"
ONE_PAIR = "one pair a line: source, tab, target"
GZIP = b"\x1f\x8b"
BLOCK = 2**24  # bytes that are read at a time


class Lines(NamedTuple):
    """texts: every line without its end; bad: indices of those that are not UTF-8, shown with U+FFFD."""

    texts: Texts
    bad: frozenset[int]


def readable(name: str) -> None:
    """DataError unless there is a file that may be read."""
    path = Path(name)
    if (path / "model.json").exists():
        hint = "give a table or two text files; where a verb takes a model as well, it comes first"
        raise DataError("is a run directory, expected data", where=name, hint=hint)
    if path.is_dir():
        raise DataError("is a directory, expected a file", where=name, hint=KINDS)
    if not path.exists():
        raise DataError("no such file", where=name, hint=_near(path))
    if not path.is_file():
        hint = "training reads its data more than once: write them into a file first"
        raise DataError("is a pipe or a device, expected a file", where=name, hint=hint)
    if not os.access(path, os.R_OK):
        raise DataError("cannot be read: permission denied", where=name)
    if not is_text(name):  # settings and records name it
        raise DataError("its name is not UTF-8", where=ascii(name), hint="rename it")


def unpacked(name: str) -> str:
    """The name without .gz."""
    return name[:-3] if name.lower().endswith(".gz") else name


def _near(path: Path) -> str:
    try:
        names = [item.name for item in path.parent.iterdir()]
    except OSError:
        return f"there is no directory {path.parent}"
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else KINDS


def read_lines(name: str, problems: list[Problem]) -> Lines:
    """All lines; a problem, with its byte in the line, for each that is not UTF-8. DataError for an empty file."""
    texts, bad = Texts(), set[int]()
    for content in _blocks(name):
        begin = len(texts)
        try:
            lines = _split(content.decode())
        except UnicodeDecodeError:
            lines = _split(content.decode(errors="replace"))
            bad.update(_undecodable(name, content, begin, problems))
        texts.extend(line.removesuffix("\r") for line in lines)
    return Lines(texts, frozenset(bad))


def _blocks(name: str) -> Iterator[bytes]:
    """The file's bytes, unpacked, without a byte order mark, some whole lines at a time."""
    import pyarrow as pa

    readable(name)
    try:
        with pa.input_stream(name, compression=None if unpacked(name) == name else "gzip") as stream:
            begun = stream.read(BLOCK)
            rest = _begin(name, begun)
            while begun:
                end = rest.rfind(b"\n") + 1
                if end:
                    yield rest[:end]
                begun = stream.read(BLOCK)
                rest = rest[end:] + begun
            if rest:
                yield rest
    except OSError as fault:
        raise DataError(
            f"cannot be unpacked: {fault}", where=name, hint="copy or compress it again"
        ) from None


def _begin(name: str, content: bytes) -> bytes:
    """The first bytes without a byte order mark. DataError for what is not text in UTF-8."""
    if content.startswith(GZIP):
        raise DataError("is compressed, but its name does not end in .gz", where=name, hint="rename it")
    kind = encoding(content)
    if kind:
        hint = f"iconv -f {kind} -t UTF-8 {name} > {Path(name).stem}-utf8{Path(name).suffix}"
        raise DataError(f"is {kind}, expected UTF-8", where=name, hint=hint)
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content:
        raise DataError("the file is empty", where=name, hint=ONE_PAIR)
    return content


def encoding(content: bytes) -> str:
    """UTF-32 or UTF-16 where the first bytes are such a byte order mark, else empty."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    return "UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ""


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _undecodable(name: str, content: bytes, begin: int, problems: list[Problem]) -> Iterator[int]:
    for index, line in enumerate(content.split(b"\n"), begin):
        try:
            line.decode()
        except UnicodeDecodeError as fault:
            found = f"0x{line[fault.start]:02x} at byte {fault.start + 1} of the line"
            problems.append(Problem(name, index + 1, f"not valid UTF-8: {found}", "invalid UTF-8"))
            yield index
