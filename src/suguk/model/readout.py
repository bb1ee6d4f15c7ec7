"""From the decoder's state, the context and perhaps the previous word to what the output projection sees.

Shapes: H hidden, C context, E embedding, R readout; leading dimensions are free.
`inputs` of every readout: the parts that enter it, concatenated on the last axis by the decoder.
"""

import torch
from torch import Tensor, nn

from suguk.kernels.steps import linear


class LinearReadout(nn.Module):
    """The inputs as they are: the projection alone is the readout (Sutskever 2014)."""

    def __init__(self, *, inputs: int) -> None:
        super().__init__()
        self.size = inputs

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class TanhReadout(nn.Module):
    """The attentional vector h~_t = tanh(W_c [c_t; h_t]) (Luong 2015, eq. 5)."""

    def __init__(self, *, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.w_c = nn.Linear(inputs, size, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(linear(inputs, self.w_c.weight))


class MaxoutReadout(nn.Module):
    """Deep output t_i = max over pairs of t~_i = U_o s + V_o E y + C_o c (Cho 2014 A.1.2; Bahdanau 2014 A.2.2).

    The three matrices stand side by side in one of [2R, inputs]; unit j is the larger of rows 2j and 2j + 1.
    """

    def __init__(self, *, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.w_o = nn.Linear(inputs, 2 * size, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        pieces = linear(inputs, self.w_o.weight)
        return pieces.reshape(*pieces.shape[:-1], self.size, 2).amax(-1)
