"""What a study sees of a training, and how it ends one that is worse than the others were at that point."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from suguk.evaluation.metrics import better
from suguk.training.display import Status
from suguk.training.validate import Validation

if TYPE_CHECKING:
    from optuna.trial import Trial

RUNGS = 8  # points of a training at which it is compared
TIE = 1e-6  # points of a score that a nat of loss is worth: it tells equal scores apart, as in training


class Watch:
    """A `Display` that reports the best score so far at each eighth of a training; `stop` is for the loop."""

    def __init__(
        self,
        trial: "Trial",
        *,
        minutes: float | None,
        epochs: int,
        reported: Collection[int] = (),
        best: float | None = None,
    ) -> None:
        """minutes, epochs: what ends the training; reported, best: eighths and value of earlier sessions."""
        self.trial, self.minutes, self.epochs = trial, minutes, epochs
        self.rung, self.seconds = max(reported, default=0), 0.0
        self.best = best
        self.pruned = False

    def stop(self, step: int) -> bool:
        del step
        return self.pruned

    def note(self, text: str) -> None:
        del text

    def update(self, status: Status) -> None:
        self.seconds = status.seconds

    def validation(self, step: int, epoch: float, result: Validation, *, best: bool) -> None:
        del step
        if best or self.best is None:
            self.best = value(result.metric, result.score, result.loss)
        done = epoch / self.epochs
        if self.minutes is not None:
            done = max(done, self.seconds / (60 * self.minutes))
        reached = min(math.floor(RUNGS * done + 1e-9), RUNGS)
        if reached <= self.rung or not math.isfinite(self.best):
            return
        for rung in range(self.rung + 1, reached + 1):
            self.trial.report(self.best, rung)
        self.rung = reached
        self.pruned = reached < RUNGS and self.trial.should_prune()

    def close(self) -> None:
        pass


def value(metric: str, score: float, loss: float | None) -> float:
    """What trials are compared by."""
    return score if loss is None else score - better(metric) * TIE * loss


def direction(metric: str) -> Literal["maximize", "minimize"]:
    """In Optuna's words."""
    return "maximize" if better(metric) > 0 else "minimize"
