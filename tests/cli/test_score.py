"""`suguk score` and `suguk evaluate`."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from suguk import evaluate, load
from suguk.cli import score as scoring
from tests.cli.calls import suguk

Tables = tuple[Path, Path]


@pytest.fixture
def parallel(tmp_path: Path) -> tuple[Path, Path]:
    """Three pairs in two files; the first two have the same source."""
    source, target = tmp_path / "t.src", tmp_path / "t.tgt"
    source.write_text("abc\nabc\nda\n", encoding="utf-8")
    target.write_text("cba\nbca\nad\n", encoding="utf-8")
    return source, target


def test_a_line_per_pair_and_the_whole_on_standard_error(model: Path, parallel: Tables) -> None:
    ran = suguk("score", model, *parallel)
    assert ran.status == 0
    scores = load(model).score(["abc", "abc", "da"], ["cba", "bca", "ad"])
    rows = [tuple(map(float, line.split("\t"))) for line in ran.lines]
    for (log_prob, perplexity), score in zip(rows, scores, strict=True):
        assert math.isclose(log_prob, score.log_prob, abs_tol=1e-3)
        assert math.isclose(perplexity, math.exp(-score.log_prob / len(score.tokens)), rel_tol=1e-3)
    tokens = sum(len(score.tokens) for score in scores)
    whole = math.exp(-sum(score.log_prob for score in scores) / tokens)
    assert f"3 pairs, {tokens} tokens" in ran.err
    assert float(ran.err.split()[-1]) == pytest.approx(whole, rel=1e-3)


def test_scores_with_tokens(model: Path, parallel: Tables) -> None:
    ran = suguk("score", model, *parallel, "--jsonl", "--quiet")
    assert ran.err == ""
    first = json.loads(ran.lines[0])
    assert first["line"] == 1
    assert len(first["tokens"]) == len(first["token_scores"]) == 4
    assert math.isclose(sum(first["token_scores"]), first["log_prob"], abs_tol=1e-4)


def test_lines_do_not_depend_on_what_is_computed_at_once(
    model: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = suguk("score", model, tables[1])
    monkeypatch.setattr(scoring, "_AT_ONCE", 5)
    parts = suguk("score", model, tables[1])
    assert len(whole.lines) == 13
    for one, other in zip(whole.lines, parts.lines, strict=True):
        assert [float(value) for value in one.split("\t")] == pytest.approx(
            [float(value) for value in other.split("\t")], abs=1e-3
        )


def test_columns_by_name(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("n,back,word\n1,cba,abc\n2,ad,da\n", encoding="utf-8")
    by_name = suguk("score", model, table, "--source", "word", "--target", "back", "--header")
    by_number = suguk("score", model, table, "--source", "3", "--target", "2", "--header")
    assert by_name.status == 0
    assert by_name.out == by_number.out
    assert len(by_name.lines) == 2


def test_bad_rows_are_refused_or_left_out_loudly(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text("abc\tcba\nonly one\nda\tad\n", encoding="utf-8")
    refused = suguk("score", model, table)
    assert (refused.status, refused.out) == (2, "")
    assert "t.tsv:2: expected 2 columns" in refused.err
    skipped = suguk("score", model, table, "--skip-bad", "--jsonl")
    assert [json.loads(line)["line"] for line in skipped.lines] == [1, 3]
    assert "left out 1 bad rows" in skipped.err


@pytest.mark.parametrize("verb", ["score", "evaluate"])
def test_data_that_cannot_be_read(verb: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "b").write_text("a\n", encoding="utf-8")
    (tmp_path / "empty.tsv").touch()
    for paths in (["missing.tsv"], ["."], ["empty.tsv"], ["a", "b"], ["a", "b", "a"]):
        ran = suguk(verb, model, *(tmp_path / path for path in paths))
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("error: ")


def test_a_model_that_is_none(tables: Tables, tmp_path: Path) -> None:
    for verb, words in (("predict", ()), ("score", tables[1:]), ("evaluate", tables[1:])):
        ran = suguk(verb, tmp_path, *words)
        assert ran.status == 2
        assert "not a run directory" in ran.err


def test_evaluate_prints_scores_with_signatures(model: Path, parallel: Tables) -> None:
    ran = suguk("evaluate", model, *parallel)
    assert ran.status == 0
    assert "chrF2|nrefs:var" in ran.out
    assert "2 sources, 3 references" in ran.out


def test_evaluate_compares_as_the_model_reads(model: Path, parallel: Tables, tmp_path: Path) -> None:
    """Without case where it was trained without; --no-lowercase with it."""
    lowered = tmp_path / "lowered"
    shutil.copytree(model, lowered)
    text = (lowered / "config.toml").read_text(encoding="utf-8")
    assert "lowercase = false" in text
    (lowered / "config.toml").write_text(
        text.replace("lowercase = false", "lowercase = true"), encoding="utf-8"
    )
    for run, more, case in (
        (model, [], "mixed"),
        (lowered, [], "lc"),
        (lowered, ["--no-lowercase"], "mixed"),
    ):
        ran = suguk("evaluate", run, *parallel, "--engine", "torch", *more)
        assert ran.status == 0, ran.err
        assert f"|case:{case}|" in ran.out
    assert "|case:lc|" in evaluate(lowered, parallel).scores["cer"].signature
    assert "|case:mixed|" in evaluate(lowered, parallel, lowercase=False).scores["cer"].signature


def test_evaluate_as_json_with_chosen_metrics_and_a_picture(
    model: Path, parallel: Tables, tmp_path: Path
) -> None:
    picture = tmp_path / "by-length.svg"
    options = ("--metrics", "exact, CER", "--lowercase", "--beam", 2, "--max-length", 3, "--picture", picture)
    ran = suguk("evaluate", model, *parallel, "--json", *options)
    assert ran.status == 0
    found = json.loads(ran.out)
    assert list(found["scores"]) == ["exact", "cer"]
    assert "case:lc" in found["scores"]["cer"]["signature"]
    assert (found["sources"], found["references"]) == (2, 3)
    assert found["seconds"] > 0
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert str(picture) in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics", "blue"), "did you mean bleu?"),
        (("--tokenize", "14a"), "did you mean 13a?"),
        (("--beam", "0"), "predict.beam"),
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--picture", "/nowhere/at/all.svg"), "/nowhere/at"),
        (("--picture", "all.png"), "all.png: expected a name that ends in .svg"),
    ],
)
def test_evaluate_refuses(model: Path, parallel: Tables, options: tuple[str, ...], message: str) -> None:
    ran = suguk("evaluate", model, *parallel, *options)
    assert ran.status == 2
    assert message in ran.err


def test_columns_that_the_model_was_trained_with(model: Path, tmp_path: Path) -> None:
    """By name, where the table has them; the first two are others here. As older versions wrote settings."""
    run = tmp_path / "run"
    shutil.copytree(model, run)
    config = (run / "config.toml").read_text(encoding="utf-8")
    columns = 'source = "es"\ntarget = "en"\n'
    config = re.sub(r'^(source|target) = ""\n|^columns = \[[^]]*\]\n', "", config, flags=re.M).replace(
        "[data]\n", f"[data]\n{columns}"
    )
    (run / "config.toml").write_text(config, encoding="utf-8")
    table = tmp_path / "t.tsv"
    table.write_text("id\tes\ten\n1\tab\tba\n", encoding="utf-8")
    by_name, told = (
        suguk("score", run, table),
        suguk("score", model, table, "--source", "es", "--target", "en"),
    )
    assert by_name.out == told.out
    assert by_name.status == told.status == 0, by_name.err
    other = tmp_path / "u.tsv"
    other.write_text("ab\tba\n", encoding="utf-8")
    assert suguk("score", run, other).out == told.out


def test_columns_that_training_took_are_found_again(model: Path, tables: Tables, tmp_path: Path) -> None:
    """The training table's first two columns are named; here they come in the other order."""
    names, *rows = [line.split("\t") for line in tables[1].read_text(encoding="utf-8").splitlines()]
    assert names == ["source", "target"]
    swapped = tmp_path / "t.tsv"
    lines = [f"{target}\t{number}\t{source}\n" for number, (source, target) in enumerate(rows)]
    swapped.write_text("target\tn\tsource\n" + "".join(lines), encoding="utf-8")
    ran = suguk("score", model, swapped)
    assert ran.status == 0
    assert ran.out == suguk("score", model, tables[1]).out
    scores = [evaluate(model, table).scores["chrf"].score for table in (swapped, tables[1])]
    assert scores[0] == scores[1]
    assert "source is column 'source', target is column 'target'" in ran.err
