"""One update of a model's weights, as the loop makes it and `suguk bench` measures it.

Shapes: B rows, S source length, T target length.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from suguk.config import TrainConfig
from suguk.errors import UserError, is_full
from suguk.model import Loss, Seq2Seq
from suguk.model.cells import Cell
from suguk.model.replay import Replay
from suguk.training.freeze import freeze
from suguk.training.memory import keep_freed_memory
from suguk.training.optimise import Optimizer
from suguk.training.precision import precision


class Updater:
    """A model on its device, in training mode, with the optimizer of its weights."""

    def __init__(self, model: Seq2Seq, config: TrainConfig, device: torch.device) -> None:
        """ConfigError for a precision that the device does not compute in."""
        self.model, self.config, self.device = model, config, device
        if device.type == "cuda":
            torch.cuda.set_device(device)  # recordings and events are made on the current one
        self.dtype = precision(config.precision, device)
        keep_freed_memory(sparing=config.recompute)
        self.parameters = freeze(model, config.freeze)
        for module in model.modules():
            if isinstance(module, Cell):
                module.recompute = config.recompute
        if config.cuda_graphs and device.type == "cuda":
            model.decoder.replay = Replay(model.decoder)
        self.optimizer = Optimizer(config, self.parameters)

    def __call__(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        target_lengths: Tensor,
        copies: Tensor | None = None,
        *,
        lr: float,
        tokens: int | None = None,
    ) -> tuple[Loss, Tensor]:
        """The loss of this batch before the update, and the norm of its gradient before clipping.

        source, copies: [B, S], target: [B, T], lengths: [B], tokens: see `gradient`.
        """
        loss = self.gradient(source, source_lengths, target, target_lengths, copies, tokens=tokens)
        return loss, self.step(lr)

    def gradient(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        target_lengths: Tensor,
        copies: Tensor | None = None,
        *,
        parts: int | None = None,
        truth: float | None = None,
        tokens: int | None = None,
    ) -> Loss:
        """Add the gradient of this batch's loss / parts to that of the weights; the loss.

        parts: tokens or sentences (train.loss_per) of all batches of the update; None: of this one. truth, tokens:
        see `Seq2Seq.loss`; without `tokens` a GPU is waited for, once.
        """
        config = self.config
        with self._autocast():
            loss = self.model.loss(
                source,
                source_lengths,
                target,
                target_lengths,
                copies,
                label_smoothing=config.label_smoothing,
                coverage_loss=config.coverage_loss,
                truth=truth,
                tokens=tokens,
            )
            if parts is None:
                parts = loss.tokens if config.loss_per == "token" else len(source)
            torch.autograd.backward(loss.total / parts)
        return loss

    def step(self, lr: float) -> Tensor:
        """Update the weights by the gradient, and drop it; its norm before clipping."""
        norm = self.optimizer.clip(self.config.clip or math.inf)
        self.optimizer.step(lr)
        return norm

    def make_room(self) -> bool:
        """Give up recorded loops, whose memory may be what is missing, and make no more; False: there are none."""
        replay = self.model.decoder.replay
        return replay is not None and replay.forget()

    def end(self) -> None:
        """The model as it is without training."""
        replay, self.model.decoder.replay = self.model.decoder.replay, None
        if replay is not None:
            replay.end()

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)


@contextmanager
def enough_memory(batch_tokens: int) -> Iterator[None]:
    """A full memory as a UserError with the cure."""
    try:
        yield
    except (RuntimeError, MemoryError) as fault:
        if not is_full(fault):
            raise
        owner = "the GPU" if isinstance(fault, torch.OutOfMemoryError) else "this machine"
        raise UserError(
            f"a batch of {batch_tokens:,} tokens does not fit into the memory of {owner}",
            where="train.batch_tokens",
            hint=f"train anew with --set train.batch_tokens={max(batch_tokens // 2, 1)}, or go on with --resume and "
            "--set train.recompute=true",
        ) from None
