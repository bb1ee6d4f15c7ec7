"""What an exported file says about itself, read without running anything of it: `.onnx` is a protocol buffer.

Of the whole message only the top level is walked: metadata are read, all else is hashed. Format and version are known
before ONNX Runtime sees a byte of the graph.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from suguk.errors import ModelError

FORMAT, VERSION = "suguk-onnx", 2
GRAPH, METADATA = 7, 14  # fields of onnx.ModelProto
KEY, VALUE = 1, 2  # fields of onnx.StringStringEntryProto
FORMAT_KEY, VERSION_KEY, DIGEST_KEY = "suguk.format", "suguk.version", "suguk.sha256"
CONFIG_KEY, SOURCE_KEY, TARGET_KEY, ABOUT_KEY = "suguk.config", "suguk.source", "suguk.target", "suguk.about"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class CutError(Exception):
    """Not a protocol buffer, or not a whole one."""


def read(path: Path) -> bytes:
    """ModelError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError("no such file", where=path, hint="`suguk export RUN FILE.onnx` makes one") from None
    except OSError as fault:
        raise ModelError(f"cannot be read: {fault.strerror}", where=path) from None


def metadata(content: bytes, path: Path) -> dict[str, str]:
    """What stands in the file. ModelError: not exported by suguk, newer, damaged or changed."""
    if not content:
        raise ModelError("the file is empty", where=path, hint="copy it again, or export it again")
    try:
        found = dict(_metadata(content))
    except (CutError, UnicodeDecodeError):
        raise ModelError("not an ONNX file, or cut short", where=path, hint="copy it again") from None
    if found.get(FORMAT_KEY) != FORMAT:
        raise ModelError(
            "an ONNX file, but not one that suguk exported",
            where=path,
            hint="make one with `suguk export RUN FILE.onnx`",
        )
    version = found.get(VERSION_KEY, "")
    if not version.isdecimal() or len(version) > 9 or int(version) > VERSION:
        raise ModelError(
            f"format version {version!r}, this suguk reads {VERSION}", where=path, hint="update suguk"
        )
    if int(version) < VERSION:
        raise ModelError(
            f"format version {version}, this suguk reads {VERSION}",
            where=path,
            hint="export it again: `suguk export RUN FILE.onnx`",
        )
    if found.get(DIGEST_KEY) != digest(content):
        raise ModelError(
            "damaged or changed after the export: its sha256 is not what it should be",
            where=path,
            hint="copy it again, or export it again",
        )
    return found


def digest(content: bytes) -> str:
    """sha256 of every field of the message but the entry that holds it."""
    found = hashlib.sha256()
    for number, wire, begin, end in walk(content):
        if number != METADATA or wire != BYTES or _entry(content[begin:end])[0] != DIGEST_KEY:
            found.update(f"{number}:{end - begin}:".encode())
            found.update(memoryview(content)[begin:end])
    return found.hexdigest()


def _metadata(content: bytes) -> Iterator[tuple[str, str]]:
    for number, wire, begin, end in walk(content):
        if number == METADATA and wire == BYTES:
            yield _entry(content[begin:end])


def _entry(content: bytes) -> tuple[str, str]:
    parts = {
        number: content[begin:end].decode() for number, wire, begin, end in walk(content) if wire == BYTES
    }
    return parts.get(KEY, ""), parts.get(VALUE, "")


def walk(content: bytes | memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field of a message."""
    at = 0
    while at < len(content):
        tag, at = varint(content, at)
        if (
            tag >= 2**32
        ):  # of which ONNX Runtime's parser would keep 32 bits, and find another field than we do
            raise CutError
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == VARINT:
            _, at = varint(content, at)
        elif wire == BYTES:
            size, begin = varint(content, at)
            at = begin + size
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise CutError
        if at > len(content) or not number:
            raise CutError
        yield number, wire, begin, at


def varint(content: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            raise CutError
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise CutError
