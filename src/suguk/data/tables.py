"""Rows of tables: TSV, CSV, JSONL, Parquet. Every row keeps the line that it begins at."""

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from suguk.data.columns import LOOK, Columns, recognise
from suguk.data.lines import read_lines, readable
from suguk.errors import DataError, Problem

Row = tuple[int, str, str]  # line from 1, source, target
Wanted = tuple[str, str]


class Table(NamedTuple):
    """rows(i, j): line, cell i and cell j of every good row; the bad ones become problems."""

    columns: Columns
    rows: Callable[[int, int], Iterator[Row]]


Reader = Callable[[str, list[Problem], bool | None, Wanted], Table]


def tsv(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Tabs separate cells and nothing quotes them: a `\"` is a character like any other."""
    lines = read_lines(name, problems)
    filled = (text.split("\t") for text in lines.texts if text.strip())
    columns = recognise([row for row, _ in zip(filled, range(LOOK), strict=False)] or [[]], header, wanted)

    def rows(source: int, target: int) -> Iterator[Row]:
        named = bool(columns.names)
        for index, text in enumerate(lines.texts):
            cells = text.split("\t")
            if index in lines.bad:
                continue
            if len(cells) != columns.width:
                problems.append(
                    _uneven(name, index + 1, columns.width, 0 if not text.strip() else len(cells))
                )
            elif named:
                named = False
            else:
                yield index + 1, cells[source], cells[target]

    return Table(columns, rows)


def comma_separated(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Quoted as usual; a quoted cell may hold commas and line breaks."""
    lines = read_lines(name, problems)
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
    endless = "end of data" in str(fault) or "field larger" in str(fault)
    return "a quoted cell does not end" if endless else f"not valid CSV: {fault}"


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
            value = json.loads(text)
        except (ValueError, RecursionError) as fault:
            reason = (
                fault.msg if isinstance(fault, json.JSONDecodeError) else "too deep, or too large a number"
            )
            problems.append(Problem(name, index + 1, f"not valid JSON: {reason}", "invalid JSON"))
            continue
        if isinstance(value, dict):
            yield index + 1, value
        else:
            problems.append(
                Problem(name, index + 1, f"expected an object, found {_short(value)}", "invalid JSON")
            )


def _text(value: object) -> str | None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            return None
        return value
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _short(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"


def parquet(name: str, problems: list[Problem], header: bool | None, wanted: Wanted) -> Table:
    """Lines are row numbers from 1. Numbers count as their text, null as empty."""
    del problems, header, wanted
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
                sides = [map(_cell, batch.column(key).to_pylist()) for key in wanted]
                yield from zip(range(line, line + batch.num_rows), *sides, strict=True)
                line += batch.num_rows
        except (pa.ArrowException, OSError) as fault:
            raise DataError(f"the Parquet file is damaged: {fault}", where=name) from None

    return Table(Columns(names, len(names), "columns: " + " | ".join(names)), rows)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


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
