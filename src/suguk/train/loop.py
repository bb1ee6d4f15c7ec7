"""The loop: updates, records, validations, saves, until the epochs, the time or the patience are used up.

All that decides what comes next stands in `Progress` and in the tensors of the saved state, so that a run that was
stopped anywhere and resumed makes the same updates, bit for bit on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from suguk.data.batch import Dataset, Sampler
from suguk.errors import UserError
from suguk.evaluate.metrics import better
from suguk.train import checkpoint
from suguk.train.checkpoint import Best, Counts, MetricsLog, Progress, Saved
from suguk.train.display import Display, Status
from suguk.train.move import to_device
from suguk.train.optimise import optimizer, rate, restore, set_rate, tensors
from suguk.train.validate import Validation, Validator
from suguk.trained import TrainedModel, copy_weights, write_weights

RECORD_EVERY = 20  # updates; only then does the loop wait for the device
SPARE = 0.005  # of the time budget, kept back for saving and the picture
STATE = "training/state.safetensors"

Stop = Callable[[int], bool]


class Loop:
    """Trains `trained.model` in place and keeps the run directory up to date."""

    def __init__(
        self,
        folder: Path,
        trained: TrainedModel,
        dataset: Dataset,
        sampler: Sampler,
        validator: Validator,
        display: Display,
        saved: Saved | None = None,
        *,
        started: float,
    ) -> None:
        """started: of this session, by time.monotonic; what came before it counts through the saved state."""
        self.folder, self.trained, self.model, self.device = folder, trained, trained.model, trained.device
        self.config = trained.config.train
        self.dataset, self.sampler, self.validator, self.display = dataset, sampler, validator, display
        self.parameters = list(self.model.parameters())
        self.optimizer = optimizer(self.config, self.parameters)
        # Sums since the last record: negative log likelihood, gradient norms.
        self.running = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.progress = Progress() if saved is None else saved.progress
        if saved is not None:
            self._restore(saved)
        self.before, self.started = self.progress.elapsed, started
        self.update_seconds = 0.0
        self.order = self._ordered()
        self.log = MetricsLog(folder, self.progress.metrics_bytes)
        if saved is None:
            self.save()

    def _restore(self, saved: Saved) -> None:
        where = self.folder / STATE
        copy_weights(saved.part("model."), self.model, where)
        restore(self.optimizer, saved.part("optimizer."), str(where))
        self.running.copy_(saved.tensors["running"])
        checkpoint.restore_random(saved.tensors, self.device)

    def run(self, stop: Stop) -> bool:
        """Train until the end, or until stop(step), asked after every update, is true. Returns whether the end came."""
        self.model.train()
        try:
            if self._budget() and self.progress.valid_seconds is None:
                self.progress.valid_seconds = self.validator.guess_seconds(self.trained)
            while not self._over():
                self._advance()
                if stop(self.progress.step):
                    self.save()
                    return False
            if self.progress.validated != self.progress.step:
                self.validate()
            return True
        finally:
            self.log.close()

    def _over(self) -> bool:
        progress, config = self.progress, self.config
        if progress.epoch >= config.epochs:
            return True
        if config.early_stopping and progress.waits >= config.early_stopping:
            return True
        return bool(self._budget()) and self.seconds_left() <= 0

    def _budget(self) -> float:
        return 60 * (self.config.minutes or 0.0)

    def seconds_left(self) -> float:
        """Of the budget, for further updates: the last validation still has to fit in."""
        reserve = SPARE * self._budget() + 1.5 * self.update_seconds
        if self.progress.validated != self.progress.step:
            reserve += 1.1 * (self.progress.valid_seconds or 0.0)
        elif self.progress.valid_seconds is not None:  # a further update makes a further validation necessary
            reserve += 1.1 * self.progress.valid_seconds
        return self._budget() - self.elapsed() - reserve

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.started

    def _ordered(self) -> Sequence[Tensor]:
        order = self.sampler.epoch(self.progress.epoch)
        self.progress.batches = len(order)
        return order

    def _advance(self) -> None:
        """One update and what is due after it."""
        progress, every, start = self.progress, self.config.valid_every, time.monotonic()
        before = progress.epochs
        lr = rate(self.config, step=progress.step + 1, epochs=before, level=progress.level)
        self._update(lr)
        progress.step += 1
        progress.index += 1
        if progress.index == len(self.order):
            progress.epoch, progress.index = progress.epoch + 1, 0
            self.order = self._ordered()
        taken = time.monotonic() - start
        progress.counts.seconds += taken
        self.update_seconds = max(taken, 0.95 * self.update_seconds)
        if progress.counts.updates == RECORD_EVERY:
            self._record(lr)
        if math.floor(progress.epochs / every + 1e-9) > math.floor(before / every + 1e-9):
            self.validate()
        elif progress.step % self.config.save_every == 0:
            self.save()

    def _update(self, lr: float) -> None:
        batch = self.dataset.batch(self.order[self.progress.index])
        set_rate(self.optimizer, lr)
        with self._autocast(), _memory(self.config.batch_tokens):
            loss = self.model.loss(
                *to_device(batch, self.device), label_smoothing=self.config.label_smoothing
            )
            (loss.total / loss.tokens).backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip or math.inf, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.running += torch.stack([loss.nll.double(), norm.double()])
        counts = self.progress.counts
        counts.updates += 1
        counts.tokens += loss.tokens
        counts.real += int(batch.source_lengths.sum() + batch.target_lengths.sum())
        counts.padded += batch.source.size + batch.target.size

    def _autocast(self) -> AbstractContextManager[object]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _record(self, lr: float) -> None:
        """Read the sums off the device, write them down, begin anew."""
        progress, counts, start = self.progress, self.progress.counts, time.monotonic()
        self._check()
        nll, norms = self.running.tolist()
        counts.seconds += time.monotonic() - start
        status = Status(
            step=progress.step,
            epoch=progress.epochs,
            epochs=self.config.epochs,
            loss=nll / counts.tokens,
            lr=lr,
            tokens_per_second=counts.tokens / max(counts.seconds, 1e-9),
            padding=1 - counts.real / counts.padded,
            seconds=self.elapsed(),
            seconds_left=self._expected(),
        )
        self.log.append(
            {
                "kind": "train",
                "step": status.step,
                "epoch": status.epoch,
                "loss": status.loss,
                "lr": status.lr,
                "norm": norms / counts.updates,
                "tokens_per_second": status.tokens_per_second,
                "padding": status.padding,
                "seconds": status.seconds,
            }
        )
        self.running.zero_()
        progress.counts = Counts()
        self.display.update(status)

    def _expected(self) -> float:
        """Seconds until the epochs or the budget are used up, whichever comes first."""
        elapsed, epochs = self.elapsed(), self.progress.epochs
        by_epochs = elapsed * (self.config.epochs - epochs) / max(epochs, 1e-9)
        return min(by_epochs, self._budget() - elapsed) if self._budget() else by_epochs

    def _check(self) -> None:
        """UserError once the loss or a gradient is no longer a number; nothing saved so far is touched."""
        if bool(torch.isfinite(self.running).all()):
            return
        progress = self.progress
        kept = "no model was kept"
        if progress.best is not None:
            kept = f"the best model so far (step {progress.best.step:,}) is kept"
        raise UserError(
            f"training diverged: the loss or its gradient is not a number any more at step {progress.step:,}, "
            f"epoch {progress.epochs:.2f}; {kept}",
            where=self.folder,
            hint="train again with a lower train.lr, a smaller train.clip or a longer warm-up (train.schedule = "
            "inverse-sqrt, train.warmup)",
        )

    def validate(self) -> None:
        """Score the model, keep it if it is the best, save the state."""
        self._check()
        progress = self.progress
        result = self.validator(self.trained)
        progress.valid_seconds, progress.validated = result.seconds, progress.step
        best = self._better(result)
        if best:
            progress.best = Best(progress.step, result.score, result.loss)
        progress.waits = 0 if best else progress.waits + 1
        progress.stuck = 0 if best else progress.stuck + 1
        if self.config.schedule == "plateau" and progress.stuck >= self.config.patience:
            progress.level, progress.stuck = progress.level + 1, 0
        self._record_validation(result, best)
        # The model first: a kill between the two only repeats this validation, with the same result.
        if best:
            write_weights(self.folder, self.model)
        self.save()
        self.display.validation(progress.step, progress.epochs, result, best=best)

    def _better(self, result: Validation) -> bool:
        """A better score, or the same with a lower loss (scores of 0 in early training); else the earlier one stays."""
        best = self.progress.best
        if best is None:
            return True
        sign = better(result.metric)
        return (sign * result.score, -result.loss) > (sign * best.score, -best.loss)

    def _record_validation(self, result: Validation, best: bool) -> None:
        self.log.append(
            {
                "kind": "valid",
                "step": self.progress.step,
                "epoch": self.progress.epochs,
                "loss": result.loss,
                "perplexity": result.perplexity,
                "metric": result.metric,
                "score": result.score,
                "best": best,
                "seconds": self.elapsed(),
                "example": result.example._asdict(),
            }
        )

    def save(self) -> None:
        """Write the training state. UserError if the disk is full; the earlier state stays."""
        self._check()
        self.log.sync()
        self.progress.elapsed, self.progress.metrics_bytes = self.elapsed(), self.log.length
        state = {f"model.{name}": value for name, value in self.model.named_parameters()}
        state |= {f"optimizer.{name}": value for name, value in tensors(self.optimizer).items()}
        state |= checkpoint.random_states(self.device)
        checkpoint.write_state(self.folder, self.progress, {**state, "running": self.running})


@contextmanager
def _memory(batch_tokens: int) -> Iterator[None]:
    """A GPU's full memory as a UserError with the cure."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {batch_tokens:,} tokens does not fit into the memory of the GPU",
            where="train.batch_tokens",
            hint=f"--set train.batch_tokens={max(batch_tokens // 2, 1)}",
        ) from None
