"""Attention of several heads: each looks with scores of its own, at values of its own.

Shapes: B batch, S source length, Q queries, N heads, H hidden of the decoder, C width of an encoder state, A attention
size, D = H / N or A / N.
"""

import math

import torch
from torch import Tensor, nn

from suguk.kernels.additive import energies
from suguk.kernels.steps import held, linear
from suguk.model.attention import AdditiveScore, Attention, products
from suguk.model.memory import Memory


class ProductHeads(nn.Module):
    """Products of a head's part of the query and of the keys: [B, Q, H] and keys [B, N, S, D] → [B, N, Q, S].

    dot, scaled-dot: (W_q h_t)_i · (W_k h_s)_i, scaled: over √D (Vaswani 2017, §3.2.2).
    general: (h_t)_i · (W_a h_s)_i, where a head has its own rows of W_a and units of the state.
    """

    exact = False

    def __init__(self, *, kind: str, hidden: int, values: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(hidden // heads) if kind == "scaled-dot" else 1.0
        self.w_q = None if kind == "general" else nn.Linear(hidden, hidden, bias=False)
        self.w_k = nn.Linear(values, hidden, bias=False)

    def prepare(self, values: Tensor) -> Tensor:
        return _apart(self.w_k(values), self.heads)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.w_q is not None:
            query = linear(query, self.w_q.weight)
        return products(_apart(query, self.heads), keys, exact=self.exact) * self.scale


class AdditiveHeads(AdditiveScore):
    """v_i · tanh((W_a s + U_a h_s)_i): a head has its own D of the A inner units. Keys [B, S, A] → [B, N, Q, S]."""

    def __init__(self, *, hidden: int, values: int, size: int, heads: int) -> None:
        super().__init__(hidden=hidden, values=values, size=size)
        owner = torch.arange(size) // (size // heads)
        self.register_buffer("own", torch.eye(heads)[owner], persistent=False)  # [A, N]: whose unit it is
        self.own: Tensor

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        v = held("heads", self.v_a, lambda: self.v_a.unsqueeze(1) * self.own)
        return energies(linear(query, self.w_a.weight), keys, v).permute(0, 3, 1, 2)


class MultiHeadAttention(Attention):
    """W_o [Σ_s α_1s (W_v h_s)_1; …; Σ_s α_Ns (W_v h_s)_N] (Vaswani 2017, §3.2.2); a window is the same for all heads.

    score: `ProductHeads` or `AdditiveHeads`.
    """

    def __init__(self, *, score: nn.Module, values: int, heads: int, window: nn.Module | None = None) -> None:
        super().__init__(score=score, window=window)
        self.heads = heads
        self.w_v, self.w_o = (nn.Linear(values, values, bias=False) for _ in range(2))

    def contents(self, values: Tensor) -> tuple[Tensor, ...]:
        """[B, N, S, C / N]."""
        return (_apart(self.w_v(values), self.heads),)

    def forward(
        self, query: Tensor, memory: Memory, position: Tensor, *covered: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Attention.forward`; the weights [B, Q, S] are the mean of the heads' weights."""
        seen, factor = self.seen(query, memory, position)
        contexts, weights = self.mixed(
            self.score(query, memory.keys, *covered),
            seen.unsqueeze(1),
            None if factor is None else factor.unsqueeze(1),
            memory.contents[0],
        )
        found = contexts.transpose(1, 2).flatten(2)
        return linear(found, self.w_o.weight), weights.mean(1)


def _apart(x: Tensor, heads: int) -> Tensor:
    """[B, S, N · D] → [B, N, S, D]."""
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)
