"""Rows of tables: TSV, CSV, JSONL, Parquet. Every row keeps the line that it begins at."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from suguk.data.columns import LOOK, Columns, recognise
from suguk.data.lines import Lines, read_lines, readable
from suguk.errors import DataError, Problem

Row = tuple[int, str, str]  # line from 1, source, target
Wanted = Sequence[frozenset[str]]  # names: a first row that has all of one of these names the columns


class Table(NamedTuple):
    """rows(i, j): line, cell i and cell j of every good row; the bad ones become problems."""

    columns: Columns
    rows: Callable[[int, int], Iterator[Row]]


Reader = Callable[[str, list[Problem], bool | None, Wanted], Table]


def tsv(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Tabs separate cells and nothing quotes them: a `\"` is a character like any other."""
    lines = read_lines(name, problems)
    filled = (text.split("\t") for text in lines.texts if text.strip())
    _check_header(name, lines, header)
    columns = recognise([row for row, _ in zip(filled, range(LOOK), strict=False)] or [[]], header, wanted)

    def rows(source: int, target: int) -> Iterator[Row]:
        named = bool(columns.names)
        for index, text in enumerate(lines.texts):
            cells = text.split("\t")
            if index in lines.bad:
                named = False  # if it is the first row, what names the columns is gone
                continue
            if len(cells) != columns.width:
                problems.append(
                    _uneven(name, index + 1, columns.width, 0 if not text.strip() else len(cells))
                )
            elif named and text.strip():  # a blank row before it is a bad pair
                named = False
            else:
                yield index + 1, cells[source], cells[target]

    return Table(columns, rows)


def _check_header(name: str, lines: Lines, header: bool | None) -> None:
    """DataError where the row that is said to name the columns cannot be read."""
    first = next((index for index, text in enumerate(lines.texts) if text.strip()), 0)
    if header and first in lines.bad:
        raise DataError(
            "the header row is not UTF-8", where=f"{name}:{first + 1}", hint="convert the file first"
        )


def comma_separated(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Quoted as usual; a quoted cell may hold commas and line breaks."""
    lines = read_lines(name, problems)
    _check_header(name, lines, header)
    met: list[Problem] = []
    filled = (cells for _, cells in _csv_rows(name, lines.texts, lines.bad, met) if cells)
    first = [row for row, _ in zip(filled, range(LOOK), strict=False)]
    if not first:  # no row will be asked for
        problems.extend(met)
    columns = recognise(first or [[]], header, wanted)

    def rows(source: int, target: int) -> Iterator[Row]:
        named = bool(columns.names)
        for line, cells in _csv_rows(name, lines.texts, lines.bad, problems):
            if len(cells) != columns.width:
                problems.append(_uneven(name, line, columns.width, len(cells)))
            elif named:
                named = False
            else:
                yield line, cells[source], cells[target]

    return Table(columns, rows)


def _csv_rows(
    name: str, texts: Sequence[str], bad: frozenset[int], problems: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    at = 0
    while at < len(texts):
        begin = 0
        reader = csv.reader((_one_line(texts[index]) for index in range(at, len(texts))), strict=True)
        try:
            for cells in reader:
                if bad.isdisjoint(range(at + begin, at + reader.line_num)):
                    yield at + begin + 1, [cell.replace(_RETURN, "\r") for cell in cells]
                begin = reader.line_num
            return
        except csv.Error as fault:
            problems.append(Problem(name, at + begin + 1, _csv_fault(fault), "invalid CSV"))
            at += begin + 1  # a quote too many must not take along all that follows


_RETURN = (
    "\udc0d"  # for csv any \r ends a line, for us it does not; no decoded text holds this half of a pair
)


def _one_line(text: str) -> str:
    return text.replace("\r", _RETURN) + "\n"


def _csv_fault(fault: csv.Error) -> str:
    if "field larger" in str(fault):
        return f"a cell of more than {csv.field_size_limit():,} characters, or a quoted one that does not end"
    return "a quoted cell does not end" if "end of data" in str(fault) else f"not valid CSV: {fault}"


def _uneven(name: str, line: int, expected: int, found: int) -> Problem:
    if not found:
        return Problem(name, line, f"empty line, expected {expected} columns", "empty line")
    return Problem(
        name, line, f"expected {expected} columns, as in the first row, found {found}", "wrong column count"
    )


def json_lines(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """One object a line; the keys of the first one are the columns. Numbers count as their text, null as empty."""
    del header, wanted
    lines = read_lines(name, problems)
    names = next((tuple(value) for _, value in _objects(name, lines.texts, lines.bad, [])), ())
    for key in names:
        if _text(key) is None:
            raise DataError(f"half a surrogate pair in the key {key!a} is no character", where=name)
    if len(names) == 1:
        raise DataError(
            f"expected at least two keys in each object, found one in the first: {names[0]!r}", where=name
        )
    if not names:  # no row will be asked for
        deque(_objects(name, lines.texts, lines.bad, problems), maxlen=0)

    def rows(source: int, target: int) -> Iterator[Row]:
        for line, value in _objects(name, lines.texts, lines.bad, problems):
            yield from _pair(
                name, line, [(key, value.get(key, _MISSING)) for key in (names[source], names[target])]
            )

    def _pair(name: str, line: int, cells: list[tuple[str, Any]]) -> Iterator[Row]:
        texts = [_text(cell) for _, cell in cells]
        for (key, cell), text in zip(cells, texts, strict=True):
            if text is None:
                message = (
                    f"there is no {key!r}"
                    if cell is _MISSING
                    else f"{key!r}: expected text, found {_short(cell)}"
                )
                problems.append(Problem(name, line, message, "not text"))
        if texts[0] is not None and texts[1] is not None:
            yield line, texts[0], texts[1]

    return Table(Columns(names, len(names), "columns: " + " | ".join(names)), rows)


_MISSING = object()


def _objects(
    name: str, texts: Sequence[str], bad: frozenset[int], problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, text in enumerate(texts):
        if index in bad:
            continue
        try:
            value = json.loads(
                text, parse_float=str, parse_int=str, parse_constant=_no_number, object_pairs_hook=_once
            )
        except (ValueError, RecursionError) as fault:
            reason = fault.msg if isinstance(fault, json.JSONDecodeError) else str(fault) or "too deep"
            reason = "too deep" if isinstance(fault, RecursionError) else reason
            problems.append(Problem(name, index + 1, f"not valid JSON: {reason}", "invalid JSON"))
            continue
        if isinstance(value, dict):
            yield index + 1, value
        else:
            problems.append(
                Problem(name, index + 1, f"expected an object, found {_short(value)}", "invalid JSON")
            )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!a} comes twice in an object")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def _text(value: object) -> str | None:
    """Numbers come as they are written."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            return None
        return value
    return "" if value is None else None


def _short(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"


def parquet(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Lines are row numbers from 1. Numbers count as their text, null and NaN as empty."""
    del header, wanted
    import pyarrow as pa
    import pyarrow.parquet as pq

    readable(name)
    try:
        file = pq.ParquetFile(name)
    except (pa.ArrowException, OSError) as fault:
        raise DataError(f"not a readable Parquet file: {fault}", where=name) from None
    schema = file.schema_arrow
    names = tuple(schema.names)

    def rows(source: int, target: int) -> Iterator[Row]:
        wanted = [names[source], names[target]]
        for key in wanted:
            _check_type(name, key, schema, pa)
        line = 1
        try:
            for batch in file.iter_batches(columns=[*dict.fromkeys(wanted)]):
                sides = [_cells(batch.column(key), name, line, problems) for key in wanted]
                for number, one, other in zip(count(line), *sides):
                    if one is not None and other is not None:
                        yield number, one, other
                line += batch.num_rows
        except (pa.ArrowException, OSError) as fault:
            raise DataError(f"the Parquet file is damaged: {fault}", where=name) from None

    return Table(Columns(names, len(names), "columns: " + " | ".join(names)), rows)


def _cells(column: Any, name: str, first: int, problems: list[Problem]) -> Iterable[str | None]:
    """The texts of a column; None, and a problem, for each that is not UTF-8. first: number of its first row."""
    try:
        return map(_cell, column.to_pylist())
    except UnicodeDecodeError:
        return [_decoded(value, name, number, problems) for number, value in enumerate(column, first)]


def _decoded(value: Any, name: str, number: int, problems: list[Problem]) -> str | None:
    try:
        return _cell(value.as_py())
    except UnicodeDecodeError as fault:
        found = f"0x{fault.object[fault.start]:02x} at byte {fault.start + 1} of the cell"
        problems.append(Problem(name, number, f"not valid UTF-8: {found}", "invalid UTF-8"))
        return None


def _cell(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _check_type(name: str, key: str, schema: Any, pa: Any) -> None:
    if len(schema.get_all_field_indices(key)) > 1:
        raise DataError(f"several columns are named {key!r}", where=name)
    kind = schema.field(key).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(
        test(kind) for test in (*tests, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    ):
        hint = f"columns: {', '.join(f'{field.name} ({field.type})' for field in schema)}"
        raise DataError(f"column {key!r} holds {kind}, expected text", where=name, hint=hint)


READERS: dict[str, Reader] = {
    ".tsv": tsv,
    ".tab": tsv,
    ".txt": tsv,
    ".csv": comma_separated,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".parquet": parquet,
}
