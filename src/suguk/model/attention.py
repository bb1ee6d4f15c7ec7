"""Attention: how much each source position matters to a decoder state.

Shapes: B batch, S source length, Q queries, H hidden of the decoder, C width of an encoder state, A attention size.

A score gives energies [B, Q, S] from queries and keys prepared once a source; a window says where to look; `Attention`
puts them together: weights = softmax of the energies over real positions, context = Σ_s weight_s · h_s
(Bahdanau 2014, eqs. 5–6; Luong 2015, eq. 7).
"""

import math

import torch
from torch import Tensor, nn

from suguk.kernels.additive import energies
from suguk.kernels.steps import linear, mix, scores
from suguk.model.memory import Memory


def products(query: Tensor, keys: Tensor, *, exact: bool) -> Tensor:
    """query · key for every pair [..., Q, S]; exact: in float64, see `Attention`."""
    return scores(query.double(), keys.double()) if exact else scores(query, keys)


class DotScore(nn.Module):
    """h_t · h_s (Luong 2015, §3.1); scaled: divided by √H (Vaswani 2017, eq. 1)."""

    exact = False

    def __init__(self, *, hidden: int, scaled: bool = False) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(hidden) if scaled else 1.0

    def prepare(self, values: Tensor) -> Tensor:
        return values

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return products(query, keys, exact=self.exact) * self.scale


class GeneralScore(nn.Module):
    """h_t · W_a h_s (Luong 2015, §3.1)."""

    exact = False

    def __init__(self, *, hidden: int, values: int) -> None:
        super().__init__()
        self.w_a = nn.Linear(values, hidden, bias=False)

    def prepare(self, values: Tensor) -> Tensor:
        keys: Tensor = self.w_a(values)
        return keys

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return products(query, keys, exact=self.exact)


class AdditiveScore(nn.Module):
    """v_a · tanh(W_a s + U_a h_s) (Bahdanau 2014, A.1.2); Luong's concat writes [W_a U_a] as one."""

    def __init__(self, *, hidden: int, values: int, size: int) -> None:
        super().__init__()
        self.w_a = nn.Linear(hidden, size, bias=False)
        self.u_a = nn.Linear(values, size, bias=False)
        self.v_a = nn.Parameter(torch.zeros(size))

    def prepare(self, values: Tensor) -> Tensor:
        keys: Tensor = self.u_a(values)
        return keys

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return energies(linear(query, self.w_a.weight), keys, self.v_a)


class CoverageScore(AdditiveScore):
    """v_a · tanh(W_a s + U_a h_s + w_c c_s), c_s: the weights that h_s had so far (See et al. 2017, eqs. 10–11).

    Without the paper's bias b_attn, as `AdditiveScore`, whose weights it may go on from.
    """

    def __init__(self, *, hidden: int, values: int, size: int) -> None:
        super().__init__(hidden=hidden, values=values, size=size)
        self.w_c = nn.Parameter(torch.zeros(size))

    def forward(self, query: Tensor, keys: Tensor, covered: Tensor | None = None) -> Tensor:
        return energies(linear(query, self.w_a.weight), keys, self.v_a, covered, self.w_c)


class LocationScore(nn.Module):
    """W_a h_t, one energy a position, whatever stands there (Luong 2015, eq. 8).

    Knows `positions` source positions; words beyond them are never looked at, as in the paper.
    """

    def __init__(self, *, hidden: int, positions: int) -> None:
        super().__init__()
        self.w_a = nn.Linear(hidden, positions, bias=False)

    def prepare(self, values: Tensor) -> Tensor:
        """Keys carry no content here, only which positions exist."""
        return values[..., :1]

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        known = linear(query, self.w_a.weight)
        length = keys.shape[1]
        index = torch.arange(length, device=query.device)
        energies = known.index_select(-1, index.clamp(max=known.shape[-1] - 1))
        return energies.masked_fill(index >= known.shape[-1], -torch.inf)


class MonotonicWindow(nn.Module):
    """local-m: look at [t − D, t + D] (Luong 2015 §3.2); past the source's end the window stays on its last word."""

    def __init__(self, *, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, query: Tensor, mask: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """Returns (inside [B, Q, S], factor on the weights or None). query: [B, Q, H]; position: [B, Q]."""
        centre = torch.minimum(position, mask.sum(1, keepdim=True) - 1)
        return _distance(centre, mask).abs() <= self.window, None


class PredictiveWindow(nn.Module):
    """local-p: p_t = S · sigmoid(v_p · tanh(W_p h_t)), weights times exp(−(s − p_t)² / 2σ²), σ = D/2.

    Luong 2015, eqs. 9–10 of §3.2; S is the row's own length, and the factor is applied after the softmax over the
    window, so that weights sum to less than one.
    """

    def __init__(self, *, hidden: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.w_p = nn.Linear(hidden, hidden, bias=False)
        self.v_p = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, mask: Tensor, position: Tensor) -> tuple[Tensor, Tensor | None]:
        del position
        aim = linear(torch.tanh(linear(query, self.w_p.weight)), self.v_p.weight).squeeze(-1)
        share = torch.sigmoid(aim if aim.dtype == torch.float64 else aim.float())
        distance = _distance(share * mask.sum(1, keepdim=True), mask)
        sigma = self.window / 2
        return distance.abs() <= self.window, torch.exp(-(distance**2) / (2 * sigma**2))


def _distance(centre: Tensor, mask: Tensor) -> Tensor:
    """s − p_t. centre: [B, Q]; mask: [B, S] → [B, Q, S]."""
    index = torch.arange(mask.shape[1], device=mask.device)
    return index - centre.unsqueeze(-1)


class Attention(nn.Module):
    """A score, and perhaps a window.

    exact: energies that are products, and all sums over the source, are made in float64. How float32 sums are rounded
    depends on the longest source of a batch; where the context is put into eight bits next, that may make a step.
    """

    exact = False

    def __init__(self, *, score: nn.Module, window: nn.Module | None = None) -> None:
        super().__init__()
        self.score, self.window = score, window

    def be_exact(self) -> None:
        """From now on."""
        self.exact = True
        self.score.exact = True  # type: ignore[assignment]

    def prepare(self, values: Tensor) -> Tensor:
        """Keys [B, S, A] from encoder states [B, S, C]: all that does not depend on the query, once a source."""
        keys: Tensor = self.score.prepare(values)  # type: ignore[operator]
        return keys

    def contents(self, values: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """What contexts are made of, where that is not the encoder states themselves: see `MultiHeadAttention`."""
        return ()

    def forward(
        self, query: Tensor, memory: Memory, position: Tensor, *covered: Tensor
    ) -> tuple[Tensor, Tensor]:
        """query: [B, Q, H]; position: [B, Q], the target positions. Returns context [B, Q, C], weights [B, Q, S].

        covered: for a score that wants it, the sum of the weights of all earlier steps [B, Q, S].
        """
        energies: Tensor = self.score(query, memory.keys, *covered)
        return self.mixed(energies, *self.seen(query, memory, position), memory.values)

    def seen(self, query: Tensor, memory: Memory, position: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where a query may look, and the window's factor on the weights: each [B, Q, S], or [B, 1, S]."""
        seen = memory.mask.unsqueeze(1)
        if self.window is None:
            return seen, None
        inside, factor = self.window(query, memory.mask, position)
        return seen & inside, factor

    def mixed(
        self, energies: Tensor, seen: Tensor, factor: Tensor | None, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ_s weight_s · value_s [..., Q, C] and the weights [..., Q, S]. energies: [..., Q, S]."""
        if not self.exact:
            weights = self.weigh(energies, seen, factor)
            return mix(weights, values), weights
        weights = self.weigh(energies.double(), seen, factor)
        return mix(weights, values.double()).to(values.dtype), weights.to(values.dtype)

    @staticmethod
    def weigh(energies: Tensor, seen: Tensor, factor: Tensor | None) -> Tensor:
        """Softmax over what is seen, times the factor. energies: [..., Q, S]."""
        wide = energies if energies.dtype == torch.float64 else energies.float()
        weights = torch.softmax(torch.where(seen, wide, -torch.inf), dim=-1)
        return weights if factor is None else weights * factor


def looked_again(weights: Tensor) -> Tensor:
    """Σ_s min(a_ts, Σ_{t' < t} a_t's) of every step (See et al. 2017, eqs. 10, 12). weights: [B, T, S] → [B, T]."""
    earlier = torch.cat([torch.zeros_like(weights[:, :1]), weights[:, :-1].cumsum(1)], dim=1)
    return torch.minimum(weights, earlier).sum(-1)
