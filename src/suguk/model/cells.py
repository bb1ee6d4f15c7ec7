"""Cells and stacks of them. The algebra is in `kernels`; here are the parameters and what lies between layers.

Shapes: B batch, T steps, I input, H hidden, G gates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suguk.kernels import fast, steps
from suguk.kernels.dropout import scales
from suguk.kernels.reference import GATES, CellState, Weights
from suguk.model.dropout import Dropout


class Given(NamedTuple):
    """Of a cell's step, what was computed for all steps together, and the weights of the rest: see `Cell.project`."""

    projected: Tensor  # [..., G]
    weights: Weights


class Habits(NamedTuple):
    """What all cells of a model do beside the recurrence itself."""

    # Share of the recurrent weights that are zero, drawn once a sequence in training (Merity et al. 2018, §2): the
    # state is never touched, so whole sequences stay one call.
    recurrent_dropout: float = 0.0


PLAIN = Habits()


class Cell(nn.Module):
    """One recurrent layer in one direction. Parameters have PyTorch's names, shapes and gate order."""

    def __init__(self, *, kind: str, inputs: int, hidden: int, habits: Habits = PLAIN) -> None:
        super().__init__()
        gates = GATES[kind] * hidden
        self.kind, self.hidden, self.habits = kind, hidden, habits
        self.weight_ih = nn.Parameter(torch.empty(gates, inputs))
        self.weight_hh = nn.Parameter(torch.empty(gates, hidden))
        self.bias_ih = nn.Parameter(torch.zeros(gates))
        self.bias_hh = nn.Parameter(torch.zeros(gates))

    @property
    def weights(self) -> Weights:
        hh: Tensor = self.weight_hh
        if self.training and self.habits.recurrent_dropout:
            hh = steps.held("recurrent dropout", self, self._dropped)
        return Weights(self.weight_ih, hh, self.bias_ih, self.bias_hh)

    def _dropped(self) -> Tensor:
        return self.weight_hh * scales(self.weight_hh.detach(), self.habits.recurrent_dropout)

    def initial(self, like: Tensor, batch: int) -> CellState:
        """Zeros, each [B, H], of `like`'s type and device."""
        parts = 2 if self.kind == "lstm" else 1
        return tuple(like.new_zeros(batch, self.hidden) for _ in range(parts))

    def forward(
        self, inputs: Tensor | None, state: CellState, given: Given | None = None
    ) -> tuple[Tensor, CellState]:
        """One step. inputs: [..., I], or what of it is not in `given`; state: each [..., H]. Returns (h, new state)."""
        projected, weights = (None, self.weights) if given is None else given
        new = steps.cell(self.kind, projected, inputs, state, weights)
        return new[0], new

    def project(self, inputs: Tensor) -> tuple[Tensor, Weights]:
        """What the first columns of W_ih make of inputs known for all steps, [B, T, G]; the other weights."""
        known, rest = torch.split(
            self.weight_ih, [inputs.shape[-1], self.weight_ih.shape[1] - inputs.shape[-1]], dim=1
        )
        return F.linear(inputs, known, self.bias_ih), self.weights._replace(ih=rest)

    def sequence(
        self, inputs: Tensor, mask: Tensor | None, state: CellState, *, reverse: bool = False
    ) -> tuple[Tensor, CellState]:
        """All steps at once: see `kernels.reference.sequence`. inputs: [B, T, I] → [B, T, H], last state."""
        return fast.sequence(self.kind, inputs, mask, state, self.weights, reverse=reverse)


class Stack(nn.Module):
    """Layers of one-directional cells: dropout on what enters every layer but the first, residual connections."""

    def __init__(
        self,
        *,
        kind: str,
        inputs: int,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        variational: bool = False,
        residual: bool = False,
        habits: Habits = PLAIN,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(
            Cell(kind=kind, inputs=size, hidden=hidden, habits=habits) for size in sizes
        )
        self.dropouts = nn.ModuleList(Dropout(dropout, variational=variational) for _ in sizes[1:])
        self.residual = residual

    @property
    def first(self) -> Cell:
        cell = self.layers[0]
        assert isinstance(cell, Cell)
        return cell

    def forward(
        self, inputs: Tensor | None, states: Sequence[CellState], given: Given | None = None
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        """One step through all layers. inputs, given: the first layer's. Returns [..., H], each layer's new state."""
        return self._through(inputs, states, given, whole=False)

    def sequence(self, inputs: Tensor, states: Sequence[CellState]) -> tuple[Tensor, tuple[CellState, ...]]:
        """All steps of all layers. inputs: [B, T, I] → [B, T, H] and each layer's last state."""
        return self._through(inputs, states, None, whole=True)

    def _through(
        self, inputs: Tensor | None, states: Sequence[CellState], given: Given | None, *, whole: bool
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        x: Tensor | None = inputs
        last: list[CellState] = []
        for layer, state in zip(self.layers, states, strict=True):
            below = x if x is None or not last else self.dropouts[len(last) - 1](x)
            if whole:
                x, new = layer.sequence(below, None, state)  # type: ignore[operator]
            else:
                x, new = layer(below, state, None if last else given)
            assert x is not None
            if self.residual and last and below is not None:
                x = x + below
            last.append(new)
        assert x is not None
        return x, tuple(last)
