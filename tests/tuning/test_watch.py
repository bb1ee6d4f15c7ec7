"""What a study sees of a training."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest

from suguk.training.display import Status
from suguk.training.validate import Example, Validation
from suguk.tuning.watch import RUNGS, Watch, direction, value

if TYPE_CHECKING:
    from optuna.trial import Trial


class Fake:
    """A trial that is to be ended at a rung."""

    def __init__(self, end: int) -> None:
        self.end, self.reported = end, dict[int, float]()

    def report(self, score: float, step: int) -> None:
        self.reported[step] = score

    def should_prune(self) -> bool:
        return max(self.reported) >= self.end


def watch(
    end: int, *, minutes: float | None = None, reported: Sequence[int] = (), best: float | None = None
) -> tuple[Fake, Watch]:
    fake = Fake(end)
    return fake, Watch(cast("Trial", fake), minutes=minutes, epochs=8, reported=reported, best=best)


def result(score: float, loss: float = 1.0) -> Validation:
    return Validation("chrf", score, loss, 0.1, Example("a", "b", "c"))


def status(seconds: float) -> Status:
    return Status(1, 0.1, 8, 1.0, 0.1, 1.0, 0.0, seconds, 1.0)


def test_the_best_score_so_far_is_reported_at_each_eighth() -> None:
    fake, seen = watch(99)
    for epoch, score, best in ((0.5, 3, True), (1.0, 5, True), (3.5, 4, False), (8.0, 9, True)):
        seen.validation(1, epoch, result(score), best=best)
    assert {rung: round(score, 3) for rung, score in fake.reported.items()} == {
        1: 5, 2: 5, 3: 5, 4: 9, 5: 9, 6: 9, 7: 9, 8: 9
    }  # fmt: skip
    assert not seen.stop(1)


def test_what_falls_behind_is_ended_but_not_at_its_end() -> None:
    _, seen = watch(3)
    seen.validation(1, 2.0, result(1), best=True)
    assert not seen.stop(1)
    seen.validation(1, 3.0, result(1), best=False)
    assert seen.stop(1)
    _, last = watch(RUNGS)
    last.validation(1, 8.0, result(1), best=True)
    assert not last.stop(1)


def test_time_counts_where_there_is_a_share_of_it() -> None:
    fake, seen = watch(99, minutes=2.0)
    seen.update(status(61.0))
    seen.validation(1, 0.1, result(7), best=True)
    assert list(fake.reported) == [1, 2, 3, 4]


def test_a_session_goes_on_where_the_one_before_ended() -> None:
    """With the best of the saved state, which may be later than what was reported."""
    fake, seen = watch(99, reported=[1, 2], best=6.0)
    seen.validation(1, 2.9, result(1), best=False)
    assert fake.reported == {}
    seen.validation(1, 3.0, result(1), best=False)
    assert fake.reported == {3: 6.0}


def test_what_is_no_number_is_not_reported() -> None:
    fake, seen = watch(99)
    seen.validation(1, 4.0, result(math.inf), best=True)
    assert fake.reported == {}


def test_the_loss_tells_equal_scores_apart_and_no_others() -> None:
    assert value("chrf", 3.0, 1.0) > value("chrf", 3.0, 2.0) > value("chrf", 2.99, 0.0)
    assert value("ter", 3.0, 1.0) < value("ter", 3.0, 2.0)
    assert value("chrf", 3.0, None) == 3.0


@pytest.mark.parametrize(("metric", "said"), [("chrf", "maximize"), ("perplexity", "minimize")])
def test_directions(metric: str, said: str) -> None:
    assert direction(metric) == said
