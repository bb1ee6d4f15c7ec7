"""Cells whose sums are normalised: layer normalisation (Ba et al. 2016).

Shapes: I input, H hidden, G gates.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from suguk.kernels import reference, steps
from suguk.kernels.reference import CellState, Weights


class Gains(NamedTuple):
    """Parameters of the norms. What the paper adds to a normalised sum is the cell's bias of the same sum."""

    ih: Tensor  # [G]
    hh: Tensor  # [G]
    c: tuple[Tensor, Tensor] | None  # of the LSTM: gain and bias of its c, each [H]


def cell(
    kind: str, given: Tensor | None, inputs: Tensor | None, state: CellState, weights: Weights, gains: Gains
) -> CellState:
    """One step. given: what was made of W_ih x before the loop, without the bias; the rest as in `steps.cell`.

    lstm: (i, f, g, o) = LN(W x) + LN(U h), c' = f c + i g, h' = o tanh(LN(c')) (Ba et al. 2016, eqs. 20–22).
    gru: (r, z) = LN(W x) + LN(U h), n = tanh(LN(W_n x) + r LN(U_n h)), h' = z h + (1 − z) n (eqs. 23–25, where z and
    1 − z have each other's places).
    """
    parts = [] if given is None else [given]
    if inputs is not None:
        parts.append(steps.linear(inputs, weights.ih))
    blocks = [1] if kind == "lstm" else [2, 1]  # what is normalised together
    projected = _normalised(sum(parts[1:], parts[0]), blocks, gains.ih, weights.bias_ih)
    recurrent = _normalised(steps.linear(state[0], weights.hh), blocks, gains.hh, weights.bias_hh)
    if kind == "gru":
        return (reference.gru(projected, recurrent, steps.wide(state[0])),)
    i, f, g, o = (projected + recurrent).chunk(4, dim=-1)
    c = torch.sigmoid(f) * steps.wide(state[1]) + torch.sigmoid(i) * torch.tanh(g)
    assert gains.c is not None
    return torch.sigmoid(o) * torch.tanh(F.layer_norm(c, c.shape[-1:], *gains.c)), c


def _normalised(sums: Tensor, blocks: list[int], gain: Tensor, bias: Tensor) -> Tensor:
    """Each block of columns by itself, in float32 or wider. sums: [..., G]; blocks: their shares of G."""
    sizes = [sums.shape[-1] * share // sum(blocks) for share in blocks]
    cut = zip(*(torch.split(part, sizes, dim=-1) for part in (steps.wide(sums), gain, bias)), strict=True)
    found = [F.layer_norm(part, part.shape[-1:], scale, offset) for part, scale, offset in cut]
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)
