"""What search knows of a model: `Stepper`. A trained model, an ensemble and a test double satisfy it.

Shapes: B rows (sources), Q hypotheses of a row, V vocabulary.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

State = Any  # any pytree of tensors [B, Q, …]
Memory = Any  # any pytree of tensors; search only hands it on


class Stepper(Protocol):
    """One step of decoding."""

    def start(self, memory: Memory) -> State:
        """The state before the first word, with Q = 1."""
        ...

    def step(self, token: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """token: [B, Q], the previous words. Returns log probabilities [B, Q, V] and the new state."""
        ...


def select(state: State, rows: Tensor) -> State:
    """Hypothesis rows[b, k] of each row b. state: tensors [B, Q, …]; rows: [B, K] → tensors [B, K, …]."""

    def pick(part: Tensor) -> Tensor:
        index = rows.reshape(rows.shape + (1,) * (part.dim() - 2))
        return part.gather(1, index.expand(rows.shape + part.shape[2:]))

    return pytree.tree_map(pick, state)


def spread(state: State, like: Tensor) -> State:
    """The one hypothesis of each row, as many times as `like` [B, K] has columns."""
    return select(state, torch.zeros_like(like, dtype=torch.long))
