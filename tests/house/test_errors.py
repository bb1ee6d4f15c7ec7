"""The messages a user sees."""

from pathlib import Path

import pytest

from suguk import errors
from suguk.errors import DataError, MissingExtra, Problem, UserError


def test_a_message_alone() -> None:
    assert str(UserError("expected two columns, found one")) == "expected two columns, found one"


def test_place_message_and_cure_stand_in_this_order() -> None:
    fault = UserError(
        "expected two columns, found one", where=Path("pairs.tsv"), hint="separate them with a tab"
    )
    assert str(fault) == "pairs.tsv: expected two columns, found one\n  hint: separate them with a tab"
    assert (fault.message, fault.where, fault.hint) == (
        "expected two columns, found one",
        "pairs.tsv",
        "separate them with a tab",
    )


def test_a_problem_shows_path_and_line_as_editors_count() -> None:
    assert str(Problem("pairs.tsv", 7, "empty source")) == "pairs.tsv:7: empty source"
    assert str(Problem("pairs.tsv", None, "no pairs")) == "pairs.tsv: no pairs"


def test_a_data_error_lists_its_problems_and_counts_the_rest() -> None:
    problems = [Problem("pairs.tsv", line, "empty source") for line in range(1, 1236)]
    fault = DataError("bad pairs", problems, where="pairs.tsv", hint="use --skip-bad", shown=2)
    assert str(fault).splitlines() == [
        "pairs.tsv: bad pairs",
        "  pairs.tsv:1: empty source",
        "  pairs.tsv:2: empty source",
        "  … and 1,233 more",
        "  hint: use --skip-bad",
    ]
    assert len(fault.problems) == 1235


def test_a_data_error_that_shows_all_counts_no_rest() -> None:
    assert str(DataError("bad", [Problem("a", 1, "b")], shown=1)) == "bad\n  a:1: b"
    assert str(DataError("bad")) == "bad"


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    fault = MissingExtra("torch", "train", "`suguk train`")
    assert "`suguk train` needs the package 'torch'" in str(fault)
    assert fault.hint == "pip install 'suguk[train]'"


@pytest.mark.parametrize("name", ["ConfigError", "DataError", "ModelError", "MissingExtra"])
def test_every_error_is_a_user_error(name: str) -> None:
    assert issubclass(getattr(errors, name), UserError)
