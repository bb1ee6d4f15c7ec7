"""Which row names the columns, and which columns are the pairs."""

import pytest

from suguk.data.columns import Columns, pick, recognise
from suguk.errors import DataError

DATA = [["Ve.", "Go."], ["Corre.", "Run."], ["Hola.", "Hi."]]
NAMED = Columns(("id", "question", "answer"), 3)


@pytest.mark.parametrize(
    "first",
    [
        ["es", "en"],
        ["source", "target"],
        ["Source text", "Target text"],
        ["question_1", "answer_1"],
        [" word ", "phonemes"],
        ["src", "tgt"],
        ["ENG", "Deu"],
    ],
)
def test_a_header_is_recognised(first: list[str]) -> None:
    columns = recognise([first, *DATA], None)
    assert columns.names == tuple(cell.strip() for cell in first)
    assert columns.width == 2
    assert "--no-header" in columns.decided


@pytest.mark.parametrize(
    "first",
    [["hola", "hello"], ["Go.", "Ve."], ["B", "AW1"], ["en", "en"], ["16+75", "91"], ["", ""], ["1", "2"]],
)
def test_data_is_no_header(first: list[str]) -> None:
    columns = recognise([first, *DATA], None)
    assert columns.names == ()
    assert "--header" in columns.decided


def test_usual_names_that_are_values_of_their_columns_are_data() -> None:
    rows = [["name", "number"], ["word", "name"], ["name", "number"]]
    assert recognise(rows, None).names == ()


def test_words_above_numbers_are_a_header() -> None:
    assert recognise([["sum", "total"], ["1+2", "3"], ["4+5", "9"], ["6+7", "13"]], None).names == (
        "sum",
        "total",
    )


def test_a_column_that_is_asked_for_by_name_makes_a_header() -> None:
    assert recognise([["perro", "dog"], *DATA], None, [frozenset(["perro"])]).names == ("perro", "dog")
    assert recognise([["perro", "dog"], *DATA], None, [frozenset(["perro", "cat"])]).names == ()


def test_a_long_run_of_digits_is_looked_at_once() -> None:
    """Not once for each of its digits."""
    rows = [["sum", "total"], *([["1" * 1_000_000 + "x", "a"]] * 3)]
    assert recognise(rows, None).names == ()
    rows = [["sum", "total"], *([["1" * 1_000_000, "a"]] * 3)]
    assert recognise(rows, None).names == ("sum", "total")


@pytest.mark.parametrize("first", [["es", "en"], ["hola", "hello"]])
def test_a_header_is_as_told(first: list[str]) -> None:
    assert recognise([first, *DATA], True).names == tuple(first)
    assert recognise([first, *DATA], False).names == ()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (("", ""), (0, 1)),
        (("question", "answer"), (1, 2)),
        (("answer", "1"), (2, 0)),
        (("3", "2"), (2, 1)),
        (("", "answer"), (0, 2)),
    ],
)
def test_columns_by_name_and_number(wanted: tuple[str, str], found: tuple[int, int]) -> None:
    assert pick(NAMED, wanted, "t") == found


def test_a_name_goes_before_a_number() -> None:
    assert pick(Columns(("2", "1"), 2), ("1", "2"), "t") == (1, 0)


@pytest.mark.parametrize(
    ("columns", "wanted", "message"),
    [
        (NAMED, ("quesion", ""), "did you mean question?"),
        (NAMED, ("quesion", ""), "columns: id, question, answer"),
        (NAMED, ("4", ""), "columns are 1 to 3"),
        (NAMED, ("0", ""), "columns are 1 to 3"),
        (NAMED, ("2", "question"), "both column 'question'"),
        (Columns((), 3), ("2", ""), "both column 2"),
        (Columns((), 2), ("question", ""), "--header"),
        (Columns((), 1), ("", ""), "expected at least two columns, found 1"),
    ],
)
def test_impossible_columns(columns: Columns, wanted: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        pick(columns, wanted, "t.tsv")
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.tsv: ")
