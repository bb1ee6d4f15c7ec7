"""Which rows a job has, and which tables are refused before anything is predicted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from suguk.corpus import parquet
from suguk.corpus.parts import Job
from suguk.errors import DataError, UserError
from suguk.predictor import LONGEST_TEXT
from tests.corpus.tables import OPTIONS, sources, write_table


def plan(*data: Path, rows: int = 5, source: str = "") -> Job:
    return Job.plan("", [str(path) for path in data], OPTIONS, source, rows)


def column(job: Job) -> str:
    return job.source


@pytest.mark.parametrize("group", [1, 3, 7, 23, 50])
@pytest.mark.parametrize("rows", [1, 5, 23, 29])
def test_the_parts_of_a_file_are_its_rows(tmp_path: Path, group: int, rows: int) -> None:
    path = write_table(tmp_path / "rows.parquet", 23, group)
    parts = plan(path, rows=rows).parts()
    assert {part.rows for part in parts[:-1]} <= {rows}
    assert pa.concat_tables([parquet.read(part) for part in parts]).equals(pq.read_table(path))


def test_a_part_reads_only_its_row_groups(tmp_path: Path) -> None:
    """All others are overwritten with noise, and nobody minds."""
    path = write_table(tmp_path / "rows.parquet", 23)
    part, whole = plan(path).parts()[2], pq.read_table(path)  # rows 10 to 14, of groups 7 to 13 and 14 to 20
    groups = [pq.ParquetFile(path).metadata.row_group(number) for number in range(4)]
    begins = [min(group.column(i).dictionary_page_offset for i in range(3)) for group in groups]
    content = bytearray(path.read_bytes())
    content[begins[0] : begins[1]] = b"\xff" * (begins[1] - begins[0])
    content[begins[3] : begins[3] + 20] = b"\xff" * 20
    path.write_bytes(content)
    part = part._replace(file=plan(path).inputs[0])
    assert parquet.read(part).equals(whole.slice(10, 5))
    with pytest.raises(DataError, match="damaged"):
        parquet.read(plan(path).parts()[0])


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    for name, count in (("b.parquet", 3), ("a.parquet", 11), ("_SUCCESS", 1), (".hidden", 1)):
        write_table(tmp_path / name, count)
    parts = plan(tmp_path).parts()
    assert [(Path(part.file.path).name, part.first, part.rows) for part in parts] == [
        ("a.parquet", 0, 5),
        ("a.parquet", 5, 5),
        ("a.parquet", 10, 1),
        ("b.parquet", 0, 3),
    ]
    assert [part.name for part in parts][::3] == ["part-00000.parquet", "part-00003.parquet"]


def test_a_file_that_changes_is_noticed(data: Path) -> None:
    part = plan(data).parts()[1]
    write_table(data, 29)
    with pytest.raises(DataError, match=r"part-00001.*rows 6 to 10.*is not the file that the job began with"):
        parquet.read(part)


def test_the_source_column(data: Path, tmp_path: Path) -> None:
    assert [column(plan(data)), column(plan(data, source="text")), column(plan(data, source="2"))] == [
        "text"
    ] * 3
    for wanted, message in [
        ("txt", r"there is no column 'txt'\n.*did you mean text"),
        ("4", r"there is no column '4'\n.*columns: id \(int64\), text \(string\)"),
        ("id", "column 'id' holds int64, expected text"),
    ]:
        with pytest.raises(DataError, match=message):
            plan(data, source=wanted)
    pq.write_table(pa.table({"n": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match="there is no column of text"):
        plan(tmp_path / "numbers.parquet")


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_kinds_of_text(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array(["a", "b", "a"]).cast(kind)}), path)
    job = plan(path)
    parquet.check(job.inputs, job.source)
    assert parquet.read(job.parts()[0])["x"].to_pylist() == ["a", "b", "a"]


def test_every_source_that_cannot_be_predicted_is_listed(tmp_path: Path) -> None:
    texts = ["a", None, "b" * LONGEST_TEXT, "b" * (LONGEST_TEXT + 1), b"caf\xe9 x", *sources(50), None]
    made = [text.encode() if isinstance(text, str) else text for text in texts]
    cells = pa.Array.from_buffers(pa.string(), len(made), pa.array(made, pa.binary()).buffers())
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": cells}), path, row_group_size=3)
    with pytest.raises(DataError, match="4 sources cannot be predicted") as refused:
        parquet.check(plan(path).inputs, "x")
    assert [(problem.path, problem.line, problem.message) for problem in refused.value.problems] == [
        (str(path), 2, "null, expected text"),
        (str(path), 4, "20,001 characters; at most 20,000 are decoded"),
        (str(path), 5, "not valid UTF-8: byte 4 is 0xe9"),
        (str(path), 56, "null, expected text"),
    ]


def _folder_of_folders(path: Path) -> Path:
    (path / "in" / "year=2026").mkdir(parents=True)
    return path / "in"


def _other_columns(path: Path) -> Path:
    (path / "in").mkdir()
    write_table(path / "in" / "a.parquet", 3)
    pq.write_table(pa.table({"text": ["a"]}), path / "in" / "b.parquet")
    return path / "in"


def _written(name: str, **columns: list[Any]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        pq.write_table(pa.table(columns), path / name)
        return path / name

    return write


def _named(name: str, content: str = "") -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        (path / name).write_text(content, encoding="utf-8")
        return path / name

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "no.parquet", "no such file"),
        (lambda path: path, "there is no Parquet file in it"),
        (_folder_of_folders, "is a directory, expected a file"),
        (_other_columns, r"the columns of .*a.parquet: id \(int64\), text.*\n  .*b.parquet: text \(string\)"),
        (_named("rows.tsv"), r"is not a Parquet file.*\n.*write it as Parquet"),
        (_named("rows.parquet", "id\ttext"), "not a readable Parquet file"),
        (_written("rows.parquet", text=pa.array([], pa.string())), "there are no rows"),
        (_written("rows.parquet", text=["a"], score=[1]), r"has a column 'score' already\n.*rename it"),
    ],
)
def test_what_is_no_table_of_sources(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan(make(tmp_path))


def test_no_data_and_no_rows_a_part(data: Path) -> None:
    with pytest.raises(DataError, match="expected at least one Parquet file"):
        plan()
    with pytest.raises(UserError, match="expected at least one row a part, found 0"):
        plan(data, rows=0)
