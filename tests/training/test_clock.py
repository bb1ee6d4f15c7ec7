"""The time budget, on a clock that the test moves."""

import time

import pytest

from suguk.training.checkpoint import Best, Progress
from suguk.training.clock import Clock


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock_time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def never() -> float:
    raise AssertionError("not asked for")


def test_without_a_budget_time_never_runs_out(clock_time: Time) -> None:
    clock = Clock(None, clock_time.now, Progress())
    clock_time.now += 1e9
    assert not clock.out(never)
    assert clock.spent() == 0


def test_earlier_sessions_count(clock_time: Time) -> None:
    progress = Progress(elapsed=500.0, valid_seconds=1.0, best=Best(1, 2, 3))
    clock = Clock(10, clock_time.now - 7, progress)
    assert clock.elapsed() == 507
    assert clock.spent() == pytest.approx(507 / (600 - 1.1 - 3))  # of what is there for updates
    assert not clock.out(never)
    clock_time.now += 95
    assert clock.out(never)


def test_updates_end_while_a_validation_still_fits(clock_time: Time) -> None:
    progress = Progress(valid_seconds=20.0, best=Best(1, 2, 3))
    clock = Clock(30, clock_time.now, progress)
    while not clock.out(never):
        clock_time.now += 0.5
        clock.updated(0.5)
    assert 0.985 * 1800 < clock.elapsed() + 20 < 1800
    assert clock.spent() == pytest.approx(1, abs=1e-3)
    assert progress.counts.seconds == pytest.approx(clock.elapsed())


def test_a_first_guess_is_made_again_before_it_ends_training(clock_time: Time) -> None:
    guesses = iter([40.0, 5.0, 4.0])

    def guess() -> float:
        clock_time.now += 1
        return next(guesses)

    clock = Clock(2, clock_time.now, Progress())
    while not clock.out(guess):
        clock_time.now += 1
    assert 110 < clock.elapsed() < 117
    assert next(guesses, None) is None


def test_half_the_budget_is_for_updates(clock_time: Time) -> None:
    clock = Clock(1, clock_time.now, Progress(valid_seconds=1000.0, best=Best(1, 2, 3)))
    clock_time.now += 25
    assert not clock.out(never)
    clock_time.now += 10
    assert clock.out(never)


def test_what_is_left_to_wait(clock_time: Time) -> None:
    clock = Clock(None, clock_time.now, progress := Progress())
    clock_time.now += 30
    progress.epoch = 3
    assert clock.expected(12) == pytest.approx(90)
    assert Clock(1, clock_time.now - 30, progress).expected(12) == 30
    assert Clock(0.1, clock_time.now - 30, progress).expected(12) == 0
