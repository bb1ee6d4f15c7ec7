"""The encoder: reads a source of any length and leaves one state a position, and the last state of every layer.

Shapes: B batch, S source length, E embedding, H hidden (each direction), C = H × directions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from suguk.kernels.fast import backwards
from suguk.kernels.reference import CellState
from suguk.model.cells import PLAIN, Cell, Habits
from suguk.model.dropout import Dropout
from suguk.model.inputs import TokenEmbedding


class Encoded(NamedTuple):
    """states: [B, S, C], zero on padding; last: for each layer, the states after the last step, each [B, C]."""

    states: Tensor
    mask: Tensor  # [B, S]
    last: tuple[CellState, ...]


class Encoder(nn.Module):
    """Layers of recurrent cells in one or two directions (Schuster & Paliwal 1997; Bahdanau 2014 §3.2).

    reverse_source: words are read from last to first with `<eos>` still at the end (Sutskever 2014 §3.3); the states
    come back in the order of the source, so attention and its pictures never see the reversal.
    """

    def __init__(
        self,
        *,
        embedding: TokenEmbedding,
        kind: str,
        hidden: int,
        layers: int,
        bidirectional: bool = False,
        reverse_source: bool = False,
        residual: bool = False,
        dropout: float = 0.0,
        variational: bool = False,
        habits: Habits = PLAIN,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.reverse_source, self.residual = reverse_source, residual
        ways = 2 if bidirectional else 1
        sizes = [embedding.weight.shape[1]] + [hidden * ways] * (layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(Cell(kind=kind, inputs=size, hidden=hidden, habits=habits) for _ in range(ways))
            for size in sizes
        )
        self.dropouts = nn.ModuleList(Dropout(dropout, variational=variational) for _ in sizes[1:])

    def forward(self, source: Tensor, lengths: Tensor) -> Encoded:
        """source: [B, S] token ids ending in `<eos>`; lengths: [B]."""
        mask = torch.arange(source.shape[1], device=source.device) < lengths.unsqueeze(1)
        if self.reverse_source:
            words = mask & (mask.cumsum(1) < lengths.unsqueeze(1))
            order = backwards(words)
            source = source.gather(1, order)
        x = self.embedding(source)
        last: list[CellState] = []
        for index in range(len(self.layers)):
            below = self.dropouts[index - 1](x) if index else x
            x, state = self.layer(index, below, mask)
            if self.residual and index:
                x = x + below
            last.append(state)
        if self.reverse_source:
            x = x.gather(1, order.unsqueeze(-1).expand_as(x))
        return Encoded(x, mask, tuple(last))

    def layer(self, index: int, x: Tensor, mask: Tensor) -> tuple[Tensor, CellState]:
        """Outputs [B, S, C] and last states [B, C] of one layer in all its directions."""
        found = []
        for way, cell in enumerate(self.layers[index].children()):
            assert isinstance(cell, Cell)
            found.append(cell.sequence(x, mask, cell.initial(x, x.shape[0]), reverse=way == 1))
        outputs = torch.cat([y for y, _ in found], dim=-1)
        return outputs, tuple(
            torch.cat(parts, dim=-1) for parts in zip(*(last for _, last in found), strict=True)
        )
