"""Cells and stacks of them. The algebra is in `kernels`; here are the parameters and what lies between layers.

Shapes: B batch, T steps, I input, H hidden, G gates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suguk.kernels import fast, norm, steps
from suguk.kernels.dropout import chosen, scales
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
    # For each part of the state, the probability that a unit keeps its old value (Krueger et al. 2017, §3.2).
    zoneout: tuple[float, ...] = ()
    layer_norm: bool = False  # see `kernels.norm`


PLAIN = Habits()


class Cell(nn.Module):
    """One recurrent layer in one direction. Parameters have PyTorch's names, shapes and gate order."""

    def __init__(self, *, kind: str, inputs: int, hidden: int, habits: Habits = PLAIN) -> None:
        super().__init__()
        gates = GATES[kind] * hidden
        self.recompute = False  # `train.recompute`: see `kernels.fast.recomputed`
        self.kind, self.hidden, self.habits = kind, hidden, habits
        self.weight_ih = nn.Parameter(torch.empty(gates, inputs))
        self.weight_hh = nn.Parameter(torch.empty(gates, hidden))
        self.bias_ih = nn.Parameter(torch.zeros(gates))
        self.bias_hh = nn.Parameter(torch.zeros(gates))
        if habits.layer_norm:
            self.gain_ih, self.gain_hh = (nn.Parameter(torch.ones(gates)) for _ in range(2))
        if habits.layer_norm and kind == "lstm":
            self.gain_c, self.bias_c = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    @property
    def fused(self) -> bool:
        """Whether PyTorch has its whole sequence as one call (but for a GRU that resets before the product)."""
        return not self.habits.zoneout and not self.habits.layer_norm

    @property
    def gains(self) -> norm.Gains:
        return norm.Gains(
            self.gain_ih, self.gain_hh, (self.gain_c, self.bias_c) if self.kind == "lstm" else None
        )

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
        new = self.advance(inputs, state, given)
        if self.habits.zoneout:
            new = self._zoned(new, state)
        return new[0], new

    def advance(self, inputs: Tensor | None, state: CellState, given: Given | None) -> CellState:
        """The recurrence: as `forward`."""
        projected, weights = (None, self.weights) if given is None else given
        if self.habits.layer_norm:
            return norm.cell(self.kind, projected, inputs, state, weights, self.gains)
        return steps.cell(self.kind, projected, inputs, state, weights)

    def _zoned(self, new: CellState, old: CellState) -> CellState:
        """Some units as they were: drawn in training, else the expectation z · old + (1 − z) · new."""

        def mixed(share: float, after: Tensor, before: Tensor) -> Tensor:
            if share == 0:
                return after
            if self.training:
                return torch.where(chosen(after, share), before, after)
            return before * share + after * (1 - share)

        return tuple(map(mixed, self.habits.zoneout, new, old))

    def project(self, inputs: Tensor) -> tuple[Tensor, Weights]:
        """What the first columns of W_ih make of inputs known for all steps, [B, T, G]; the other weights.

        With the bias, but where it is added to a norm of the whole sum.
        """
        known, rest = torch.split(
            self.weight_ih, [inputs.shape[-1], self.weight_ih.shape[1] - inputs.shape[-1]], dim=1
        )
        bias = None if self.habits.layer_norm else self.bias_ih
        return F.linear(inputs, known, bias), self.weights._replace(ih=rest)

    def sequence(
        self, inputs: Tensor, mask: Tensor | None, state: CellState, *, reverse: bool = False
    ) -> tuple[Tensor, CellState]:
        """All steps at once: see `kernels.reference.sequence`. inputs: [B, T, I] → [B, T, H], last state."""
        if self.fused:
            run = fast.recomputed if self.recompute and self.training else fast.sequence
            return run(self.kind, inputs, mask, state, self.weights, reverse=reverse)
        projected, rest = self.project(inputs)
        return fast.stepwise(
            lambda known, before: self(None, before, Given(known, rest))[1],
            projected,
            mask,
            state,
            reverse=reverse,
        )


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
