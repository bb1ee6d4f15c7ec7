"""The recurrences as the papers write them, one step at a time: the definition every fast twin is tested against.

Shapes: B batch, T steps, I input, H hidden, G gates (H for rnn, 3H for gru, 4H for lstm).
Gate order in G is PyTorch's, so weights move across unchanged: lstm i, f, g, o; gru r, z, n.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CellState = tuple[Tensor, ...]  # (h,) or, for the lstm, (h, c); each [..., H]

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-reset-before": 3}


class Weights(NamedTuple):
    """Parameters of one cell. ih: [G, I], hh: [G, H], bias_ih and bias_hh: [G]."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


def step(kind: str, projected: Tensor, state: CellState, weights: Weights) -> CellState:
    """One step of a cell. projected: W_ih x + b_ih, [..., G]; state: each [..., H]. Returns the new state."""
    if kind == "lstm":
        return _lstm(projected, state, weights)
    if kind == "gru":
        return _gru(projected, state, weights)
    if kind == "gru-reset-before":
        return _gru_reset_before(projected, state, weights)
    return (torch.tanh(projected + F.linear(state[0], weights.hh, weights.bias_hh)),)


def _lstm(projected: Tensor, state: CellState, weights: Weights) -> CellState:
    """c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997 with the forget gate of Gers 2000)."""
    h, c = state
    i, f, g, o = (projected + F.linear(h, weights.hh, weights.bias_hh)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(projected: Tensor, state: CellState, weights: Weights) -> CellState:
    """n = tanh(W x + r (U h + b)): the reset gate after the product, the form of cuDNN and PyTorch."""
    (h,) = state
    r_x, z_x, n_x = projected.chunk(3, dim=-1)
    r_h, z_h, n_h = F.linear(h, weights.hh, weights.bias_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return (z * h + (1 - z) * n,)


def _gru_reset_before(projected: Tensor, state: CellState, weights: Weights) -> CellState:
    """n = tanh(W x + U (r h) + b): the reset gate before the product (Cho 2014, eq. 8)."""
    (h,) = state
    hidden = h.shape[-1]
    r_x, z_x, n_x = projected.chunk(3, dim=-1)
    gates = F.linear(h, weights.hh[: 2 * hidden], weights.bias_hh[: 2 * hidden])
    r, z = (torch.sigmoid(x + u) for x, u in zip((r_x, z_x), gates.chunk(2, dim=-1), strict=True))
    n = torch.tanh(n_x + F.linear(r * h, weights.hh[2 * hidden :], weights.bias_hh[2 * hidden :]))
    return (z * h + (1 - z) * n,)


def sequence(
    kind: str,
    inputs: Tensor,
    mask: Tensor | None,
    state: CellState,
    weights: Weights,
    *,
    reverse: bool = False,
) -> tuple[Tensor, CellState]:
    """A whole sequence.

    inputs: [B, T, I]; mask: [B, T], True on real steps, which come first in each row (None: all are real);
    state: each [B, H]. reverse: from each row's true end to its start. Returns the outputs [B, T, H] (zero on
    padding) and the state after the last real step.
    """
    projected = F.linear(inputs, weights.ih, weights.bias_ih)
    steps = range(inputs.shape[1])
    outputs: dict[int, Tensor] = {}
    for t in reversed(steps) if reverse else steps:
        new = step(kind, projected[:, t], state, weights)
        if mask is None:
            outputs[t] = new[0]
            state = new
        else:
            real = mask[:, t, None]
            outputs[t] = new[0] * real
            state = tuple(torch.where(real, after, before) for after, before in zip(new, state, strict=True))
    return torch.stack([outputs[t] for t in steps], dim=1), state
