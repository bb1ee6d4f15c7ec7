"""`suguk bench`: its table, its JSON and its refusals. Figures themselves: tests/training/test_bench.py."""

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from suguk.cli import bench
from suguk.training.bench import Figures
from tests.cli.calls import suguk

TINY = (
    "model.hidden=8",
    "model.embedding=8",
    "model.encoder_hidden=4",
    "train.batch_tokens=97",
    "train.device=cpu",
    "train.precision=fp32",
)
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def test_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = suguk("bench", "--updates", 3, "--json", *SETTINGS)
    assert (ran.status, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert list(found) == ["warm_up", "recipes"]
    assert [one["recipe"] for one in found["recipes"]] == ["small", "chars"]
    for one in found["recipes"]:
        assert list(one) == ["recipe", "data", *(field.name for field in fields(Figures))]
        assert (one["data"], one["updates"], one["device"]) == ("generated pairs", 3, "cpu")
    small, chars = found["recipes"]
    assert small["parameters"] > 2 * 8000 * 8 > chars["parameters"]  # vocabularies of 8,000 and of 40
    assert os.listdir(tmp_path) == []
    assert multiprocessing.active_children() == []


def test_the_table_and_the_users_pairs(tables: tuple[Path, Path]) -> None:
    ran = suguk("bench", tables[0], "--recipe", "small", "--updates", 3, *SETTINGS)
    assert ran.status == 0
    assert "small: source.tokenizer = char" in ran.err
    head, *lines, gap, about = ran.lines
    assert head.split() == ["small"]
    assert [line[: len(label)] for line, (_, label, _) in zip(lines, bench.LINES, strict=True)] == [
        label for _, label, _ in bench.LINES
    ]
    assert len({len(line) for line in (head, *lines)}) == 1
    assert (gap, about) == ("", f"3 updates after 10 of warm-up, on {tables[0]}")
    assert sorted(tables[0].parent.iterdir()) == sorted(tables)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "smal"], "did you mean small?"),
        (["--updates", "0"], "greater than or equal to 1"),
        (["--set", "model.hiden=3"], "did you mean model.hidden?"),
        (["--set", "model.input_feeding=true"], "found attend = between"),
        (["a", "b", "c"], "found 3 paths"),
        (["--recipe", "chars", "--set", "train.device=abacus"], "auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_is_wrong_is_told_with_the_cure(words: list[str], message: str) -> None:
    ran = suguk("bench", *words)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_bad_data_are_refused_with_place_and_cure(tmp_path: Path) -> None:
    table = tmp_path / "bad.tsv"
    table.write_text("a\tb\nc\t\n", encoding="utf-8")
    ran = suguk("bench", table, "--recipe", "chars")
    assert (ran.status, ran.out) == (2, "")
    assert f"{table}:2: the target is empty" in ran.err
    assert "--skip-bad" in ran.err


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench, "_measure", os._exit
    )  # which refuses its arguments: the process ends with status 1
    ran = suguk("bench", "--recipe", "chars")
    assert (ran.status, ran.out) == (2, "")
    assert "chars: the measuring process ended early, with status 1" in ran.err
    assert "train.batch_tokens" in ran.err


def test_the_starting_process_stays_small() -> None:
    """Else its own peak would be reported as that of the measured one."""
    code = (
        "import sys; from suguk.cli import app\n"
        "try: app(['bench', '--recipe', 'chars', '--set', 'train.device=abacus'], prog_name='suguk')\n"
        "except SystemExit: print([name for name in ('numpy', 'torch') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
    assert "unknown device" in ran.stderr
