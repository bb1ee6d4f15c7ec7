"""`suguk check`: the report, its JSON, and the exit status that a script can rely on."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.calls import suguk


def test_good_data(tables: tuple[Path, Path]) -> None:
    ran = suguk("check", tables[0], "--valid", tables[1])
    assert (ran.status, ran.err) == (0, "")
    assert "83" in ran.out
    assert "char" in ran.out


def test_json(tables: tuple[Path, Path]) -> None:
    ran = suguk("check", tables[0], "--json", "--set", "source.tokenizer=byte")
    assert ran.status == 0
    found = json.loads(ran.out)
    assert found["ok"] is True
    assert [problem for problem in found["problems"] if problem["fatal"]] == []
    assert "byte" in json.dumps(found)


def test_every_bad_line_is_listed_and_the_status_says_so(tmp_path: Path, tables: tuple[Path, Path]) -> None:
    table = tmp_path / "bad.tsv"
    good = tables[0].read_bytes()
    table.write_bytes(good + b"alone\n\tempty\nempty\t\nm\xe9tro\tx\n")
    ran = suguk("check", table)
    assert ran.status == 2
    for line in (85, 86, 87, 88):
        assert f"{table}:{line}: " in ran.out
    found = json.loads(suguk("check", table, "--json").out)
    assert sorted(problem["line"] for problem in found["problems"] if problem["fatal"]) == [85, 86, 87, 88]
    assert found["ok"] is False


def test_leaks_are_warnings(tables: tuple[Path, Path]) -> None:
    ran = suguk("check", tables[0], "--valid", tables[0])
    assert ran.status == 0
    assert "validation source in training" in ran.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"only\none\ncolumn\n", "column"),
        (b"one\tpair\n", ""),
    ],
)
def test_data_that_are_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    table = tmp_path / "t.tsv"
    if content is not None:
        table.write_bytes(content)
    ran = suguk("check", table)
    assert ran.status == 2
    assert message in ran.out + ran.err
    assert "fault in suguk" not in ran.err


def test_different_line_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x\ny\nz\n", encoding="utf-8")
    (tmp_path / "b").write_text("x\ny\n", encoding="utf-8")
    ran = suguk("check", tmp_path / "a", tmp_path / "b")
    assert ran.status == 2
    assert "found 3 in" in ran.err
    assert f"{tmp_path / 'a'}:3" in ran.err


def test_wrong_settings_are_refused_here_too(tables: tuple[Path, Path]) -> None:
    ran = suguk("check", tables[0], "--set", "model.hiden=3")
    assert ran.status == 2
    assert "did you mean model.hidden?" in ran.err


def test_columns_and_corpora_of_settings_are_obeyed(tmp_path: Path) -> None:
    table, more = tmp_path / "t.tsv", tmp_path / "more.tsv"
    table.write_text("id\tes\ten\n" + "".join(f"{k}\tuno {k}\tone {k}\n" for k in range(40)))
    more.write_text("es\ten\nbueno\tgood\n\tempty\n")
    ran = suguk("check", table, "--set", "data.source=es", "--set", "data.target=en", "--also", more)
    assert ran.status == 2
    assert "source is column 'es', target is column 'en'" in ran.out
    assert f"{more}:3: the source is empty" in ran.out


def test_other_corpora_may_leak_or_hold_nothing(tmp_path: Path) -> None:
    table, valid, leaky, empty = (tmp_path / f"{name}.tsv" for name in ("t", "v", "leaky", "empty"))
    table.write_text("".join(f"uno {k}\tone {k}\n" for k in range(40)))
    valid.write_text("dos\ttwo\ntres\tthree\n")
    leaky.write_text("cuatro\tfour\ntres\tdrei\n")
    empty.write_text("\tfive\nsix\t\n")
    ran = suguk(
        "check", table, "--valid", valid, "--also", leaky, "--also", empty, "--set", "data.skip_bad=true"
    )
    assert f"{valid}:2: this source is in the training data too ({leaky}:2)" in ran.out
    assert f"{empty}: no good pair is left" in ran.out
    assert ran.status == 2


def test_other_corpora_without_what_is_split_off(tmp_path: Path) -> None:
    table, more = tmp_path / "t.tsv", tmp_path / "more.tsv"
    table.write_text("".join(f"uno {k}\tone {k}\n" for k in range(40)))
    shutil.copy(table, more)
    ran = suguk("check", table, "--also", more)
    (split,) = re.findall(r"validation: (\d+) pairs split off", ran.out)
    assert f"{more}: {40 - int(split)} pairs" in ran.out
    assert ran.status == 0


def test_validation_data_have_the_columns_of_the_training_table(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    rows = "".join(f"uno {k}\tone {k}\n" for k in range(40))
    table.write_text("es\ten\n" + rows)
    swapped, files = tmp_path / "v.tsv", (tmp_path / "v.es", tmp_path / "v.en")
    swapped.write_text("en\tes\n" + "".join(f"one {k}\tuno {k}\n" for k in range(40, 50)))
    for path, word in zip(files, ("uno", "one"), strict=True):
        path.write_text("".join(f"{word} {k}\n" for k in range(40, 50)))
    for valid in ([swapped], files):
        ran = suguk("check", table, "--source", "es", "--target", "en", "--valid", *valid, "--json")
        found = json.loads(ran.out)["statistics"]
        assert (ran.status, found["validation_pairs"]) == (0, 10), ran.err
    found = json.loads(suguk("check", table, "--valid", swapped, "--json").out)
    assert "source is column 'es', target is column 'en'" in " ".join(found["notes"])


def test_bad_pairs_that_training_would_leave_out(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("".join(f"uno {k}\tone {k}\n" for k in range(40)) + "dos\t\n")
    refused = suguk("check", table)
    assert refused.status == 2
    assert "`suguk train --skip-bad`" in refused.out
    taken = suguk("check", table, "--set", "data.skip_bad=true")
    assert taken.status == 0, taken.out
    assert f"{table}:41: the target is empty" in taken.out
    table.write_text("dos\t\n")
    assert suguk("check", table, "--set", "data.skip_bad=true").status == 2
