"""Options that say what outputs should be like; vectors; n-best lists in a new order."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from suguk import load
from suguk.errors import UserError
from suguk.predictor import Constraint
from tests.cli.calls import suguk


def test_options_reach_the_search(model: Path) -> None:
    ran = suguk(
        "predict", model, "--min-length", 4, "--no-repeat-ngram", 1, "--beam", 3, "--jsonl", given="abcd\n"
    )
    tokens = json.loads(ran.out)["tokens"]
    assert len(tokens) >= 3
    assert len(set(tokens)) == len(tokens)
    samples = [
        suguk(
            "predict", model, "--sample", "--n-best", 4, "--top-p", 0.9, "--seed", seed, given="abcd\n"
        ).lines
        for seed in (1, 1, 2)
    ]
    assert len(samples[0]) == 4
    assert samples[0] == samples[1] != samples[2]
    ran = suguk("predict", model, "--groups", 2, "--beam", 3, given="a\n")
    assert ran.status == 2
    assert "groups = 2 must divide the beam, found beam = 3" in ran.err
    chosen = suguk("predict", model, "--sample", "--mbr", "chrf", "--jsonl", given="abcd\n")
    assert 0 <= json.loads(chosen.out)["score"] <= 100


def test_words_that_outputs_must_and_must_not_have(model: Path) -> None:
    ran = suguk(
        "predict", model, "--prefix", "ab", "--ban", "c", "--require", "d", "--beam", 8, given="abcd\n\n"
    )
    wanted = load(model).predict(
        ["abcd", ""],
        load(model).config.predict.model_copy(update={"beam": 8}),
        constraints=Constraint("ab", ("d",), ("c",)),
    )
    assert ran.lines == [one.output for one in wanted]
    assert all(line.startswith("ab") and "c" not in line for line in ran.lines)


@pytest.mark.parametrize("waiting", [(), ("--line-buffered",)])
def test_a_file_has_a_constraint_for_each_line(model: Path, tmp_path: Path, waiting: tuple[str, ...]) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"prefix": "ab"}\n\n{"banned": ["a"]}\n', encoding="utf-8")
    ran = suguk("predict", model, "--constraints", file, "--ban", "d", *waiting, given="abcd\nabcd\nabcd\n")
    assert ran.status == 0
    assert ran.lines[0].startswith("ab")
    assert "a" not in ran.lines[2]
    assert not any("d" in line for line in ran.lines)
    short = suguk("predict", model, "--constraints", file, *waiting, given="abcd\n" * 4)
    assert short.status == 2
    assert "a constraint for each source is needed, found 3 and more sources" in short.err
    long = suguk("predict", model, "--constraints", file, *waiting, given="abcd\n" * 2)
    assert long.status == 2
    assert "a constraint for each source is needed, found more than 2" in long.err
    sources = tmp_path / "bad.txt"
    sources.write_bytes(b"ab\n\xff\ncd\n")
    bad = suguk("predict", model, sources, "--constraints", file, *waiting)
    assert bad.status == 2
    assert f"{sources}:2: not UTF-8" in bad.err  # that is why there are too few sources
    sources.write_bytes(b"ab\nab\nab\ncd\n\xff\n")
    before = suguk("predict", model, sources, "--constraints", file, *waiting)
    assert len(before.lines) == 3
    assert "found 3 and more sources" in before.err  # what was wrong first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--require", "ab", "--ban", "b"), "it requires what it bans"),
        (("--prefix", "ab", "--ban", "b"), "its prefix holds what it bans"),
        (("--require", "abcd", "--max-length", 4), "a phrase of 4 tokens in outputs of at most 4"),
        (("--n-best", 0), "n_best"),
        (("--temperature", 0.5, "--seed", 3), "--temperature, --seed: only samples know that"),
        (("--top-k", 5), "--top-k: only samples know that"),
        (("--diversity", 1), "--diversity: there is one group"),
        (("--source", "es"), "--source names a column of a table"),
    ],
)
def test_options_that_contradict_or_do_nothing(
    model: Path, options: tuple[object, ...], message: str
) -> None:
    ran = suguk("predict", model, "--beam", 8, *options, given="abcd\n")
    assert ran.status == 2
    assert ran.out == ""
    assert message in ran.err


def test_lines_that_nothing_meets_end_the_answers_or_are_left_out(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "constraints.jsonl"
    target = load(model).target
    words = json.dumps({"banned": target.pieces(range(4, target.size))})
    file.write_text(f"{{}}\n{words}\n{{}}\n", encoding="utf-8")
    options = ("predict", model, "--no-repeat-ngram", 1, "--min-length", 4)
    lines = [suguk(*options, given=text + "\n").lines[0] for text in ("abc", "cde")]
    command, given = (*options, "--constraints", file), "abc\nbcd\ncde\n"
    for waiting in ((), ("--line-buffered",)):
        ran = suguk(*command, *waiting, given=given)
        assert (ran.status, ran.lines) == (2, lines[:1])
        assert "standard input:2: no output meets all that is asked for: 'bcd'" in ran.err
        assert "--skip-bad" in ran.err
        ran = suguk(*command, *waiting, "--skip-bad", given=given)
        assert (ran.status, ran.lines) == (0, [lines[0], "", lines[1]])
        assert "standard input:2: left out: no output meets" in ran.err
    told = [json.loads(line) for line in suguk(*command, "--skip-bad", "--jsonl", given=given).lines]
    assert ["problem" in one for one in told] == [False, True, False]


def test_workers_leave_out_lines_that_nothing_meets(model: Path) -> None:
    words = ("--no-repeat-ngram", 1, "--min-length", 60, "--max-length", 70)  # more than there are
    command = ("predict", model, *words, "--workers", 1)
    ran = suguk(*command, given="abc\nbcd\n")
    assert (ran.status, ran.lines) == (2, [])
    assert "standard input:1: no output meets" in ran.err
    ran = suguk(*command, "--skip-bad", given="abc\nbcd\n")
    assert (ran.status, ran.lines) == (0, ["", ""])


def test_constraints_that_cannot_be_met_are_listed_before_anything_is_decoded(
    model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{}\n{"required": ["a", "b", "c", "d", "a"]}\n{"banned": ["ß"]}\n', encoding="utf-8")
    ran = suguk("predict", model, "--constraints", file, "--beam", "2", given="a\nb\nc\n")
    assert ran.status == 2
    assert ran.out == ""
    assert f"{file}:2: constraint of source 2: its required words have 5 tokens" in ran.err
    told = suguk("predict", model, "--constraints", file, "--beam", "9", given="a\nb\nc\n")
    assert f"{file}:3: constraint 'ß': it can be neither asked for nor banned" in told.err


def test_all_faults_of_a_constraint_file_are_listed(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"prefix": 1}\n[]\n{"ban": []}\n{\n{"required": "a"}\n', encoding="utf-8")
    ran = suguk("predict", model, "--constraints", file, given="a\n")
    assert ran.status == 2
    for number, message in (
        (1, "expected a text as prefix"),
        (2, "expected an object, found []"),
        (3, "expected prefix, required or banned, found 'ban'"),
        (4, "Expecting"),
        (5, "expected a list of texts as required"),
    ):
        assert f"{file}:{number}: {message}" in ran.err
    assert not ran.out


def test_vectors_of_lines(model: Path, tmp_path: Path) -> None:
    lines = ["abcd", "", "ba"]
    given = "\n".join(lines) + "\n"
    assert suguk("encode", model, "--output", tmp_path / "v.npy", given=given).status == 0
    found = np.load(tmp_path / "v.npy")
    np.testing.assert_array_equal(found, load(model).encode(lines))
    assert suguk("encode", model, "-o", tmp_path / "v.parquet", "--mean", given=given).status == 0
    table = pq.read_table(tmp_path / "v.parquet").to_pydict()
    assert table["source"] == lines
    np.testing.assert_allclose(table["vector"], load(model).encode(lines, mean=True), atol=1e-6)
    assert suguk("encode", model, "--output", tmp_path / "none.npy", given="").status == 0
    assert np.load(tmp_path / "none.npy").shape == (0, found.shape[1])
    ran = suguk("encode", model, "--output", tmp_path / "v.txt", given=given)
    assert ran.status == 2
    assert "ends in .npy or .parquet" in ran.err


def test_lists_in_a_new_order(model: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.jsonl"
    first = suguk("predict", model, "--n-best", 4, "--jsonl", given="abcd\nba\n")
    lists.write_text(first.out, encoding="utf-8")
    kept = suguk("rescore", model, lists, "--weight", 0, "--jsonl")
    assert [json.loads(line)["output"] for line in kept.lines] == [
        json.loads(line)["output"] for line in first.lines
    ]
    own = suguk("rescore", model, lists, "--weight", 1, "--jsonl", "--n-best", 3)
    for line, before in zip(own.lines, first.lines, strict=True):
        one, old = json.loads(line), json.loads(before)
        scores = [each["score"] for each in one["n_best"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == min(3, len(old["n_best"]))
        pairs = [(one["source"], each["output"]) for each in one["n_best"]]
        fresh = load(model).score(*map(list, zip(*pairs, strict=True)))
        penalty = load(model).config.predict.penalty_of
        wanted = [each.log_prob / penalty(len(each.token_scores)) for each in fresh]
        assert scores == pytest.approx(wanted, abs=1e-4)
    assert suguk("rescore", model, lists).lines == [
        json.loads(line)["output"] for line in suguk("rescore", model, lists, "--jsonl").lines
    ]


def test_the_attention_of_a_list_goes_with_the_output_that_was_first(model: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.jsonl"
    first = suguk(
        "predict", model, "--n-best", 2, "--jsonl", "--attention", tmp_path / "pictures", given="abcd\n"
    )
    one = json.loads(first.out)
    for scores, kept in (((-1.0, -2.0), True), ((-2.0, -1.0), False)):
        for each, score in zip(one["n_best"], scores, strict=True):
            each |= {"score": score, "finished": True}
        lists.write_text(json.dumps(one) + "\n", encoding="utf-8")
        again = json.loads(suguk("rescore", model, lists, "--weight", 0, "--jsonl").out)
        assert ("attention" in again) == kept


def test_lines_that_are_no_list_are_all_named(model: Path, tmp_path: Path) -> None:
    lists, long = tmp_path / "lists.jsonl", "a" * 20_001
    told = {
        '{"source": "a"}': "no source, or no hypotheses",
        "3": "no object with a source and its hypotheses",
        "[" * 100_000: "too deep",
        '{"problem": "x", "source": "a", "n_best": [{"output": "b", "score": 1}]}': "a problem and hypotheses",
        f'{{"source": "a", "n_best": [{{"output": "b", "score": 1{"0" * 400}}}]}}': "a hypothesis whose score is 1000",
        '{"source": "a", "n_best": [{"output": "b", "score": NaN}]}': "a hypothesis whose score is nan",
        '{"source": "a", "n_best": [{"score": 1}]}': "a hypothesis without an output",
        f'{{"source": "{long}", "n_best": [{{"output": "b", "score": 1}}]}}': "a text of 20,001 characters",
        '{"source": "b", "n_best": [{"output": "\\ud800", "score": 1}]}': "half a surrogate pair is no character",
        f'{{"source": "b", "n_best": [{{"output": "{long}", "score": 1}}]}}': "a text of 20,001 characters",
    }
    lists.write_text("\n".join(told) + "\n", encoding="utf-8")
    ran = suguk("rescore", model, lists)
    assert ran.status == 2
    for number, message in enumerate(told.values(), start=1):
        assert f"{lists}:{number}: not an n-best list: {message}" in ran.err


def test_what_has_not_ended_comes_last(model: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.jsonl"
    each = [("ab", -9.0, True), ("abcd", -1.0, False), ("a", -4.0, True)]
    hypotheses = [{"output": text, "score": score, "finished": ended} for text, score, ended in each]
    lists.write_text(json.dumps({"source": "ba", "n_best": hypotheses}) + "\n", encoding="utf-8")
    ran = suguk("rescore", model, lists, "--weight", 0, "--jsonl")
    assert [one["output"] for one in json.loads(ran.out)["n_best"]] == ["a", "ab", "abcd"]


def test_a_line_that_was_left_out_stays_out_of_its_list(model: Path, tmp_path: Path) -> None:
    sources, lists = tmp_path / "sources.txt", tmp_path / "lists.jsonl"
    sources.write_bytes(b"abcd\n\xff\nba\n")
    first = suguk("predict", model, sources, "--n-best", 4, "--prefix", "ab", "--jsonl", "--skip-bad")
    lists.write_text(first.out, encoding="utf-8")
    ran = suguk("rescore", model, lists)
    assert ran.status == 0
    assert [bool(line) for line in ran.out.split("\n")] == [True, False, True, False]
    assert "line 2: left out before: not UTF-8" in ran.err
    same = suguk("rescore", model, lists, "--jsonl").lines
    assert same[1] == first.lines[1]
    assert [json.loads(line)["output"] for line in same[::2]] == ran.lines[::2]


def test_a_list_without_a_problem_is_a_list(model: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.jsonl"
    one = {"source": "ba", "n_best": [{"output": "ab", "score": -1.0}], "problem": None}
    lists.write_text("\ufeff" + json.dumps(one) + "\n", encoding="utf-8")
    assert suguk("rescore", model, lists).lines == ["ab"]


def test_lists_that_cannot_be_read_twice(model: Path, tmp_path: Path) -> None:
    empty, pipe = tmp_path / "empty.jsonl", tmp_path / "pipe"
    empty.write_bytes(b"")
    ran = suguk("rescore", model, empty)
    assert (ran.status, "there are no lists in it" in ran.err) == (2, True)
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        ran = suguk("rescore", model, pipe)
        assert (ran.status, "write them into a file first" in ran.err) == (2, True)


def test_a_file_of_constraints_that_is_odd(model: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('\ufeff{"banned": ["a"]}\n', encoding="utf-8")
    assert suguk("predict", model, "--constraints", asked, given="ba\n").status == 0
    ran = suguk("predict", model, "--constraints", asked, given="ba\nab\n")
    assert (ran.status, "source 2: a constraint for each source is needed" in ran.err) == (2, True)
    asked.write_text("[" * 100_000 + "\n", encoding="utf-8")
    ran = suguk("predict", model, "--constraints", asked, given="ba\n")
    assert (ran.status, f"{asked}:1: too deep" in ran.err) == (2, True)


def test_directories_joined_by_plus_are_an_ensemble(model: Path) -> None:
    alone, both = (suguk("predict", name, "--jsonl", given="abcd\n") for name in (model, f"{model}+{model}"))
    one, two = json.loads(alone.out), json.loads(both.out)
    assert one["tokens"] == two["tokens"]
    assert one["token_scores"] == pytest.approx(two["token_scores"], abs=1e-4)
    ran = suguk("predict", f"{model}+{model}", "--engine", "onnx", given="abcd\n")
    assert ran.status == 2
    assert "as one exported file only" in ran.err


def test_settings_of_the_search_reach_an_evaluation(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "d.tsv"
    data.write_text("abcd\tab\nba\tab\n", encoding="utf-8")
    ran = suguk("evaluate", model, data, "--no-header", "--set", "predict.max_length=1", "--json", "--quiet")
    assert ran.status == 0
    assert json.loads(ran.out)["unfinished"] >= 0
    ran = suguk("evaluate", model, data, "--no-header", "--set", "model.hidden=3")
    assert ran.status == 2
    assert "only settings of predict can change now, found model" in ran.err


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "decoding.md"


def test_the_guide_runs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of docs/guides/decoding.md, with the test's model and words that it knows."""
    code = GUIDE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    code = code.replace('"es-en.onnx"', repr(str(model))).replace('"very"', '"a"')
    exec(compile(code, str(GUIDE), "exec"), {})
    assert capsys.readouterr().out.startswith("[(")


def test_a_table_is_not_read_as_lines(model: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "a.parquet")
    ran = suguk("predict", model, tmp_path / "a.parquet")
    assert (ran.status, ran.out) == (2, "")
    assert "--source COLUMN --output DIR" in ran.err


def test_an_empty_file_has_no_constraint(model: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("", encoding="utf-8")
    ran = suguk("predict", model, "--constraints", tmp_path / "none.jsonl", given="")
    assert (ran.status, ran.out) == (0, "")
    ran = suguk("predict", model, "--constraints", tmp_path / "none.jsonl", given="a\n")
    assert ran.status == 2
    assert "found 0 and more sources" in ran.err


def test_samples_to_agree_are_many_wherever_they_are_asked_for(model: Path) -> None:
    ways = (["--sample", "--mbr", "chrf"], ["--sample", "--set", "predict.mbr=chrf"])
    one, other = (suguk("predict", model, *way, given="abcd\n") for way in ways)
    assert one.status == 0
    assert one.out == other.out


def test_no_more_threads_than_make_sense(model: Path) -> None:
    assert suguk("predict", model, "--threads", 99999, given="a\n").status == 2
    with pytest.raises(UserError, match="expected 0 to 256 threads, found -1"):
        load(model, threads=-1)
