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
    h, hidden = state[0], state[0].shape[-1]
    if kind == "gru-reset-before":
        gates = F.linear(h, weights.hh[: 2 * hidden], weights.bias_hh[: 2 * hidden])
        r, z = gru_gates(projected, gates)
        candidate = F.linear(r * h, weights.hh[2 * hidden :], weights.bias_hh[2 * hidden :])
        return (gru_reset_before(projected, candidate, z, h),)
    recurrent = F.linear(h, weights.hh, weights.bias_hh)
    if kind == "lstm":
        return lstm(projected + recurrent, state[1])
    if kind == "gru":
        return (gru(projected, recurrent, h),)
    return (torch.tanh(projected + recurrent),)


def lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """c' = f c + i g, h' = o tanh(c') (Hochreiter & Schmidhuber 1997 with the forget gate of Gers 2000).

    gates: W x + U h + b, [..., 4H]; c: [..., H]. Returns h', c'.
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru(projected: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """n = tanh(W x + r (U h + b)): the reset gate after the product, the form of cuDNN and PyTorch.

    projected: W x + b, recurrent: U h + b, both [..., 3H]; h: [..., H]. Returns h'.
    """
    hidden = h.shape[-1]
    r, z = gru_gates(projected, recurrent)
    n = torch.tanh(projected[..., 2 * hidden :] + r * recurrent[..., 2 * hidden :])
    return z * h + (1 - z) * n


def gru_gates(projected: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """r and z, each [..., H], of the first 2H columns of both (Cho 2014, eqs. 5-6)."""
    hidden = projected.shape[-1] // 3
    both = torch.sigmoid(projected[..., : 2 * hidden] + recurrent[..., : 2 * hidden])
    return both[..., :hidden], both[..., hidden:]


def gru_reset_before(projected: Tensor, candidate: Tensor, z: Tensor, h: Tensor) -> Tensor:
    """n = tanh(W x + U (r h) + b): the reset gate before the product (Cho 2014, eqs. 7-8). candidate: U (r h) + b."""
    n = torch.tanh(projected[..., 2 * h.shape[-1] :] + candidate)
    return z * h + (1 - z) * n


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


def additive(
    query: Tensor, keys: Tensor, v: Tensor, covered: Tensor | None = None, w: Tensor | None = None
) -> Tensor:
    """v · tanh(q + k) for every pair (Bahdanau 2014, A.1.2).

    query: [B, Q, A]; keys: [B, S, A]; v: [A] → [B, Q, S], or N of them, [A, N] → [B, Q, S, N].
    covered, w: [B, Q, S] and [A] of v · tanh(q + k + w · covered) (See et al. 2017, eq. 11).
    """
    inner = query.unsqueeze(2) + keys.unsqueeze(1)  # [B, Q, S, A]
    if covered is not None and w is not None:
        inner = inner + covered.unsqueeze(-1) * w
    inner = torch.tanh(inner)
    return torch.matmul(inner, v.to(inner.dtype))


def cross_entropy(
    readout: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    mixture: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums over tokens of the loss to minimise and, detached, of −log p(target); p = softmax(W r + b).

    readout: [N, R]; weight: [V, R]; bias: [V]; targets: [N]. Smoothing ε: (1 − ε) · nll + ε · mean over V of −log p
    (Szegedy 2016 §7). Both results are 0-dim, in float32 or wider.

    mixture: log g and m, [N] each: nll is −log(g · p(target) + m), and smoothing is still of p (See et al. 2017, eq. 9,
    with g = p_gen, or 0, and m the probability that the target is copied). m = 0 has no gradient.
    """
    logits = F.linear(readout, weight, bias)
    log_probs = torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)
    wanted = log_probs.gather(1, targets.unsqueeze(1)).squeeze(1)
    if mixture is not None:
        log_g, mass = mixture
        here = mass > 0
        both = torch.logaddexp(log_g + wanted, mass.masked_fill(~here, 1.0).log())
        wanted = torch.where(here, both, log_g + wanted)
    nll = -wanted.sum()
    total = nll
    if label_smoothing:
        total = (1 - label_smoothing) * nll - label_smoothing * log_probs.mean(-1).sum()
    return total, nll.detach()
