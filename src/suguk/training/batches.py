"""The gradient of the batches of one update, halved where the memory does not hold one.

Shapes: B rows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from suguk.data.batch import Dataset, Rows
from suguk.errors import is_full
from suguk.training.move import to_device
from suguk.training.update import Updater


class PairTooLargeError(Exception):
    """One row of a data set is more than the memory holds."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def gradient(
    updater: Updater, dataset: Dataset, batches: Sequence[Rows], parts: int, *, truth: float | None = None
) -> tuple[Tensor, int]:
    """Leave the gradient of Σ loss / parts with the weights. The sum of negative log likelihoods, and the halvings.

    batches: the rows [B] of each; parts, truth: see `Updater.gradient`. PairTooLargeError if one row is
    too much. A batch that does not fit has added to some gradients already, so then all batches begin anew.
    """
    pieces, halvings = list(batches), 0
    while True:
        nll, large = _sum(updater, dataset, pieces, parts, truth)
        if large is None:
            return nll, halvings
        updater.optimizer.forget_gradients()
        roomier = updater.make_room()
        if updater.device.type == "cuda":
            torch.cuda.empty_cache()
        if roomier:
            continue
        if len(pieces[large]) == 1:
            raise PairTooLargeError(int(pieces[large][0]))
        pieces[large : large + 1] = np.array_split(pieces[large], 2)
        halvings += 1


def _sum(
    updater: Updater, dataset: Dataset, pieces: Sequence[Rows], parts: int, truth: float | None
) -> tuple[Tensor, int | None]:
    """The sum of negative log likelihoods, and the number of a piece that did not fit."""
    nll = torch.zeros((), dtype=torch.float64, device=updater.device)
    for number, rows in enumerate(pieces):
        try:
            batch = dataset.batch(rows)
            tokens = int(batch.target_lengths.sum())
            moved = to_device(batch, updater.device)
            nll += updater.gradient(*moved, parts=parts, truth=truth, tokens=tokens).nll
        except (RuntimeError, MemoryError) as fault:
            if not is_full(fault):
                raise
            return nll, number  # out of here, as the fault holds what the batch has allocated
    return nll, None


def sizes(dataset: Dataset, rows: Rows) -> tuple[int, int, int]:
    """Of a batch: target tokens, tokens of both sides, and the same with padding."""
    source, target = dataset.source_lengths[rows], dataset.target_lengths[rows]
    tokens, widths = int(target.sum()), int(source.max() + target.max())
    return tokens, tokens + int(source.sum()), len(rows) * widths
