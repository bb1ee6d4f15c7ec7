"""A moving average of the weights (Polyak and Juditsky 1992).

With θ_n the weights at every eighth update:

    θ̄_n = (1 − s_n) θ̄_{n−1} + s_n θ_n,    s_n = max(4 / (n + 3), 1 − β^8)

A validation in between asks for θ̄ of now: with g updates since the last time, s = max(4 (g/8) / (n + 3), 1 − β^g).

At first polynomial-decay averaging (Shamir and Zhang 2013; η = 3): the mean age of what is in θ̄ is a fifth of the
training so far, however long that is, so the beginning is forgotten. From about 4 / (1 − β) updates on an exponential
average, of mean age 1 / (1 − β). Noise of single updates cancels in θ̄, much as if the learning rate had been lowered,
while θ goes on at full rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EVERY = 8  # updates: reading all weights after every one would cost a few hundredths of its time
ETA = 3


def due(step: int) -> bool:
    """Whether the average takes in the weights after so many updates; before the eighth it is they themselves."""
    return step <= EVERY or step % EVERY == 0


class Average:
    """θ̄ of a model's parameters."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """decay: β, of one update, in (0, 1)."""
        self.decay = decay
        self.named = list(model.named_parameters())
        self.values = [parameter.detach().clone() for _, parameter in self.named]

    def update(self, step: int, validated: int = -1) -> None:
        """Take in the weights of now: at every step that is `due`, and before a validation.

        step: updates so far; validated: at the last validation. A function of the weights and of these two alone.
        """
        gap = step - max((step - 1) // EVERY * EVERY, validated)
        part = (ETA + 1) * gap / EVERY / (step / EVERY + ETA)
        share = 1.0 if step <= EVERY else max(part, 1 - self.decay**gap)
        weights = [parameter.detach() for _, parameter in self.named]
        torch._foreach_lerp_(self.values, weights, share)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for i, (_, parameter) in enumerate(self.named):
            parameter.data, self.values[i] = self.values[i], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """By the parameters' names."""
        return {name: value for (name, _), value in zip(self.named, self.values, strict=True)}
