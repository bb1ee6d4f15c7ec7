"""`suguk predict` with several processes: lines and tables."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.calls import suguk


def test_lines_by_processes(model: Path) -> None:
    given = "abcd\n\nba\n" * 7
    plain, spread = (suguk("predict", model, *more, given=given) for more in ((), ("--workers", 2)))
    assert (spread.status, spread.lines) == (0, plain.lines)


def test_a_table_by_parts(model: Path, tmp_path: Path) -> None:
    texts = ["abcd", "", "ba"]
    pq.write_table(pa.table({"id": [1, 2, 3], "text": texts}), tmp_path / "in.parquet")
    call = ("predict", model, tmp_path / "in.parquet", "--output", tmp_path / "out", "--workers", 1)
    ran = suguk(*call)
    assert ran.status == 0
    assert "3 rows in 1 parts, 0 parts were there" in ran.err
    found = pq.read_table(tmp_path / "out").to_pydict()
    assert found["id"] == [1, 2, 3]
    assert found["output"] == suguk("predict", model, given="\n".join(texts) + "\n").lines
    assert "0 rows in 0 parts, 1 parts were there" in suguk(*call).err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ray", "auto"], "--ray needs a place for its parts"),
        (
            ["--workers", 2, "--ban", "a"],
            "--workers does not know --prefix, --require, --ban and --constraints",
        ),
        (
            ["--workers", 2, "--engine", "torch"],
            "--workers does not know --device, --engine and --threads",
        ),
        (["--output", "out", "--ban", "a"], "--output does not know --prefix, --require, --ban"),
        (["--output", "out"], "--output needs a Parquet file"),
        (["--workers", 0], "expected at least one worker, found 0"),
    ],
)
def test_what_does_not_go_together(model: Path, words: list[object], message: str) -> None:
    ran = suguk("predict", model, *words, given="a\n")
    assert ran.status == 2
    assert message in ran.err
