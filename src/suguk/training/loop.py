"""The loop: updates, records, validations, saves, until the epochs, the time or the patience are used up.

All that decides what comes next stands in `Progress` and in the tensors of the saved state. So a run that was
stopped anywhere and resumed makes the same updates, on a CPU bit for bit.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suguk.data.batch import Dataset, Rows, Sampler
from suguk.data.epochs import Epochs
from suguk.errors import ModelError, UserError
from suguk.evaluation.metrics import better
from suguk.run_directory import copy_weights, write_weights
from suguk.trained import TrainedModel
from suguk.training import checkpoint
from suguk.training.average import Average, due
from suguk.training.batches import PairTooLargeError, gradient, sizes
from suguk.training.checkpoint import Best, Counts, MetricsLog, Progress, Saved
from suguk.training.clock import Clock
from suguk.training.display import Display, Status
from suguk.training.diverged import Place, Recent, diverged, infinite
from suguk.training.last import Last
from suguk.training.optimise import rate, truth
from suguk.training.processes import Team
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
        place: Place,
        team: Team,
        fine_tuning: bool = False,
    ) -> None:
        """saved: where to go on. started: when this session began, by time.monotonic. place: of a pair in its file.

        fine_tuning: the model is another run's, so it is scored as it is first, and is kept if nothing is better.
        """
        self.folder, self.trained, self.model, self.device = folder, trained, trained.model, trained.device
        self.config = config = trained.config.train
        self.epochs, self.validator, self.display, self.place = dataset, validator, display, place
        self.team, self.fine_tuning = team, fine_tuning
        self.updater = Updater(self.model, config, self.device)
        self.average = Average(self.model, config.ema) if config.ema else None
        self.last = Last(folder, self.model, config.average_last) if config.average_last else None
        # Sums since the last record: negative log likelihood, gradient norms.
        self.running = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.recent: list[Recent] = []  # updates since the last record
        self.told = False  # that batches are halved
        self.limit = ""  # the setting that ended the training
        self.progress = Progress() if saved is None else saved.progress
        self.clock = Clock(config.minutes, started, self.progress, 1 if self.last is None else 2)
        batches = self.progress.batches
        self.order = self._ordered()
        if self.progress.index and batches != self.progress.batches:
            raise ModelError(
                f"expected an epoch of {batches:,} batches, as when this run was stopped, found {len(self.order):,}",
                where=checkpoint.state_path(folder),
                hint="resume with the suguk that began this run, or train anew with another --out",
            )
        step = int(team.asked(lambda: self.progress.step))
        if step != self.progress.step:
            raise ModelError(
                f"expected the state of step {step:,}, which the first process has, found {self.progress.step:,}",
                where=checkpoint.state_path(folder),
                hint="the run directory must be on a disk that all machines share",
            )
        self.model.train()
        if saved is not None:
            self._restore(saved)
        team.copy(list(self.model.parameters()))  # frozen ones too: only the first process may have read them

    def _restore(self, saved: Saved) -> None:
        path = checkpoint.state_path(self.folder)
        copy_weights(saved.part("model."), self.model, path)
        if self.average is not None:
            with self.average.instead():
                copy_weights(saved.part("average."), self.model, path)
        self.updater.optimizer.restore(saved.part("optimizer."), str(path))
        self.running.copy_(saved.tensors["running"])
        own = saved.tensors if self.team.first else saved.part(f"rank.{self.team.rank}.")
        if own:  # else this process is new
            checkpoint.restore_random(own, self.device)

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
        self.log = MetricsLog(self.folder, self.progress.metrics_bytes) if self.team.first else None
        try:
            if self.progress.step == 0 and self.progress.validated < 0:
                self.save()  # there is a state to go on from before there is any model
            if self.fine_tuning and self.progress.validated < 0:
                self.display.note("the model that this run starts from:")
                self.validate()
            while not (limit := self._reached()):
                self._advance()
                if self.team.any(stop(self.progress.step)):
                    self.save()
                    self.team.wait()  # what was written may be read now
                    return False
            if self.progress.validated != self.progress.step:
                self.validate()
            if self.last is not None and self.progress.averaged != self.progress.step:
                if self.progress.kept:
                    self._validate_average(self.last)
                else:
                    self.display.note("no average: nothing was validated since train.average_last was set")
            self.team.wait()
            self.limit = limit
            return True
        finally:
            self.updater.end()
            if self.log is not None:
                self.log.close()

    def _reached(self) -> str:
        """The setting by which training is over; none, and it goes on."""
        progress, config = self.progress, self.config
        if progress.epoch >= config.epochs:
            return "epochs"
        if config.early_stopping and progress.waits >= config.early_stopping:
            return "early_stopping"
        if config.minutes is None:
            return ""
        out = self.clock.out
        late = self.team.asked(lambda: out(lambda: self.validator.guess_seconds(self.trained)))
        return "minutes" if late else ""

    def _advance(self) -> None:
        """One update and what is due after it."""
        progress, every, start = self.progress, self.config.valid_every, time.monotonic()
        before = progress.epochs
        spent = 0.0 if self.config.minutes is None else self.team.asked(self.clock.spent)
        progress.lr = rate(
            self.config, step=progress.step + 1, epochs=before, level=progress.level, spent=spent
        )
        self._update()
        progress.step += 1
        if self.average is not None and due(progress.step):
            self.average.update(progress.step, progress.validated)
        self.clock.updated(time.monotonic() - start)
        if progress.index == len(self.order):
            progress.epoch, progress.index = progress.epoch + 1, 0
            if progress.epoch < self.config.epochs:
                del self.dataset  # the next one may be as large
                self.order = self._ordered()
        if progress.counts.updates == RECORD_EVERY:
            self._record()
        if math.floor(progress.epochs / every + 1e-9) > math.floor(before / every + 1e-9):
            self.validate()
        elif progress.step % self.config.save_every == 0:
            self.save()

    def _update(self) -> None:
        """One update by the next batches of this epoch: train.accumulate for each process, or those left."""
        progress, config, counts = self.progress, self.config, self.progress.counts
        end = progress.index + config.accumulate * self.team.world
        batches = self.order[progress.index : end]
        tokens, real, padded = np.sum([sizes(self.dataset, rows) for rows in batches], axis=0).tolist()
        parts = tokens if config.loss_per == "token" else sum(map(len, batches))
        with enough_memory(config.batch_tokens):
            nll, halved = self._gradient(self.team.mine(batches), parts)
            nll = self.team.add_up(self.updater.parameters, nll)
            norm = self.updater.step(progress.lr)
        progress.index += len(batches)
        both = torch.stack([nll, norm.double()])
        self.running += both
        pairs = [self.dataset.pairs(rows) for rows in batches]
        self.recent.append(Recent(progress.step + 1, progress.epochs, pairs, both))
        counts.updates += 1
        counts.tokens += tokens
        counts.real += real
        counts.padded += padded
        counts.halved += halved

    def _gradient(self, batches: Sequence[Rows], parts: int) -> tuple[Tensor, int]:
        fed = truth(self.config, self.progress.step)
        try:
            return gradient(self.updater, self.dataset, batches, parts, truth=fed)
        except PairTooLargeError as fault:
            (pair,) = self.dataset.pairs(np.array([fault.row]))
            path, line = self.place(int(pair))
        raise UserError(
            "this pair alone does not fit into the memory",
            where=f"{path}:{line}",
            hint="leave it out (data.max_length, and --skip-bad), train a smaller model, or --set train.recompute=true",
        )

    def _record(self) -> None:
        """Read the sums off the device, write them down, begin anew."""
        progress, counts, start = self.progress, self.progress.counts, time.monotonic()
        self._check(weights=False)
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
        record: dict[str, Any] = {"kind": "train", **plain, "norm": norms / counts.updates}
        halved = int(self.team.total(counts.halved))
        if halved:
            record["halved"] = halved
            self._tell_halved()
        self._log(record)
        self.running.zero_()
        self.recent.clear()
        progress.counts = Counts()
        self.display.update(status)

    def _tell_halved(self) -> None:
        if self.told:
            return
        self.told = True
        self.display.note(
            "batches that do not fit into memory are computed in halves, which takes longer; "
            "--set train.recompute=true takes less memory, from a --resume on too; "
            f"a new training with --set train.batch_tokens={max(self.config.batch_tokens // 2, 1)} would avoid it"
        )

    def _log(self, record: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.append(record)

    def _check(self, *, weights: bool) -> None:
        """UserError once the loss, a gradient or (if asked) a weight is not finite; nothing saved so far is touched."""
        if bool(torch.isfinite(self.running).all()) and not (weights and infinite(self.updater.parameters)):
            return
        raise diverged(self.folder, self.progress, self.recent, self.place)

    def validate(self) -> None:
        """Score the model, keep it if it is the best, save the state."""
        progress = self.progress
        self._check(weights=True)
        if progress.counts.updates:
            self._record()
        if self.average is not None and not due(progress.step):
            self.average.update(progress.step, progress.validated)
        with nullcontext() if self.average is None else self.average.instead():
            result = self._validation()
            progress.valid_seconds, progress.validated = result.seconds, progress.step
            best = self._rank(result)
            self._record_validation(result, best)
            # The model first: a kill between the two only repeats this validation, with the same result.
            if best and self.team.first:
                write_weights(self.folder, self.model)
        if self.last is None:
            progress.kept = []  # should averaging be switched on again, these are not the last ones
        elif progress.step:
            self._keep(self.last)
        self.save()
        if self.last is not None and self.team.first:
            self.last.forget(progress.kept)
        self.display.validation(progress.step, progress.epochs, result, best=best)

    def _keep(self, last: Last) -> None:
        """These weights among the last ones. The state that says so is saved before older ones are removed."""
        if self.team.first:
            last.keep(self.progress.step)
        self.progress.kept = [*self.progress.kept, self.progress.step][-last.most :]

    def _validate_average(self, last: Last) -> None:
        """The average of the last validations' weights, kept if it is the best so far."""
        progress = self.progress
        steps = progress.kept[-last.most :]
        with last.instead(steps) if self.team.first else nullcontext():
            result = self._validation()
            best = self._better(result)
            if best:
                progress.best = Best(progress.step, result.score, result.loss)
            self._record_validation(result, best, averaged=len(steps))
            if best and self.team.first:
                write_weights(self.folder, self.model)
        progress.averaged = progress.step
        self.save()
        self.display.note(f"the average of the weights of the last {len(steps)} validations:")
        self.display.validation(progress.step, progress.epochs, result, best=best)

    def _validation(self) -> Validation:
        """By the first process; the others wait for it."""
        if self.team.world == 1:
            return self.validator(self.trained)
        return Validation.parse(self.team.told(lambda: self.validator(self.trained).text()))

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

    def _record_validation(self, result: Validation, best: bool, averaged: int = 0) -> None:
        """averaged: the validations whose average this is of, if it is one."""
        self._log(
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
                **({"averaged": averaged} if averaged else {}),
            }
        )

    def save(self) -> None:
        """Write the training state. UserError if the disk is full; the earlier state stays then."""
        self._check(weights=True)
        states = self.team.everybody(checkpoint.random_states(self.device))
        if self.log is None:
            return
        self.log.sync()
        self.progress.elapsed, self.progress.metrics_bytes = self.clock.elapsed(), self.log.length
        state: dict[str, Tensor] = {f"model.{name}": value for name, value in self.model.named_parameters()}
        state |= {f"optimizer.{name}": value for name, value in self.updater.optimizer.tensors().items()}
        if self.average is not None:
            state |= {f"average.{name}": value for name, value in self.average.tensors().items()}
        checkpoint.write_state(self.folder, self.progress, {**state, **states, "running": self.running})
