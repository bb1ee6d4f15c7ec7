"""`suguk predict`: the protocol of lines, its options, its pictures."""

import gzip
import json
import math
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from suguk import load
from suguk.cli import streams
from suguk.cli.predict import as_json
from suguk.cli.streams import one_line
from suguk.errors import UserError
from suguk.predictor import Attention, Hypothesis, Prediction
from tests.cli.calls import suguk


def test_one_line_per_source_in_order(model: Path) -> None:
    ran = suguk("predict", model, given="abc\n\ndé한\n")
    expected = [prediction.output for prediction in load(model).predict(["abc", "", "dé한"])]
    assert (ran.status, ran.lines) == (0, expected)


def test_lines_end_at_newline_or_carriage_return_newline_only(model: Path) -> None:
    ran = suguk("predict", model, "--jsonl", given="﻿ab\r\nc\x0bd e\x85\rf\nlast")
    assert [json.loads(line)["source"] for line in ran.lines] == ["ab", "c\x0bd e\x85\rf", "last"]


def test_a_file_may_be_compressed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "s.gz").write_bytes(gzip.compress(b"abc\nd\n", mtime=0))
    (tmp_path / "s.txt").write_text("abc\nd\n", encoding="utf-8")
    compressed, plain = (
        suguk("predict", model, tmp_path / "s.gz"),
        suguk("predict", model, tmp_path / "s.txt"),
    )
    assert compressed.status == 0
    assert compressed.lines == plain.lines == suguk("predict", model, "-", given="abc\nd\n").lines


def test_nothing_in_nothing_out(model: Path) -> None:
    ran = suguk("predict", model)
    assert (ran.status, ran.out, ran.err) == (0, "", "")


def test_n_best_lines_carry_scores_best_first(model: Path) -> None:
    ran = suguk("predict", model, "--beam", 5, "--n-best", 3, given="abcd\n")
    rows = [line.split("\t") for line in ran.lines]
    assert len(rows) == 3
    assert len({output for output, _ in rows}) == 3
    scores = [float(score) for _, score in rows]
    assert scores == sorted(scores, reverse=True)


def test_n_best_widens_a_beam_that_was_not_given(model: Path) -> None:
    assert len(suguk("predict", model, "--n-best", 7, given="abcd\n").lines) == 7
    ran = suguk("predict", model, "--n-best", 7, "--beam", 2, given="abcd\n")
    assert ran.status == 2
    assert "n_best = 7 needs a beam at least as wide, found beam = 2" in ran.err


def test_options_reach_the_search(model: Path) -> None:
    ran = suguk(
        "predict", model, "--max-length", 2, "--beam", 1, "--length-penalty", 0, "--jsonl", given="abcd\n"
    )
    answer = json.loads(ran.out)
    assert len(answer["tokens"]) <= 2
    assert len(answer["n_best"]) == 1
    assert math.isclose(answer["score"], answer["log_prob"], rel_tol=1e-6)


def test_jsonl_says_everything(model: Path, tmp_path: Path) -> None:
    ran = suguk("predict", model, "--jsonl", "--n-best", 2, "--attention", tmp_path / "a", given="ab\nc\n")
    first, second = map(json.loads, ran.lines)
    assert (first["line"], first["source"], second["line"], second["source"]) == (1, "ab", 2, "c")
    assert first["n_best"][0]["output"] == first["output"]
    assert len(first["n_best"]) == 2
    assert len(first["token_scores"]) == len(first["tokens"]) + first["finished"]
    weights = np.array(first["attention"]["weights"])
    assert weights.shape == (
        len(first["attention"]["target_tokens"]),
        len(first["attention"]["source_tokens"]),
    )
    assert np.allclose(weights.sum(1), 1, atol=1e-4)


def test_attention_is_drawn_for_every_line(model: Path, tmp_path: Path) -> None:
    ran = suguk("predict", model, "--attention", tmp_path / "new" / "pictures", given="ab\n\nc\n")
    assert ran.status == 0
    pictures = sorted((tmp_path / "new" / "pictures").iterdir())
    assert [picture.name for picture in pictures] == ["0001.svg", "0002.svg", "0003.svg"]
    assert all(ElementTree.parse(picture).getroot().tag.endswith("svg") for picture in pictures)


@pytest.mark.parametrize("breaking", list("\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
def test_an_output_never_breaks_its_line(breaking: str) -> None:
    shown = one_line(f"a{breaking}b")
    assert shown == "a b"
    assert len(shown.splitlines()) == 1


def test_json_keeps_what_a_line_cannot() -> None:
    hypothesis = Hypothesis("a\nb", -1.0, -2.0, ("a", "\n", "b"), (-0.5, -0.5, -0.5, -0.5), True)
    weights = np.full((4, 3), 1 / 3, np.float32)
    attention = Attention(("x", "y", "<eos>"), ("a", "\n", "b", "<eos>"), weights)
    prediction = Prediction(**vars(hypothesis), source="x\ty", n_best=(hypothesis,), attention=attention)
    plain = json.loads(json.dumps(as_json(5, prediction)))
    assert (plain["line"], plain["source"], plain["output"]) == (5, "x\ty", "a\nb")
    assert plain["attention"]["target_tokens"] == ["a", "\n", "b", "<eos>"]
    assert plain["attention"]["weights"][3] == [0.333333] * 3


def test_bytes_that_are_not_utf8_are_named_and_earlier_lines_answered(model: Path) -> None:
    ran = suguk("predict", model, given=b"abc\nm\xe9tro\nd\n")
    assert ran.status == 2
    assert len(ran.lines) == 1
    assert ran.err.startswith("error: standard input:2: not UTF-8: byte 2 is 0xe9\n  hint: convert it")


def test_a_source_of_100000_characters_is_refused_by_line(model: Path) -> None:
    ran = suguk("predict", model, given="abc\n" * 20 + "a" * 100_000 + "\nabc\n")
    assert ran.status == 2
    assert len(ran.lines) == 20
    assert "standard input:21: a source of 100,000 characters, at most 20,000 are decoded" in ran.err
    assert "hint" in ran.err


def test_bad_lines_may_be_left_out_and_the_others_keep_their_places(model: Path, tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfabc\nm\xe9tro\n\n" + b"a" * 20_001 + b"\r\nbcd\n" + b"b" * (2**21) + b"\ncde"
    wanted = [suguk("predict", model, given=text + "\n").lines[0] for text in ("abc", "", "bcd", "cde")]
    ran = suguk("predict", model, "--skip-bad", given=content)
    assert ran.status == 0
    assert ran.lines == [wanted[0], "", wanted[1], "", wanted[2], "", wanted[3]]
    assert "standard input:2: left out: not UTF-8: byte 2 is 0xe9" in ran.err
    assert "standard input:4: left out: a source of 20,001 characters" in ran.err
    assert "standard input:6: left out: a source of over 1,048,576 bytes" in ran.err
    told = [
        json.loads(line) for line in suguk("predict", model, "--skip-bad", "--jsonl", given=content).lines
    ]
    assert [one["line"] for one in told] == [1, 2, 3, 4, 5, 6, 7]
    assert ["problem" in one for one in told] == [False, True, False, True, False, True, False]
    assert "--skip-bad" in suguk("predict", model, "x", "--skip-bad", "--output", tmp_path / "o").err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "missing.txt: no such file"),
        ("cut.gz", gzip.compress(b"abc\n" * 999, mtime=0)[:-9], "cut.gz: cannot be read"),
        ("plain.gz", b"abc\n", "plain.gz: cannot be read"),
        (".", None, "expected a text file, found a directory"),
    ],
)
def test_files_that_cannot_be_read(
    model: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = suguk("predict", model, tmp_path / name)
    assert ran.status == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) <= 2


def test_an_unwritable_picture_directory(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = suguk("predict", model, "--attention", tmp_path / "file" / "in", given="ab\n")
    assert ran.status == 2
    assert str(tmp_path / "file") in ran.err
    assert "hint: name another --attention" in ran.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"cut", "model.safetensors: damaged or cut short"),
        ("model.safetensors", None, "there are no weights yet"),
        ("config.toml", b"[model]\nhiden = 3\n", "did you mean model.hidden?"),
        ("config.toml", b"[model", "not valid TOML"),
        ("config.toml", None, "config.toml"),
        ("source.json", b"{}", "source.json"),
        ("target.json", b"\xff", "target.json"),
        ("model.json", None, "not a run directory"),
        ("model.json", b'{"format": "suguk-run", "version": 99}', "format version 99"),
    ],
)
def test_run_directories_that_are_damaged(
    model: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    damaged = tmp_path / "copy"
    shutil.copytree(model, damaged)
    (damaged / name).unlink()
    if content is not None:
        (damaged / name).write_bytes(content)
    ran = suguk("predict", damaged, given="abc\n")
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert "fault in suguk" not in ran.err


def test_a_device_that_is_not_there(model: Path) -> None:
    ran = suguk("predict", model, "--device", "tpu", given="abc\n")
    assert ran.status == 2
    assert "unknown device 'tpu'" in ran.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\ufeffabc\n".encode("utf-16-le"), "is UTF-16, expected UTF-8"),
        ("\ufeffabc\n".encode("utf-32-le"), "iconv -f UTF-32 -t UTF-8"),
        (gzip.compress(b"abc\n", mtime=0), "is compressed"),
    ],
)
def test_what_is_no_text_in_utf8(model: Path, content: bytes, message: str) -> None:
    ran = suguk("predict", model, "--skip-bad", given=content)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_a_compressed_file_with_a_damaged_inside(model: Path, tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"".join(b"%d\n" % (k * 7919) for k in range(999)), mtime=0))
    content[200:230] = bytes(30)
    (tmp_path / "x.gz").write_bytes(content)
    ran = suguk("predict", model, tmp_path / "x.gz")
    assert ran.status == 2
    assert "cannot be read" in ran.err


def test_closed_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, None)
            with pytest.raises(UserError, match="there is no standard"):
                streams.Lines(None, 9) if name == "stdin" else streams.write_text("x")


def test_several_hypotheses_by_a_setting(model: Path) -> None:
    by_option = suguk("predict", model, "--n-best", "3", "--beam", "5", given="abc\n")
    by_setting = suguk("predict", model, "--set", "predict.n_best=3", "--beam", "5", given="abc\n")
    assert by_setting.status == 0, by_setting.err
    assert by_setting.out == by_option.out
    assert len(by_option.lines) == 3
    wrong = suguk("predict", model, "--set", "predict.n_best=x", given="abc\n")
    assert (wrong.status, "n_best" in wrong.err) == (2, True)


def test_a_terminal_is_told_what_to_do_and_survives_a_bad_line(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.Lines, "interactive", property(lambda _: True))
    ran = suguk("predict", model, given=b"abc\nb\xe9\ncba\n")
    assert ran.status == 0
    assert ran.err.startswith("type a line for an answer; Ctrl-D ends\n")
    assert "standard input:2: left out: not UTF-8" in ran.err
    assert len(ran.lines) == 3


def test_outputs_that_were_cut_are_counted(model: Path) -> None:
    words = ["--beam", 1, "--max-length", 9, "--min-length", 9]
    plain = suguk("predict", model, "--jsonl", *words, given="abc\ncba\n").lines
    cut = [not one["finished"] for one in map(json.loads, plain)]
    ran = suguk("predict", model, *words, given="abc\ncba\n")
    told = f"warning: {sum(cut)} outputs were cut before their end; predict.max_length and length_ratio bound them\n"
    assert ran.err == (told if any(cut) else "")
    assert any(cut)
