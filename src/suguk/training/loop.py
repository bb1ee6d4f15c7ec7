"""The loop: updates, records, validations, saves, until the epochs, the time or the patience are used up.

All that decides what comes next stands in `Progress` and in the tensors of the saved state. So a run that was
stopped anywhere and resumed makes the same updates, on a CPU bit for bit.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from suguk.data.batch import Dataset, Rows, Sampler
from suguk.data.epochs import Epochs
from suguk.errors import ModelError, UserError
from suguk.evaluation.metrics import better
from suguk.run_directory import copy_weights, write_weights
from suguk.trained import TrainedModel
from suguk.training import checkpoint
from suguk.training.average import Average
from suguk.training.checkpoint import Best, Counts, MetricsLog, Progress, Saved
from suguk.training.clock import Clock
from suguk.training.display import Display, Status
from suguk.training.move import to_device
from suguk.training.optimise import rate
from suguk.training.update import Updater, enough_memory
from suguk.training.validate import Validation, Validator

RECORD_EVERY = 20  # updates; only then does the loop wait for the device

Stop = Callable[[int], bool]


class Loop:
    """Trains `trained.model` in place and keeps the run directory up to date."""

    def __init__(
        self,
        folder: Path,
        trained: TrainedModel,
        dataset: Dataset | Epochs,
        validator: Validator,
        display: Display,
        saved: Saved | None = None,
        *,
        started: float,
    ) -> None:
        """saved: where to go on. started: when this session began, by time.monotonic."""
        self.folder, self.trained, self.model, self.device = folder, trained, trained.model, trained.device
        self.config = config = trained.config.train
        self.epochs, self.validator, self.display = dataset, validator, display
        self.updater = Updater(self.model, config, self.device)
        self.average = Average(self.model, config.ema) if config.ema else None
        # Sums since the last record: negative log likelihood, gradient norms.
        self.running = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.progress = Progress() if saved is None else saved.progress
        self.clock = Clock(config.minutes, started, self.progress)
        batches = self.progress.batches
        self.order = self._ordered()
        if self.progress.step and batches != self.progress.batches:
            raise ModelError(
                f"expected an epoch of {batches:,} batches, as when this run was stopped, found {len(self.order):,}",
                where=checkpoint.state_path(folder),
                hint="resume with the suguk that began this run, or train anew with another --out",
            )
        self.model.train()
        if saved is not None:
            self._restore(saved)

    def _restore(self, saved: Saved) -> None:
        path = checkpoint.state_path(self.folder)
        copy_weights(saved.part("model."), self.model, path)
        if self.average is not None:
            with self.average.instead():
                copy_weights(saved.part("average."), self.model, path)
        self.updater.optimizer.restore(saved.part("optimizer."), str(path))
        self.running.copy_(saved.tensors["running"])
        checkpoint.restore_random(saved.tensors, self.device)

    def _ordered(self) -> Sequence[Rows]:
        config = self.config
        self.dataset = self.epochs.epoch(self.progress.epoch)
        sampler = Sampler(
            self.dataset.source_lengths,
            self.dataset.target_lengths,
            config.batch_tokens,
            config.seed,
            batch_sentences=config.batch_sentences,
        )
        order = sampler.epoch(self.progress.epoch)
        self.progress.batches = len(order)
        return order

    def run(self, stop: Stop) -> bool:
        """Until the end, or until stop(step), asked after every update, is true. Whether the end came."""
        self.log = MetricsLog(self.folder, self.progress.metrics_bytes)
        try:
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
        return self.clock.out(lambda: self.validator.guess_seconds(self.trained))

    def _advance(self) -> None:
        """One update and what is due after it."""
        progress, every, start = self.progress, self.config.valid_every, time.monotonic()
        before = progress.epochs
        spent = self.clock.spent()
        progress.lr = rate(
            self.config, step=progress.step + 1, epochs=before, level=progress.level, spent=spent
        )
        self._update()
        progress.step += 1
        progress.index += 1
        if self.average is not None:
            self.average.update(progress.step)
        if progress.index == len(self.order):
            progress.epoch, progress.index = progress.epoch + 1, 0
            self.order = self._ordered()
        self.clock.updated(time.monotonic() - start)
        if progress.counts.updates == RECORD_EVERY:
            self._record()
        if math.floor(progress.epochs / every + 1e-9) > math.floor(before / every + 1e-9):
            self.validate()
        elif progress.step % self.config.save_every == 0:
            self.save()

    def _update(self) -> None:
        batch = self.dataset.batch(self.order[self.progress.index])
        with enough_memory(self.config.batch_tokens):
            loss, norm = self.updater(*to_device(batch, self.device), lr=self.progress.lr)
        self.running += torch.stack([loss.nll.double(), norm.double()])
        counts = self.progress.counts
        counts.updates += 1
        counts.tokens += loss.tokens
        counts.real += int(batch.source_lengths.sum() + batch.target_lengths.sum())
        counts.padded += batch.source.size + batch.target.size

    def _record(self) -> None:
        """Read the sums off the device, write them down, begin anew."""
        progress, counts, start = self.progress, self.progress.counts, time.monotonic()
        self._check()
        nll, norms = self.running.tolist()
        counts.seconds += time.monotonic() - start  # a GPU's updates end here
        status = Status(
            step=progress.step,
            epoch=progress.epochs,
            epochs=self.config.epochs,
            loss=nll / counts.tokens,
            lr=progress.lr,
            tokens_per_second=counts.tokens / max(counts.seconds, 1e-9),
            padding=1 - counts.real / counts.padded,
            seconds=self.clock.elapsed(),
            seconds_left=self.clock.expected(self.config.epochs),
        )
        shown = ("step", "epoch", "loss", "lr", "tokens_per_second", "padding", "seconds")
        plain = {name: getattr(status, name) for name in shown}
        self.log.append({"kind": "train", **plain, "norm": norms / counts.updates})
        self.running.zero_()
        progress.counts = Counts()
        self.display.update(status)

    def _check(self) -> None:
        """UserError once the loss or a gradient is no longer a number; nothing saved so far is touched."""
        if bool(torch.isfinite(self.running).all()):
            return
        progress = self.progress
        best = progress.best
        kept = (
            "no model was kept" if best is None else f"the best model so far, of step {best.step:,}, is kept"
        )
        raise UserError(
            "training diverged: the loss or its gradient is not a number any more at step "
            f"{progress.step:,}, epoch {progress.epochs:.2f}; {kept}",
            where=self.folder,
            hint="train again with a lower train.lr, a smaller train.clip, or a warm-up "
            "(train.schedule = inverse-sqrt)",
        )

    def validate(self) -> None:
        """Score the model, keep it if it is the best, save the state."""
        progress = self.progress
        if progress.counts.updates:
            self._record()
        with nullcontext() if self.average is None else self.average.instead():
            result = self.validator(self.trained)
            progress.valid_seconds, progress.validated = result.seconds, progress.step
            best = self._rank(result)
            self._record_validation(result, best)
            # The model first: a kill between the two only repeats this validation, with the same result.
            if best:
                write_weights(self.folder, self.model)
        self.save()
        self.display.validation(progress.step, progress.epochs, result, best=best)

    def _rank(self, result: Validation) -> bool:
        """Whether this is the best so far; patience, and the decay of the plateau schedule, follow."""
        progress = self.progress
        best = self._better(result)
        if best:
            progress.best = Best(progress.step, result.score, result.loss)
        # Early outputs are noise that may score better than what follows; while the loss still falls, wait.
        improves = best or progress.lowest is None or result.loss < progress.lowest
        progress.lowest = result.loss if progress.lowest is None else min(result.loss, progress.lowest)
        progress.waits = 0 if improves else progress.waits + 1
        progress.stuck = 0 if improves else progress.stuck + 1
        if self.config.schedule == "plateau" and progress.stuck >= self.config.patience:
            progress.level, progress.stuck = progress.level + 1, 0
        return best

    def _better(self, result: Validation) -> bool:
        """By score; equal ones (0 in early training) by the lower loss; if that is equal, no."""
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
                "seconds": self.clock.elapsed(),
                "example": result.example._asdict(),
            }
        )

    def save(self) -> None:
        """Write the training state. UserError if the disk is full; the earlier state stays then."""
        self._check()
        self.log.sync()
        self.progress.elapsed, self.progress.metrics_bytes = self.clock.elapsed(), self.log.length
        state: dict[str, Tensor] = {f"model.{name}": value for name, value in self.model.named_parameters()}
        state |= {f"optimizer.{name}": value for name, value in self.updater.optimizer.tensors().items()}
        if self.average is not None:
            state |= {f"average.{name}": value for name, value in self.average.tensors().items()}
        state |= checkpoint.random_states(self.device)
        checkpoint.write_state(self.folder, self.progress, {**state, "running": self.running})
