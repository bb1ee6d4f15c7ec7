"""Everything that is wrong, each with file and line; and what the data are like."""

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from suguk import config as settings
from suguk.data.check import SHOWN, check, judged, leaks, write_problems
from suguk.data.read import Pairs, read
from suguk.data.texts import Texts
from suguk.errors import ConfigError, Problem

SENTENCES = [(f"el perro {i} corre por la casa verde", f"the dog {i} runs on") for i in range(101)]
WORDS = [("abcdefg"[i % 7] * (i % 5 + 1) + "hijkl"[i % 5], "A B C D"[: 2 * (i % 4) + 1]) for i in range(211)]


def made(rows: Sequence[tuple[str, str]], *paths: str, first: int = 1) -> Pairs:
    lines = array("q", range(first, first + len(rows)))
    return Pairs(paths or ("t.tsv",), Texts(s for s, _ in rows), Texts(t for _, t in rows), lines)


def told(problems: Sequence[Problem]) -> list[tuple[str, int | None, str]]:
    return [(problem.path, problem.line, problem.kind) for problem in problems]


class TestJudged:
    ROWS = (("a", "b"), ("", "c"), ("d", " \u3000\t"), ("x" * 13, "y" * 14), ("a", "b"), ("a", "c"))

    def test_each_fault_has_its_place(self) -> None:
        problems, good = judged(made(self.ROWS, first=3), 12)
        assert told(problems) == [
            ("t.tsv", 4, "empty source"),
            ("t.tsv", 5, "empty target"),
            ("t.tsv", 6, "overlong source"),
            ("t.tsv", 6, "overlong target"),
            ("t.tsv", 7, "duplicate pair"),
        ]
        assert "has 13 characters; at most 12" in problems[2].message
        assert problems[4].message == "the same pair as line 3"
        assert [problem.fatal for problem in problems] == [True, True, True, True, False]
        assert (good.sources[:], good.targets[:]) == (["a", "a", "a"], ["b", "b", "c"])
        assert good.lines.tolist() == [3, 7, 8]

    def test_of_two_files_the_one_with_the_fault_is_named(self) -> None:
        problems, _ = judged(made(self.ROWS, "t.es", "t.en"), 13)
        assert [problem.path for problem in problems] == ["t.es", "t.en", "t.en", "t.es"]

    def test_the_longest_length_is_taken(self) -> None:
        pairs = made(self.ROWS[:1] + self.ROWS[3:4])
        problems, good = judged(pairs, 14)
        assert problems == []
        assert good is pairs

    def test_what_reading_found_stands_among_them_by_line(self, tmp_path: Path) -> None:
        path = tmp_path / "t.tsv"
        path.write_bytes(b"a\tb\n\td\ne\n\xff\tg\nh\t\n")
        problems, good = judged(read([path], skip_bad=True), 7)
        assert [(problem.line, problem.kind) for problem in problems] == [
            (2, "empty source"),
            (3, "wrong column count"),
            (4, "invalid UTF-8"),
            (5, "empty target"),
        ]
        assert good.sources == ["a"]

    def test_a_bad_pair_is_no_duplicate(self) -> None:
        assert [problem.kind for problem in judged(made([("", "b")] * 2), 7)[0]] == ["empty source"] * 2


def test_leaks_name_both_places() -> None:
    train, valid = (
        made([("a", "b"), ("c", "d")], "t.tsv", first=2),
        made([("e", "f"), ("c", "g")], "v.tsv", first=5),
    )
    (leak,) = leaks(train, valid)
    assert (leak.path, leak.line, leak.fatal) == ("v.tsv", 6, False)
    assert "(t.tsv:3)" in leak.message


class TestReport:
    def test_statistics(self) -> None:
        valid = made([("el gato Ω", "the cat")], "v.tsv")
        config = settings.build({"source": {"tokenizer": "char"}, "target": {"tokenizer": "word"}})
        report = check(made(SENTENCES), valid, config)
        assert report.problems == []
        found = report.statistics
        assert (found["training_pairs"], found["validation_pairs"]) == (101, 1)
        assert found["source"]["distinct"] == 101
        assert found["source"]["words"] == {"mean": 8.0, "median": 8, "p95": 8, "max": 8}
        assert found["target"]["characters"]["max"] == len("the dog 100 runs on")
        # "el gato Ω": g, t and Ω are in no training source.
        assert found["source"]["unknown_rate_in_validation"] == pytest.approx(3 / 9)
        assert found["target"]["unknown_rate_in_validation"] == pytest.approx(1 / 2)
        assert found["target"]["tokens_a_text"] == 6.0
        assert 0.5 < found["length_ratio"]["mean"] < 0.6
        assert found["parameters"] > 0
        assert found["memory_bytes"] > 16 * found["parameters"]

    def test_the_text_says_it_all(self) -> None:
        text = check(made(SENTENCES), None, settings.load("small"), settings.load("chars")).text()
        for part in (
            "split off",
            "99 training pairs, 2 for validation",
            "recipe: small, as both sides are sentences",
            "source.tokenizer = bpe (sentences: 8.0 words",
            "source vocabulary: ",
            "unknown in validation",
            "times its source's characters",
            "parameters; training needs about",
            "no errors: `suguk train` takes these data",
        ):
            assert part in text

    def test_characters_take_their_own_recipe(self) -> None:
        small, chars = settings.load("small"), settings.load("chars")
        report = check(made(WORDS), None, small, chars)
        assert "recipe: chars, as the source is of characters or symbols" in report.choices
        assert report.statistics["parameters"] == check(made(WORDS), None, chars).statistics["parameters"]
        assert report.statistics["parameters"] != check(made(WORDS), None, small).statistics["parameters"]

    def test_json_has_everything(self) -> None:
        rows = [*SENTENCES, SENTENCES[7], ("", "x")]
        report = check(made(rows), made(SENTENCES[:1], "v.tsv"), settings.load("small"))
        found = json.loads(json.dumps(report.to_json()))
        assert found["ok"] is False
        assert found["statistics"] == report.statistics
        assert found["choices"] == report.choices != []
        assert found["problems"][1] == {
            "path": "t.tsv",
            "line": 103,
            "message": "the source is empty",
            "kind": "empty source",
            "fatal": True,
        }
        assert [problem["kind"] for problem in found["problems"]] == [
            "duplicate pair",
            "empty source",
            "validation source in training",
        ]

    def test_many_problems_are_counted_and_some_shown(self) -> None:
        report = check(made([*SENTENCES, *[("", "x")] * 1301]), None, settings.load("small"))
        text = report.text()
        assert "error: 1,301 × empty source" in text
        assert text.count("the source is empty") == SHOWN
        assert "… and 1,281 more (--json lists all)" in text
        assert "--skip-bad" in text
        assert len(report.to_json()["problems"]) == 1301

    def test_warnings_do_not_refuse(self) -> None:
        report = check(made([*SENTENCES, SENTENCES[0]]), None, settings.load("small"))
        assert report.fatal == []
        assert "warning: 1 × duplicate pair" in report.text()
        assert report.to_json()["ok"] is True


class TestTooLittle:
    @pytest.mark.parametrize(
        ("train", "valid", "message"),
        [
            ([("a", "b")], None, "at least two different sources"),
            ([("a", "b"), ("a", "c")], None, "at least two different sources"),
            ([("", "b")], None, "no good pair is left"),
            (SENTENCES, [("a", "")], "no good pair is left"),
        ],
    )
    def test_it_is_a_problem_like_others(
        self, train: list[tuple[str, str]], valid: list[tuple[str, str]] | None, message: str
    ) -> None:
        report = check(made(train), None if valid is None else made(valid, "v.tsv"), settings.load("small"))
        assert message in report.text()
        assert report.to_json()["ok"] is False

    def test_a_vocabulary_that_cannot_be(self) -> None:
        sides: dict[str, Any] = {"source": {"tokenizer": "byte", "vocab_size": 101}}
        assert "vocab_size >= 260" in check(made(SENTENCES), None, settings.build(sides)).text()

    def test_settings_that_cannot_be_are_refused(self) -> None:
        sides = {"source": {"tokenizer": "char"}, "target": {"tokenizer": "word", "shared": True}}
        with pytest.raises(ConfigError, match="one tokenizer"):
            check(made(SENTENCES), None, settings.build(sides))


class TestWriteProblems:
    def test_one_line_a_problem(self, tmp_path: Path) -> None:
        path = tmp_path / "skipped.tsv"
        write_problems([Problem("a.tsv", 7, "the source is empty"), Problem("b", None, "too short")], path)
        assert path.read_text(encoding="utf-8") == (
            "file\tline\tproblem\na.tsv\t7\tthe source is empty\nb\t\ttoo short\n"
        )

    def test_names_of_files_may_be_any_bytes(self, tmp_path: Path) -> None:
        write_problems([Problem("m\udce9tro.tsv", 1, "empty")], tmp_path / "p")
        assert b"m\xe9tro.tsv\t1\tempty\n" in (tmp_path / "p").read_bytes()


def test_what_is_no_text_at_all_is_refused() -> None:
    """Two files in UTF-16 without a mark: every other character is U+0000."""
    pairs = Pairs(("t.tsv",))
    pairs.add(1, "a\0b\0", "c")
    pairs.add(2, "a", "c")
    problems, good = judged(pairs, 100)
    assert [(problem.line, problem.kind) for problem in problems] == [(1, "no text in the source")]
    assert good.sources[:] == ["a"]
