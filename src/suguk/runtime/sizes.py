"""Sizes that an exported file states, compared with what it holds, before ONNX Runtime sets anything aside for it."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from suguk.errors import ModelError
from suguk.runtime.container import BYTES, GRAPH, METADATA, VARINT, CutError, varint, walk

INITIALIZER = 5  # of onnx.GraphProto
MOST, LONGEST = 8, 2**40  # dimensions of a constant, and the length of one
# The key under which onnx.TensorProto.external_data names a file; before it its field and its length, however written.
KEY = b"location"
# Of five bytes the upper bits of the last one do not count.
_FIFTH = rb"\x80{3}[\x00\x10\x20\x30\x40\x50\x60\x70]"
BEFORE = re.compile(
    rb"(?:\n|\x8a(?:\x80*\x00|" + _FIFTH + rb"))(?:\x08|\x88(?:\x80*\x00|" + _FIFTH + rb"))\Z"
)
DIMS, TYPE, NAME, RAW, LOCATION = 1, 2, 8, 9, 14  # of onnx.TensorProto
WIDTHS = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}  # bytes of a value by onnx.TensorProto.DataType
# How the tables end whose rows are the entries of a vocabulary, in either precision.
SOURCE = ("encoder.embedding.weight", "encoder.embedding.weight.packed")
TARGET = ("decoder.embedding.weight", "decoder.embedding.weight.packed", "head.bias")


class Stored(NamedTuple):
    """A constant of the graph. bytes: that it takes in the file; elsewhere: its values are in another file."""

    name: str
    dims: tuple[int, ...]
    type: int
    bytes: int
    elsewhere: bool


def stored(content: bytes) -> Iterator[Stored]:
    """The constants of an ONNX file. CutError if it is none."""
    whole = memoryview(content)
    for number, wire, begin, end in walk(whole):
        if number == GRAPH and wire == BYTES:
            graph = whole[begin:end]
            for inner, form, first, last in walk(graph):
                if inner == INITIALIZER and form == BYTES:
                    yield _tensor(graph[first:last])


def _tensor(content: memoryview) -> Stored:
    dims: list[int] = []
    name, kind, size, elsewhere = "", 0, 0, False
    for number, wire, begin, end in walk(content):
        if number == DIMS and wire == VARINT:
            dims.append(varint(content, begin)[0])
        elif number == DIMS:  # packed
            while begin < end:
                one, begin = varint(content, begin)
                dims.append(one)
        elif number == TYPE:
            kind = varint(content, begin)[0]
        elif number == NAME:
            name = bytes(content[begin:end]).decode()
        elif number == RAW:
            size = end - begin
        elif number == LOCATION:
            elsewhere = varint(content, begin)[0] != 0
    return Stored(name, tuple(dims), kind, size, elsewhere)


def check(content: bytes, source: int, target: int, path: Path) -> None:
    """source, target: entries of the vocabularies. ModelError: a constant is not all there, or not of that size."""
    try:
        if _elsewhere(content):
            raise ModelError(
                "values of the graph are in another file, which no export of suguk's has", where=path
            )
        for one in stored(content):
            fault = _fault(one, source, target)
            if fault:
                raise ModelError(f"{one.name}: {fault}", where=path, hint="export it again")
    except (CutError, UnicodeDecodeError):
        raise ModelError("not an ONNX file, or cut short", where=path, hint="copy it again") from None


def _elsewhere(content: bytes) -> bool:
    """Whether a tensor anywhere, in nodes and inner graphs too, names a file.

    Looked for in the bytes, as nodes and graphs hold each other in many ways.
    """
    for number, _, begin, end in walk(content):
        at = content.find(KEY, begin, end) if number != METADATA else -1
        while at >= 0:
            if BEFORE.search(content, max(begin, at - 20), at):
                return True
            at = content.find(KEY, at + 1, end)
    return False


def _fault(one: Stored, source: int, target: int) -> str:
    if one.elsewhere:
        return "its values are in another file, which no export of suguk's is"
    if len(one.dims) > MOST or max(one.dims, default=0) > LONGEST:
        return f"{len(one.dims)} dimensions of up to {max(one.dims)}, more than any export of suguk's has"
    expected = math.prod(one.dims) * WIDTHS.get(one.type, 0)
    if one.bytes != expected:
        return f"{list(one.dims)} values of type {one.type} take {expected} bytes, found {one.bytes}"
    for ends, size, side in ((SOURCE, source, "source"), (TARGET, target, "target")):
        if one.name.endswith(ends) and one.dims[:1] != (size,):
            return f"{[*one.dims]} values for the {size} entries of the {side}'s vocabulary"
    return ""
