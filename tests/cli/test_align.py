"""`suguk align`."""

import gzip
import json
from pathlib import Path

import pytest

import suguk as package
from suguk.alignment import align
from suguk.cli import align as aligning
from tests.cli.calls import suguk
from tests.cli.conftest import TINY

SOURCES = ["ab dc", "da", "한a b c"]
TARGETS = ["cd ba", "ad", "c b a한"]


@pytest.fixture
def parallel(tmp_path: Path) -> tuple[Path, Path]:
    """Three pairs of words in two files."""
    paths = tmp_path / "t.src", tmp_path / "t.tgt"
    for path, lines in zip(paths, (SOURCES, TARGETS), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


def expected(model: Path) -> list[list[tuple[int, int]]]:
    found = align(package.load(model), SOURCES, TARGETS)
    return [[(link.source, link.target) for link in one.links] for one in found]


def links(line: str, mark: str = "-") -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in (link.split(mark) for link in line.split())]


def test_a_line_per_pair(model: Path, parallel: tuple[Path, Path]) -> None:
    ran = suguk("align", model, *parallel)
    assert ran.status == 0
    assert [links(line) for line in ran.lines] == expected(model)
    assert any(ran.lines)


def test_links_with_their_weights_and_words(model: Path, parallel: tuple[Path, Path]) -> None:
    ran = suguk("align", model, *parallel, "--jsonl", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    rows = [json.loads(line) for line in ran.lines]
    assert [row["line"] for row in rows] == [1, 2, 3]
    assert [[tuple(link) for link in row["alignment"]] for row in rows] == expected(model)
    assert [row["source_words"] for row in rows] == [line.split() for line in SOURCES]
    assert [row["target_words"] for row in rows] == [line.split() for line in TARGETS]
    for row in rows:
        assert len(row["weights"]) == len(row["alignment"])
        assert all(0 < weight <= 1 for weight in row["weights"])


def test_lines_and_figures_do_not_depend_on_what_is_computed_at_once(
    model: Path, tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = tmp_path / "gold"
    gold.write_text("0-0\n0?0\n" + 11 * "\n", encoding="utf-8")
    whole = suguk("align", model, tables[1], "--gold", gold)
    monkeypatch.setattr(aligning, "_AT_ONCE", 5)
    parts = suguk("align", model, tables[1], "--gold", gold)
    assert len(whole.lines) == 13
    assert (whole.out, whole.err) == (parts.out, parts.err)


def test_its_own_links_are_without_error(model: Path, parallel: tuple[Path, Path], tmp_path: Path) -> None:
    gold = tmp_path / "gold.gz"
    gold.write_bytes(gzip.compress(suguk("align", model, *parallel).out.encode()))
    ran = suguk("align", model, *parallel, "--gold", gold)
    assert ran.status == 0
    count = sum(map(len, expected(model)))
    assert f"3 pairs, {count} links, {count} sure ones wanted" in ran.err
    assert ran.err.endswith("precision 1.0000, recall 1.0000, AER 0.0000\n")


def test_gold_alignments_that_count_from_one(
    model: Path, parallel: tuple[Path, Path], tmp_path: Path
) -> None:
    """One link that the model does not have is sure, all that it has are possible."""
    found = expected(model)
    missing = next((i, j) for i in range(2) for j in range(2) if (i, j) not in found[0])
    lines = [" ".join(f"{i + 1}?{j + 1}" for i, j in row) for row in found]
    lines[0] += f" {missing[0] + 1}-{missing[1] + 1}"
    gold = tmp_path / "gold"
    gold.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    ran = suguk("align", model, *parallel, "--gold", gold, "--gold-from", 1, "--quiet")
    assert ran.status == 0
    assert [links(line) for line in ran.lines] == found  # from 0 as ever
    count = sum(map(len, found))
    error = 1 - count / (count + 1)
    assert ran.err == (
        f"3 pairs, {count} links, 1 sure ones wanted: precision 1.0000, recall 0.0000, AER {error:.4f}\n"
    )


def test_gold_alignments_that_do_not_fit_are_refused_whole(
    model: Path, parallel: tuple[Path, Path], tmp_path: Path
) -> None:
    gold = tmp_path / "gold"
    gold.write_text("0-0 0-2\nno\n", encoding="utf-8")
    ran = suguk("align", model, *parallel, "--gold", gold)
    assert (ran.status, ran.out) == (2, "")
    for told in (
        "3 problems",
        "t.src:3: has no line in",
        "gold:1: 0-2: no target word 2",
        "gold:2: expected",
    ):
        assert told in ran.err
    ran = suguk("align", model, *parallel, "--gold", tmp_path / "nowhere")
    assert (ran.status, ran.out) == (2, "")
    assert "nowhere: no such file" in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gold-from", "1"), "found no --gold"),
        (("--gold", "t.src", "--gold-from", "2"), "--gold-from"),
        (("--source", "2"), "two parallel files have no columns"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_options_that_do_not_fit(
    model: Path, parallel: tuple[Path, Path], options: tuple[str, ...], message: str
) -> None:
    ran = suguk("align", model, *parallel, *options)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_bad_rows_are_refused_or_left_out_loudly(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("ab\tba\nonly one\nda\tad\n", encoding="utf-8")
    refused = suguk("align", model, table)
    assert (refused.status, refused.out) == (2, "")
    assert "t.tsv:2: expected 2 columns" in refused.err
    skipped = suguk("align", model, table, "--skip-bad", "--jsonl")
    assert [json.loads(line)["line"] for line in skipped.lines] == [1, 3]
    assert "left out 1 bad rows" in skipped.err


def test_a_model_without_attention_is_told_before_its_data_are_read(
    tables: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = [
        *(setting for setting in TINY if "encoder_hidden" not in setting),
        "train.minutes=1",
        "model.layers=1",
    ]
    out = tmp_path / "plain"
    package.train(
        tables[0], valid=tables[1], out=out, recipe="sutskever2014", overrides=settings, display="silent"
    )
    ran = suguk("align", out, "missing.tsv")
    assert (ran.status, ran.out) == (2, "")
    assert "this model has no attention to show" in ran.err
