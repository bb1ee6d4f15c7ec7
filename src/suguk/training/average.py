"""Exponential moving average of the weights (Polyak and Juditsky 1992; with the start of Kingma and Ba 2015, §7.2).

    θ̄ = Σ_i β^(t−i) θ_i / Σ_i β^(t−i)

Noise of single updates cancels in θ̄, much as if the learning rate had been lowered, while θ goes on at full rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EVERY = 8  # updates between two θ_i: reading all weights at every one would cost a few hundredths of its time


class Average:
    """θ̄ of a model's parameters."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """decay: β of one update, in (0, 1)."""
        self.decay = decay
        self.parameters = list(model.named_parameters())
        self.values = [parameter.detach().clone() for _, parameter in self.parameters]

    def update(self, step: int) -> None:
        """To be called after every update; step: updates so far. A function of the weights and of step alone."""
        if step > EVERY and step % EVERY:
            return
        share = 1.0 if step <= EVERY else (1 - self.decay**EVERY) / (1 - self.decay**step)
        weights = [parameter.detach() for _, parameter in self.parameters]
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
        for i, (_, parameter) in enumerate(self.parameters):
            parameter.data, self.values[i] = self.values[i], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """By the parameters' names."""
        return {name: value for (name, _), value in zip(self.parameters, self.values, strict=True)}
