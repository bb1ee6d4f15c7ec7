"""What to say once training has diverged: from which update on, and on which pairs."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from suguk.data.batch import Rows
from suguk.errors import UserError
from suguk.training.checkpoint import Progress

SHOWN = 12  # lines of the data that are named

Place = Callable[[int], tuple[str, int]]  # file and line of a pair


class Recent(NamedTuple):
    """An update whose figures have not been read off the device yet."""

    step: int
    epochs: float  # done with it
    batches: Sequence[Rows]  # which pairs of the data
    both: Tensor  # [2]: negative log likelihood, norm of the gradient


def infinite(parameters: Iterable[Tensor]) -> bool:
    """Whether a weight is infinite or not a number; waits for the device once."""
    return not bool(torch.stack([torch.isfinite(one.detach()).all() for one in parameters]).all())


def diverged(folder: Path, progress: Progress, recent: Sequence[Recent], place: Place) -> UserError:
    """recent: all updates since figures were last read and good, the latest one last.

    The first of them with a bad figure is named; where all are good the weights are not, since the latest one.
    """
    bad = [(update, both) for update in recent if not all(both := torch.isfinite(update.both).tolist())]
    what, found = "the weights are", recent[-1] if recent else None
    if bad:
        found, (loss, _) = bad[0]
        what = "the gradient is" if loss else "the loss is"
    step, epochs = (progress.step, progress.epochs) if found is None else (found.step, found.epochs)
    best = progress.best
    kept = "no model was kept" if best is None else f"the best model so far, of step {best.step:,}, is kept"
    of = "" if found is None else f"; the pairs of that update: {_lines(found.batches, place)}"
    return UserError(
        f"training diverged: {what} not finite any more at step {step:,}, epoch {epochs:.2f}; {kept}{of}",
        where=folder,
        hint="train again with a lower train.lr, a smaller train.clip, or a warm-up (train.schedule = inverse-sqrt); "
        "if it is always the same pairs, look at them",
    )


def _lines(batches: Sequence[Rows], place: Place) -> str:
    """`pairs.tsv, lines 3, 17, 40`."""
    found: dict[str, set[int]] = {}
    for rows in batches:
        for row in rows:
            path, line = place(int(row))
            found.setdefault(path, set()).add(line)
    return "; ".join(f"{path}, lines {_few(sorted(lines))}" for path, lines in found.items())


def _few(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return ", ".join(map(str, lines[:SHOWN])) + more
