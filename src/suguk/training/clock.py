"""The time budget: when to stop updates so that the last validation still fits."""

import time
from collections.abc import Callable

from suguk.training.checkpoint import Progress

SPARE = 0.005  # of the budget, for saving and the picture at the end
GUESSES = 3  # of what the first validation will take


class Clock:
    """Seconds of all sessions of a run, preparation and validations included. minutes: the budget, if any."""

    def __init__(
        self, minutes: float | None, started: float, progress: Progress, validations: int = 1
    ) -> None:
        """validations: at the end."""
        self.budget = None if minutes is None else 60 * minutes
        self.started, self.earlier, self.progress = started, progress.elapsed, progress
        self.guesses, self.validations = 0, validations
        self.slowest = 0.0  # update of late

    def elapsed(self) -> float:
        return self.earlier + time.monotonic() - self.started

    def spent(self) -> float:
        """Share of the time there is for updates; 0 without a budget."""
        return 0.0 if self.budget is None else self.elapsed() / (self.budget - self._reserve(self.budget))

    def updated(self, seconds: float) -> None:
        self.progress.counts.seconds += seconds
        self.slowest = max(seconds, 0.95 * self.slowest)

    def out(self, guess: Callable[[], float]) -> bool:
        """Whether a further update would leave too little for a validation. guess: seconds of the first one.

        A model that has learned nothing decodes to the bound, so an early guess is too high: it is made again
        before it ends the training.
        """
        if self.budget is None:
            return False
        if self.progress.valid_seconds is None and self.guesses == 0:
            self._guess(guess)
        while self._left(self.budget) <= 0:
            if self.progress.best is not None or self.guesses >= GUESSES:
                return True
            self._guess(guess)
        return False

    def _guess(self, guess: Callable[[], float]) -> None:
        self.guesses += 1
        self.progress.valid_seconds = guess()

    def _left(self, budget: float) -> float:
        # An early guess of what a validation takes is made again before it ends training: see `out`.
        return budget - self.elapsed() - self._reserve(budget, guessed=True)

    def _reserve(self, budget: float, *, guessed: bool = False) -> float:
        """Seconds that have to be left after the last update. guessed: count a validation that was only guessed at."""
        seconds = self.progress.valid_seconds if guessed or self.progress.best is not None else None
        # Half the budget is for updates, whatever a validation takes: there must be something to validate.
        validation = min(1.1 * self.validations * (seconds or 0.0), budget / 2)
        return validation + min(1.5 * self.slowest, budget / 4) + SPARE * budget

    def expected(self, epochs: int) -> float:
        """Seconds until the epochs or the budget are used up, whichever comes first."""
        elapsed, done = self.elapsed(), self.progress.epochs
        by_epochs = elapsed * (epochs - done) / max(done, 1e-9)
        return by_epochs if self.budget is None else max(min(by_epochs, self.budget - elapsed), 0.0)
