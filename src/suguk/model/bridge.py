"""From the encoder's last states to the decoder's first ones.

Shapes: B batch, H hidden of the decoder, C width of an encoder state.
Each bridge: `forward(last) → initial`, one state a decoder layer, from one state an encoder layer (see `Encoded.last`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suguk.kernels.reference import CellState


class CopyBridge(nn.Module):
    """The encoder's last (h, c) of each layer, the topmost ones if it has more (Sutskever 2014 §2)."""

    def __init__(self, *, layers: int) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, last: Sequence[CellState]) -> tuple[CellState, ...]:
        return tuple(last[len(last) - self.layers :])


class ZeroBridge(nn.Module):
    """Zeros: the decoder knows the source by attention or by the context only."""

    def __init__(self, *, layers: int, hidden: int) -> None:
        super().__init__()
        self.layers, self.hidden = layers, hidden

    def forward(self, last: Sequence[CellState]) -> tuple[CellState, ...]:
        zero = tuple(part.new_zeros(part.shape[0], self.hidden) for part in last[-1])
        return (zero,) * self.layers


class LinearBridge(nn.Module):
    """tanh(W h + b) of the top layer's last state; one W a decoder layer and part.

    Where a context is made from that state, it takes its place: h'_0 = tanh(V' c) (Cho 2014 A.1.2).
    backward_only: only the backward direction's half, s_0 = tanh(W_s ←h_1) (Bahdanau 2014 A.2.2).
    """

    def __init__(
        self, *, inputs: int, hidden: int, layers: int, parts: int, backward_only: bool = False
    ) -> None:
        super().__init__()
        self.layers, self.parts, self.backward_only = layers, parts, backward_only
        width = inputs // 2 if backward_only else inputs
        self.maps = nn.ModuleList(nn.Linear(width, hidden) for _ in range(layers * parts))

    def forward(self, last: Sequence[CellState]) -> tuple[CellState, ...]:
        top = last[-1]
        if self.backward_only:
            top = tuple(part.chunk(2, dim=-1)[1] for part in top)
        started: list[Tensor] = [
            torch.tanh(linear(top[index % self.parts])) for index, linear in enumerate(self.maps)
        ]
        return tuple(tuple(started[i * self.parts : (i + 1) * self.parts]) for i in range(self.layers))
