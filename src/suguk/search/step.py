"""What search knows of a model: `Stepper`. A trained model, an ensemble and a test double satisfy it.

Shapes: B rows (sources), S source length, Q hypotheses of a row, K chosen ones, V vocabulary.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

State = Any  # any pytree of tensors [B, Q, …]
Memory = Any  # any pytree of tensors [B, …]; search only hands it on, or some rows of it


class Stepper(Protocol):
    """One step of decoding."""

    def start(self, memory: Memory) -> State:
        """The state before the first word, with Q = 1."""
        ...

    def step(self, token: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """token: [B, Q], the previous words.

        Returns log probabilities [B, Q, V], the new state and the attention weights [B, Q, S] (zero without attention).
        """
        ...


def select(state: State, rows: Tensor) -> State:
    """Hypothesis rows[b, k] of each row b. state: tensors [B, Q, …]; rows: [B, K] → tensors [B, K, …]."""
    parts, form = pytree.tree_flatten(state)
    # One index into all hypotheses laid out flat: they are copied whole, not value by value.
    index = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1) * parts[0].shape[1] + rows
    return pytree.tree_unflatten([part.flatten(0, 1)[index] for part in parts], form)


def spread(state: State, like: Tensor) -> State:
    """The one hypothesis of each row, as many times as `like` [B, K] has columns."""
    return select(state, torch.zeros_like(like, dtype=torch.long))
