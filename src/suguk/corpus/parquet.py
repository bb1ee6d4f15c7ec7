"""Rows of Parquet files: all looked at before the first is predicted, read by parts, written with the outputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from suguk import files
from suguk.data.lines import readable
from suguk.errors import DataError, Problem
from suguk.predictor import LONGEST_TEXT, Prediction

ADDED = ("output", "score", "n_best")  # columns of a finished part
AT_ONCE = 16_384  # rows that are decoded from a file at once
CONVERT = (
    "write it as Parquet: python -c 'import pyarrow.csv as c, pyarrow.parquet as p; "
    'p.write_table(c.read_csv("{name}"{how}), "{stem}.parquet")\'; lines of text are answered without --output'
)
TABS = ', parse_options=c.ParseOptions(delimiter="\\t", quote_char=False)'  # where the first row names the columns


@dataclass(frozen=True)
class Input:
    """A file, as it was when the job began. modified: UTC."""

    path: str
    size: int
    modified: str
    rows: int


class Part(NamedTuple):
    """`rows` rows of a file, from `first` on; counted from 0."""

    number: int
    file: Input
    first: int
    rows: int
    width: int = 5  # of the number in its name, so that names sort as parts do

    @property
    def name(self) -> str:
        return f"part-{self.number:0{self.width}d}.parquet"

    def place(self, row: int | None = None) -> str:
        """For messages. row: counted from 0 within the part."""
        if row is None:
            last = self.first + self.rows
            return f"{self.name}, rows {self.first + 1:,} to {last:,} of {self.file.path}"
        return f"{self.name}, {self.file.path}:{self.first + row + 1}"


def paths(data: Sequence[str]) -> list[str]:
    """The files, absolute, those of a folder by name. DataError for what is not Parquet: nothing is left out."""
    found: list[Path] = []
    for given in map(Path, data):
        inside = given.is_dir() and not (given / "model.json").exists()
        named = sorted(path for path in given.iterdir() if path.name[0] not in "._") if inside else [given]
        if not named:
            raise DataError("there is no Parquet file in it", where=given, hint="name files, or their folder")
        for path in named:
            readable(str(path))
            if path.suffix.lower() != ".parquet":
                how = "" if path.suffix.lower() == ".csv" else TABS
                hint = CONVERT.format(name=path, stem=path.stem, how=how)
                raise DataError("is not a Parquet file (.parquet)", where=path, hint=hint)
        found += [path.absolute() for path in named]
    if not found:
        raise DataError("expected at least one Parquet file, found none", hint="name files, or their folder")
    return [str(path) for path in found]


def look(names: Sequence[str], wanted: str) -> tuple[list[Input], str]:
    """What is in the files, and the name of the source column. Reads no rows.

    wanted: a column by name or by number from 1; else the first that holds text. DataError where files differ in
    their columns, where there is no such column, or where there are no rows.
    """
    inputs, schemas = [], []
    for name in names:
        with _opened(name) as file:
            inputs.append(_input(name, file))
            schemas.append(file.schema_arrow)
    listed = [", ".join(f"{field.name} ({field.type})" for field in schema) for schema in schemas]
    other = [Problem(name, None, it) for name, it in zip(names, listed, strict=True) if it != listed[0]]
    if other:
        hint = "the files of a job have the same columns; predict the others into another --output"
        raise DataError(f"expected the columns of {names[0]}: {listed[0]}; found others", other, hint=hint)
    if not any(file.rows for file in inputs):
        raise DataError("there are no rows", where=names[0])
    return inputs, _source(schemas[0], wanted, names[0], f"columns: {listed[0]}")


def check(inputs: Sequence[Input], source: str) -> None:
    """Reads every source once. DataError that carries all that cannot be predicted: null, not UTF-8, too long."""
    problems = [problem for file in inputs for problem in _problems(file, source)]
    if problems:
        count = (
            "1 source cannot be predicted"
            if len(problems) == 1
            else f"{len(problems):,} sources cannot be predicted"
        )
        raise DataError(count, problems, hint="mend these rows, or leave them out")


def read(part: Part) -> Any:
    """The rows of a part, a `pyarrow.Table`, from the row groups they are in. DataError if the file has changed."""
    import pyarrow as pa

    with _opened(part.file.path) as file:
        schema, now, end = file.schema_arrow, _input(part.file.path, file), part.first + part.rows
        groups: list[int] = []
        at = begin = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if at < end and at + size > part.first:
                begin = begin if groups else at
                groups.append(group)
            at += size
        found = []
        for batch in _batches(part.file.path, file, groups):
            low, high = max(part.first - begin, 0), min(end - begin, batch.num_rows)
            if low < high:
                found.append(batch.slice(low, high - low))
            begin += batch.num_rows
            if begin >= end:
                break
    if now != part.file:
        hint = "on a cluster every node needs the same file at the same path; else predict anew, into another --output"
        raise DataError("is not the file that the job began with", where=part.place(), hint=hint)
    return pa.Table.from_batches(found).replace_schema_metadata(schema.metadata)


def write(path: Path, table: Any, predictions: Sequence[Prediction], *, ranked: bool) -> None:
    """The rows with `output` and `score`; ranked: and with `n_best`. The file appears whole. UserError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = table.append_column("output", pa.array([one.output for one in predictions], pa.string()))
    table = table.append_column("score", pa.array([one.score for one in predictions], pa.float64()))
    if ranked:
        kind = pa.list_(pa.struct([("output", pa.string()), ("score", pa.float64())]))
        lists = [[{"output": each.output, "score": each.score} for each in one.n_best] for one in predictions]
        table = table.append_column("n_best", pa.array(lists, kind))
    files.write(path, lambda temporary: pq.write_table(table, temporary))


def _opened(name: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    readable(name)
    try:
        return pq.ParquetFile(name)
    except (pa.ArrowException, OSError) as fault:
        raise DataError(f"not a readable Parquet file: {fault}", where=name) from None


def _input(name: str, file: Any) -> Input:
    stat = Path(name).stat()
    modified = datetime.fromtimestamp(stat.st_mtime_ns / 1e9, UTC).isoformat(timespec="microseconds")
    return Input(name, stat.st_size, modified, file.metadata.num_rows)


def _batches(name: str, file: Any, groups: list[int], columns: list[str] | None = None) -> Iterator[Any]:
    import pyarrow as pa

    try:
        yield from file.iter_batches(AT_ONCE, row_groups=groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as fault:
        raise DataError(f"the Parquet file is damaged: {fault}", where=name) from None


def _source(schema: Any, wanted: str, path: str, listed: str) -> str:
    names: list[str] = schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"several columns are named {twice[0]!r}", where=path)
    taken = [name for name in names if name in ADDED]
    if taken:
        hint = f"rename it: a part holds all columns of its input, and {', '.join(ADDED)}"
        raise DataError(f"has a column {taken[0]!r} already", where=path, hint=hint)
    text: list[str] = [field.name for field in schema if _is_text(field.type)]
    if not wanted:
        if not text:
            raise DataError("there is no column of text", where=path, hint=listed)
        return text[0]
    name = wanted
    if wanted not in names and wanted.isdigit() and 1 <= int(wanted) <= len(names):
        name = names[int(wanted) - 1]
    if name not in names:
        near = get_close_matches(wanted, names, n=1)
        hint = f"did you mean {near[0]}?" if near else listed
        raise DataError(f"there is no column {wanted!r}", where=path, hint=hint)
    if name not in text:
        raise DataError(
            f"column {name!r} holds {schema.field(name).type}, expected text", where=path, hint=listed
        )
    return name


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _problems(file: Input, source: str) -> Iterator[Problem]:
    import pyarrow as pa

    with _opened(file.path) as opened:
        row = 0
        for batch in _batches(file.path, opened, list(range(opened.num_row_groups)), [source]):
            column = batch.column(source).cast(pa.large_string())
            if not _fine(column):
                found = (_fault(value) for value in column)
                yield from (
                    Problem(file.path, row + i, fault) for i, fault in enumerate(found, start=1) if fault
                )
            row += batch.num_rows


def _fine(column: Any) -> bool:
    """Whether there is nothing to look for; a hundred times as fast as looking."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    longest = compute.max(compute.utf8_length(column)).as_py()
    return not column.null_count and (longest or 0) <= LONGEST_TEXT


def _fault(value: Any) -> str:
    try:
        text = value.as_py()
    except UnicodeDecodeError as fault:
        return f"not valid UTF-8: byte {fault.start + 1} is 0x{fault.object[fault.start]:02x}"
    if text is None:
        return "null, expected text"
    return (
        f"{len(text):,} characters; at most {LONGEST_TEXT:,} are decoded" if len(text) > LONGEST_TEXT else ""
    )
