"""Cells and stacks of them. The algebra is in `kernels`; here are the parameters and what lies between layers.

Shapes: B batch, T steps, I input, H hidden, G gates.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suguk.kernels import fast, reference
from suguk.kernels.reference import GATES, CellState, Weights


class Cell(nn.Module):
    """One recurrent layer in one direction. Parameters have PyTorch's names, shapes and gate order."""

    def __init__(self, *, kind: str, inputs: int, hidden: int) -> None:
        super().__init__()
        gates = GATES[kind] * hidden
        self.kind, self.hidden = kind, hidden
        self.weight_ih = nn.Parameter(torch.empty(gates, inputs))
        self.weight_hh = nn.Parameter(torch.empty(gates, hidden))
        self.bias_ih = nn.Parameter(torch.zeros(gates))
        self.bias_hh = nn.Parameter(torch.zeros(gates))

    @property
    def weights(self) -> Weights:
        return Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def initial(self, like: Tensor, batch: int) -> CellState:
        """Zeros, each [B, H], of `like`'s type and device."""
        parts = 2 if self.kind == "lstm" else 1
        return tuple(like.new_zeros(batch, self.hidden) for _ in range(parts))

    def forward(self, inputs: Tensor, state: CellState) -> tuple[Tensor, CellState]:
        """One step. inputs: [..., I]; state: each [..., H]. Returns (h, new state)."""
        projected = F.linear(inputs, self.weight_ih, self.bias_ih)
        new = reference.step(self.kind, projected, state, self.weights)
        return new[0], new

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
        residual: bool = False,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(Cell(kind=kind, inputs=size, hidden=hidden) for size in sizes)
        self.dropout, self.residual = dropout, residual

    def forward(self, inputs: Tensor, states: Sequence[CellState]) -> tuple[Tensor, tuple[CellState, ...]]:
        """One step through all layers. inputs: [..., I] → [..., H] and each layer's new state."""
        return self._through(inputs, states, whole=False)

    def sequence(self, inputs: Tensor, states: Sequence[CellState]) -> tuple[Tensor, tuple[CellState, ...]]:
        """All steps of all layers. inputs: [B, T, I] → [B, T, H] and each layer's last state."""
        return self._through(inputs, states, whole=True)

    def _through(
        self, x: Tensor, states: Sequence[CellState], *, whole: bool
    ) -> tuple[Tensor, tuple[CellState, ...]]:
        last: list[CellState] = []
        cells = (cell for cell in self.layers if isinstance(cell, Cell))
        for index, (cell, state) in enumerate(zip(cells, states, strict=True)):
            below = F.dropout(x, self.dropout, self.training) if index else x
            x, new = cell.sequence(below, None, state) if whole else cell(below, state)
            if self.residual and index:
                x = x + below
            last.append(new)
        return x, tuple(last)
