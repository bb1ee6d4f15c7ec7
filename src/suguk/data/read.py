"""Pairs from files: TSV, CSV, JSONL, Parquet, or two parallel text files; text may be gzipped.

Every row keeps the line it came from. Lines end at \\n or \\r\\n and nowhere else: a form feed or U+2028 inside a
sentence must not shift all later pairs by one.
"""

import csv
import io
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from suguk.data.columns import Columns, header_of, pick
from suguk.errors import DataError, Problem

TEXT_HINT = "give one table (.tsv, .csv, .jsonl, .parquet) or two parallel text files; text may be .gz"


class Row(NamedTuple):
    """Cells of one row, and its line."""

    line: int
    cells: list[str]


@dataclass
class Pairs:
    """Sources and targets in the order of the files. paths: one table, or two parallel files."""

    paths: tuple[str, ...]
    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    problems: list[Problem] = field(default_factory=list)  # rows that are not among the pairs
    notes: list[str] = field(default_factory=list)  # what was decided while reading

    def __len__(self) -> int:
        return len(self.sources)

    def place(self, index: int) -> tuple[str, int]:
        """File (the source's, of two) and line of a pair, for messages."""
        return self.paths[0], self.lines[index]

    def add(self, line: int, source: str, target: str) -> None:
        """One more pair."""
        self.sources.append(source)
        self.targets.append(target)
        self.lines.append(line)

    def keep(self, wanted: Sequence[bool]) -> "Pairs":
        """The pairs where `wanted` is true."""
        chosen = [index for index, keep in enumerate(wanted) if keep]
        return Pairs(
            self.paths,
            [self.sources[i] for i in chosen],
            [self.targets[i] for i in chosen],
            array("q", (self.lines[i] for i in chosen)),
            self.problems,
            self.notes,
        )


def read(
    paths: Sequence[str | Path],
    *,
    source: str = "",
    target: str = "",
    header: bool | None = None,
    skip_bad: bool = False,
) -> Pairs:
    """All pairs of one table or of two parallel text files.

    source, target: columns by name or number from 1; default the first two. header: None recognises one.
    DataError for files that cannot be read at all, for different line counts, and, unless `skip_bad`, for any bad
    row (it carries every one); with `skip_bad` the bad rows are left out and listed in `problems`.
    """
    names = tuple(str(path) for path in paths)
    if len(names) not in (1, 2):
        raise DataError(f"expected one table or two parallel files, found {len(names)} paths", hint=TEXT_HINT)
    for name in names:
        _readable(name)
    pairs = Pairs(names)
    if len(names) == 2:
        _parallel(pairs)
    else:
        _table(pairs, source, target, header)
    if not len(pairs) and not pairs.problems:
        raise DataError(
            "there are no pairs in it", where=names[0], hint="one pair a line: source, tab, target"
        )
    if pairs.problems and not skip_bad:
        raise DataError(
            f"{len(pairs.problems):,} bad rows",
            pairs.problems,
            hint="mend them, or leave them out with --skip-bad",
        )
    return pairs


def references(pairs: Pairs) -> tuple[list[str], list[list[str]]]:
    """Distinct sources in the order of their first row, each with all its targets."""
    grouped: dict[str, list[str]] = {}
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        grouped.setdefault(source, []).append(target)
    return list(grouped), list(grouped.values())


def _readable(name: str) -> None:
    path = Path(name)
    if path.is_dir():
        raise DataError("is a directory, expected a file", where=name, hint=TEXT_HINT)
    if not path.exists():
        near = []
        if path.parent.is_dir():
            near = get_close_matches(path.name, [item.name for item in path.parent.iterdir()], n=1)
        raise DataError(
            "no such file", where=name, hint=f"did you mean {path.parent / near[0]}?" if near else TEXT_HINT
        )
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError("the file is empty", where=name, hint="one pair a line: source, tab, target")
    except OSError as fault:
        raise DataError(f"cannot be read: {fault.strerror}", where=name) from None


def _bytes(name: str) -> bytes:
    """The file's content, unpacked."""
    import pyarrow as pa

    try:
        with pa.input_stream(name, compression="gzip" if name.endswith(".gz") else None) as stream:
            content: bytes = stream.read()
    except OSError as fault:
        raise DataError(
            f"cannot be unpacked: {fault}", where=name, hint="is it really a gzip file?"
        ) from None
    return content.removeprefix(b"\xef\xbb\xbf")


def text_lines(name: str, problems: list[Problem]) -> list[str | None]:
    """Lines of a text file; None, and a problem, where one is not UTF-8."""
    content = _bytes(name)
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return [_decoded(name, number, line, problems) for number, line in enumerate(lines, start=1)]
    strings = text.split("\n")[: len(lines)]
    return [line[:-1] if line.endswith("\r") else line for line in strings]


def _decoded(name: str, number: int, line: bytes, problems: list[Problem]) -> str | None:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as fault:
        found = f"0x{line[fault.start]:02x} at byte {fault.start + 1} of the line"
        problems.append(Problem(name, number, f"not valid UTF-8: {found}", "invalid UTF-8"))
        return None


def _parallel(pairs: Pairs) -> None:
    sides = [text_lines(name, pairs.problems) for name in pairs.paths]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        short, long = sorted((0, 1), key=lambda i: counts[i])
        missing = counts[short] + 1
        problem = Problem(
            pairs.paths[long],
            missing,
            f"has no partner: {pairs.paths[short]} ends at line {counts[short]:,}",
            "different line counts",
        )
        raise DataError(
            f"parallel files need the same number of lines, found {counts[0]:,} in {pairs.paths[0]} and "
            f"{counts[1]:,} in {pairs.paths[1]}",
            [problem],
            hint="a line may be missing far before the end; `paste FILE FILE | less` shows where they part",
        )
    for line, (source, target) in enumerate(zip(*sides, strict=True), start=1):
        if source is not None and target is not None:
            pairs.add(line, source, target)


def _table(pairs: Pairs, source: str, target: str, header: bool | None) -> None:
    name = pairs.paths[0]
    kind = Path(name.removesuffix(".gz")).suffix.lower()
    if kind not in _ROWS:
        raise DataError(
            f"unknown file ending {kind or '(none)'}",
            where=name,
            hint=f"{TEXT_HINT}; a table by tabs is .tsv",
        )
    rows, columns = _ROWS[kind](name, pairs.problems, header)
    if columns.found:
        pairs.notes.append(f"{name}: {columns.found}")
    at = pick(columns, (source, target), name)
    for row in rows:
        if len(row.cells) == columns.width:
            pairs.add(row.line, row.cells[at[0]], row.cells[at[1]])
        else:
            message = f"expected {columns.width} columns, as in the first row, found {len(row.cells)}"
            pairs.problems.append(Problem(name, row.line, message, "wrong column count"))


def _tsv(name: str, problems: list[Problem], header: bool | None) -> tuple[Iterator[Row], Columns]:
    lines = text_lines(name, problems)
    rows = [Row(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line is not None]
    return _with_header(rows, header)


def _csv(name: str, problems: list[Problem], header: bool | None) -> tuple[Iterator[Row], Columns]:
    """Quoted as usual; the line of a row is the one it begins at, also after quoted line breaks."""
    lines = text_lines(name, problems)
    text = "\n".join(line for line in lines if line is not None)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    begin = 1
    try:
        for cells in reader:
            rows.append(Row(begin, cells))
            begin = reader.line_num + 1
    except csv.Error as fault:
        problems.append(Problem(name, begin, f"not valid CSV: {fault}", "invalid CSV"))
    return _with_header(rows, header)


def _with_header(rows: list[Row], header: bool | None) -> tuple[Iterator[Row], Columns]:
    if not rows:
        return iter(()), Columns((), 0)
    names, found = header_of([row.cells for row in rows[:1000]], header)
    return iter(rows[1:] if names else rows), Columns(names, len(rows[0].cells), found)


def _jsonl(name: str, problems: list[Problem], header: bool | None) -> tuple[Iterator[Row], Columns]:
    """One object a line; the first object's keys are the columns. Numbers are taken as their text."""
    del header
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text_lines(name, problems), start=1):
        if line is None:
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as fault:
            problems.append(Problem(name, number, f"not valid JSON: {fault.msg}", "invalid JSON"))
            continue
        if isinstance(value, dict):
            rows.append((number, value))
        else:
            problems.append(Problem(name, number, "expected a JSON object", "invalid JSON"))
    names = tuple(rows[0][1]) if rows else ()
    return _from_objects(name, names, rows, problems), Columns(names, len(names))


def _from_objects(
    name: str, names: tuple[str, ...], rows: Iterable[tuple[int, dict[str, Any]]], problems: list[Problem]
) -> Iterator[Row]:
    for number, value in rows:
        cells = [_text(value.get(key)) for key in names]
        wrong = [key for key, cell in zip(names, cells, strict=True) if cell is None]
        if wrong:
            found = type(value[wrong[0]]).__name__ if wrong[0] in value else "nothing"
            problems.append(Problem(name, number, f"{wrong[0]!r}: expected text, found {found}", "not text"))
        else:
            yield Row(number, [cell for cell in cells if cell is not None])


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _parquet(name: str, problems: list[Problem], header: bool | None) -> tuple[Iterator[Row], Columns]:
    """Lines are row numbers from 1. Null is an empty text; numbers are taken as their text."""
    del header
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(name)
    except (pa.ArrowException, OSError) as fault:
        raise DataError(f"not a readable Parquet file: {fault}", where=name) from None
    names = tuple(table.column_names)
    rows = enumerate(table.to_pylist(), start=1)
    empty = (
        (number, {key: "" if cell is None else cell for key, cell in row.items()}) for number, row in rows
    )
    return _from_objects(name, names, empty, problems), Columns(names, len(names))


_Reader = Callable[[str, list[Problem], bool | None], tuple[Iterator[Row], Columns]]
_ROWS: dict[str, _Reader] = {
    ".tsv": _tsv,
    ".tab": _tsv,
    ".txt": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
