"""Processes: order, bounds, faults, and workers that are ended from outside."""

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import suguk
from suguk.corpus import map_lines, predict_table
from suguk.corpus.workers import Told, answers
from suguk.errors import UserError
from tests.corpus.tables import OPTIONS, KillsWorkers, contents, sources, work_of


@dataclass(frozen=True)
class Squares:
    """Squares a number, slowest for the first; refuses 13 and fails at 17."""

    def name(self, task: int) -> str:
        return f"number {task}"

    def open(self) -> Callable[[int], int]:
        import time

        def square(task: int) -> int:
            time.sleep(0.2 if task == 0 else 0)
            if task == 13:
                raise UserError("unlucky", where="thirteen", hint="take fourteen")
            return 1 // (task - 17) * 0 + task * task

        return square


def test_answers_come_in_order_and_tasks_are_not_read_far_ahead() -> None:
    read = []

    def tasks() -> Iterator[int]:
        for task in range(11):
            read.append(task)
            yield task

    found = answers(Squares(), tasks(), 2, ahead=5)
    assert next(found) == 0
    assert len(read) <= 5
    assert list(found) == [task * task for task in range(1, 11)]
    assert multiprocessing.active_children() == []
    assert list(answers(Squares(), [], 2)) == []


def test_what_a_worker_raises_is_raised_here() -> None:
    with pytest.raises(UserError, match="thirteen: unlucky\n  hint: take fourteen"):
        list(answers(Squares(), [12, 13], 1))
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as raised:
        list(answers(Squares(), [17], 1))
    assert "in square" in raised.value.__notes__[0]
    assert multiprocessing.active_children() == []


def test_a_fault_is_told_with_its_place() -> None:
    fault = UserError("no", where="a", hint="yes")
    fault.add_note("part 3")
    assert str(Told.of(fault).error()) == "part 3: no\n  hint: yes"
    assert "same extras" in str(Told.of(ModuleNotFoundError("No module named 'x'")).error())


def test_a_worker_that_is_killed_is_replaced(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "marks").mkdir()
    work = work_of(model, data, tmp_path / "out")
    assert list(answers(KillsWorkers(work, tmp_path / "marks"), range(5), 2)) == [5, 5, 5, 5, 3]
    place = f"part-00002.parquet, rows 11 to 15 of {data}"
    assert capfd.readouterr().err == f"a worker was ended by SIGKILL; done again: {place}\n"
    predict_table(str(model), [str(data)], tmp_path / "whole", options=OPTIONS, rows=5, workers=1, quiet=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_task_whose_workers_are_killed_again_ends_the_job(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    work = work_of(model, data, tmp_path / "out")
    with pytest.raises(
        UserError, match=r"part-00002.*2 workers were ended at it, the last by SIGKILL\n.*memory"
    ):
        list(answers(KillsWorkers(work, tmp_path / "marks", times=2), [0, 2], 1))
    assert list(contents(tmp_path / "out")) == ["part-00000.parquet"]
    assert multiprocessing.active_children() == []


def test_lines_are_answered_in_order_whatever_the_workers(model: Path) -> None:
    lines, read = sources(199), []

    def incoming() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    found = map_lines(str(model), incoming(), OPTIONS, 2)
    first = next(found)
    rest = list(found)
    expected = suguk.load(model).predict(lines, OPTIONS)
    assert [one.output for one in (first, *rest)] == [one.output for one in expected]
    assert [one.source for one in (first, *rest)] == lines
    assert [one.n_best for one in rest[:3]] == [one.n_best for one in expected[1:4]]
    assert first.attention is None
    with_attention = next(iter(map_lines(str(model), ["a b"], OPTIONS, 1, attention=True)))
    assert with_attention.attention is not None


def test_workers_end_when_nobody_wants_more_answers(model: Path) -> None:
    found = map_lines(str(model), sources(499), OPTIONS, 2)
    next(found)
    assert len(multiprocessing.active_children()) == 2
    found.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_worker(model: Path, data: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(UserError, match=f"expected at least one worker, found {count}"):
        predict_table(str(model), [str(data)], tmp_path / "out", options=OPTIONS, workers=count)
    with pytest.raises(UserError, match="expected at least one worker"):
        next(map_lines(str(model), ["a"], OPTIONS, count))
