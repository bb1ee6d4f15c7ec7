"""One update of a model's weights, as the loop makes it and `suguk bench` measures it.

Shapes: B rows, S source length, T target length.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from suguk.config import TrainConfig
from suguk.errors import UserError
from suguk.model import Loss, Seq2Seq
from suguk.training.freeze import freeze
from suguk.training.memory import keep_freed_memory
from suguk.training.optimise import Optimizer
from suguk.training.precision import precision


class Updater:
    """A model on its device, in training mode, with the optimizer of its weights."""

    def __init__(self, model: Seq2Seq, config: TrainConfig, device: torch.device) -> None:
        """ConfigError for a precision that the device does not compute in."""
        self.model, self.config, self.device = model, config, device
        self.dtype = precision(config.precision, device)
        keep_freed_memory()
        self.parameters = freeze(model, config.freeze)
        self.optimizer = Optimizer(config, self.parameters)

    def __call__(
        self, source: Tensor, source_lengths: Tensor, target: Tensor, target_lengths: Tensor, *, lr: float
    ) -> tuple[Loss, Tensor]:
        """The loss of this batch before the update, and the norm of its gradient before clipping.

        source: [B, S], target: [B, T], lengths: [B], see `Seq2Seq.loss`. Does not wait for a GPU to be done.
        """
        config = self.config
        with self._autocast():
            loss = self.model.loss(
                source, source_lengths, target, target_lengths, label_smoothing=config.label_smoothing
            )
            parts = loss.tokens if config.loss_per == "token" else len(source)
            torch.autograd.backward(loss.total / parts)
        norm = self.optimizer.clip(config.clip or math.inf)
        self.optimizer.step(lr)
        return loss, norm

    def _autocast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)


@contextmanager
def enough_memory(batch_tokens: int) -> Iterator[None]:
    """A GPU's full memory as a UserError with the cure."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {batch_tokens:,} tokens does not fit into the memory of the GPU",
            where="train.batch_tokens",
            hint=f"--set train.batch_tokens={max(batch_tokens // 2, 1)}",
        ) from None
