"""Fast twins of `reference`: PyTorch's fused whole-sequence recurrences, made right for ragged batches.

Shapes: B batch, T steps, I input, H hidden, G gates.

Packed sequences leave the fast path on CPU, and a padded batch gives the last state at the pad instead of at the
true end. Here a row's outputs are read at its true end; an LSTM's c, which the fused call does not return for each
step, is carried through the padding by one extra input column that opens the forget gate and closes the input gate.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from suguk.kernels import steps
from suguk.kernels.reference import CellState, Weights

SHUT = 1e4  # far beyond any gate's sum: sigmoid(±SHUT + sum) is exactly 0 or 1 in float32


def sequence(
    kind: str,
    inputs: Tensor,
    mask: Tensor | None,
    state: CellState,
    weights: Weights,
    *,
    reverse: bool = False,
) -> tuple[Tensor, CellState]:
    """As `reference.sequence`, same arguments and results."""
    if kind == "gru-reset-before":  # no fused form of it exists
        projected = F.linear(inputs, weights.ih, weights.bias_ih)
        return stepwise(
            lambda given, before: steps.cell(kind, given, None, before, weights),
            projected,
            mask,
            state,
            reverse=reverse,
        )
    if mask is None or _full(mask):
        flipped = inputs.flip(1) if reverse else inputs
        outputs, last = _fused(kind, flipped, state, weights)
        return (outputs.flip(1) if reverse else outputs), last
    order = backwards(mask) if reverse else None
    if order is not None:
        inputs = _reorder(inputs, order)
    if kind == "lstm":
        inputs, weights = _hold_when_padded(inputs, mask, weights)
    outputs, last = _fused(kind, inputs, state, weights)
    end = mask.sum(1) - 1
    rows = torch.arange(len(end), device=end.device)
    last = (outputs[rows, end], *last[1:])
    outputs = outputs * mask.unsqueeze(-1)
    return (outputs if order is None else _reorder(outputs, order)), last


def recomputed(
    kind: str,
    inputs: Tensor,
    mask: Tensor | None,
    state: CellState,
    weights: Weights,
    *,
    reverse: bool = False,
) -> tuple[Tensor, CellState]:
    """As `reference.sequence`. The pass back computes it a second time: nothing is kept for it but what is given here.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
    """
    if not torch.is_grad_enabled():
        return sequence(kind, inputs, mask, state, weights, reverse=reverse)
    outputs, *last = _Recomputed.apply(kind, mask, reverse, inputs, *state, *weights)  # type: ignore[no-untyped-call]
    return outputs, tuple(last)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kind: str, mask: Tensor | None, reverse: bool, *given: Tensor
    ) -> tuple[Tensor, ...]:
        device = given[0].device.type
        ctx.how, ctx.device = (kind, mask, reverse), device
        ctx.cast, ctx.dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        ctx.save_for_backward(*given)
        return _parts(given, *ctx.how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        given = [
            part.detach().requires_grad_(need) for part, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            with torch.autocast(ctx.device, ctx.dtype, enabled=ctx.cast):
                found = _parts(given, *ctx.how)
            # One number: to be given gradients, PyTorch imports 25 MB of symbolic algebra.
            number = sum((part * grad).sum() for part, grad in zip(found, grads, strict=True))
        wanted = [part for part in given if part.requires_grad]
        back = iter(torch.autograd.grad(number, wanted, allow_unused=True))  # type: ignore[arg-type]
        return None, None, None, *(next(back) if need else None for need in needed)


def _parts(given: Sequence[Tensor], kind: str, mask: Tensor | None, reverse: bool) -> tuple[Tensor, ...]:
    """Outputs and last state of inputs, first state and weights, side by side."""
    count = len(given) - len(Weights._fields)
    outputs, last = sequence(
        kind, given[0], mask, tuple(given[1:count]), Weights(*given[count:]), reverse=reverse
    )
    return outputs, *last


def stepwise(
    step: Callable[[Tensor, CellState], CellState],
    projected: Tensor,
    mask: Tensor | None,
    state: CellState,
    *,
    reverse: bool,
) -> tuple[Tensor, CellState]:
    """`reference.sequence` of any step, with one product of all gradients of a matrix.

    projected: [B, T, G], what a step is given of its input, made for all steps at once.
    """
    given = projected.unbind(1)
    outputs = list(given)
    with steps.Steps(len(given), projected.device):
        for t in reversed(range(len(given))) if reverse else range(len(given)):
            new = step(given[t], state)
            if mask is not None:
                real = mask[:, t, None]
                new = tuple(torch.where(real, *both) for both in zip(new, state, strict=True))
            outputs[t], state = new[0], new
    stacked = torch.stack(outputs, dim=1)
    return (stacked if mask is None else stacked * mask.unsqueeze(-1)), state


def _full(mask: Tensor) -> bool:
    """Whether nothing is padded, as in many batches of a training; not asked where the answer would be waited for."""
    return not torch.compiler.is_compiling() and mask.device.type == "cpu" and bool(mask.all())


def backwards(mask: Tensor) -> Tensor:
    """Positions that reverse each row's real steps and leave its padding in place. mask, result: [B, T]."""
    index = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - index, index)


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    return values.gather(1, order.unsqueeze(-1).expand_as(values))


def _hold_when_padded(inputs: Tensor, mask: Tensor, weights: Weights) -> tuple[Tensor, Weights]:
    hidden = weights.hh.shape[1]
    column = weights.ih.new_zeros(4 * hidden, 1)
    column[:hidden] = -SHUT  # input gate
    column[hidden : 2 * hidden] = SHUT  # forget gate
    padded = (~mask).unsqueeze(-1).to(inputs.dtype)
    return torch.cat([inputs, padded], dim=-1), weights._replace(ih=torch.cat([weights.ih, column], dim=1))


def _fused(kind: str, inputs: Tensor, state: CellState, weights: Weights) -> tuple[Tensor, CellState]:
    if kind == "lstm" and _unknown(inputs):
        with torch.autocast("cpu", enabled=False):
            return _call(kind, inputs.float(), tuple(part.float() for part in state), weights)
    return _call(kind, inputs, state, weights)


def _unknown(inputs: Tensor) -> bool:
    """Whether autocast would ask oneDNN for what it lacks on this processor: LSTM sequences in bfloat16."""
    if torch.compiler.is_compiling() or inputs.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    return not bfloat16_sequences()


@cache
def bfloat16_sequences() -> bool:
    """Whether oneDNN has LSTM sequences in bfloat16 here; where PyTorch cannot tell, it is taken to have them."""
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return ask is None or bool(ask())


def _call(kind: str, inputs: Tensor, state: CellState, weights: Weights) -> tuple[Tensor, CellState]:
    flat = list(weights)
    start = [part.unsqueeze(0) for part in state]
    options = (
        True,
        1,
        0.0,
        torch.is_grad_enabled(),
        False,
        True,
    )  # bias, layers, dropout, train, bidirectional, B first
    with _quiet(inputs):
        if kind == "lstm":
            outputs, h, c = torch.lstm(inputs, start, flat, *options)
            return outputs, (h[0], c[0])
        call = torch.gru if kind == "gru" else torch.rnn_tanh
        outputs, h = call(inputs, start[0], flat, *options)
        return outputs, (h[0],)


@contextmanager
def _quiet(inputs: Tensor) -> Iterator[None]:
    """On a GPU without cuDNN's advice to keep the weights in one piece: they are copied into one at every call."""
    if torch.compiler.is_compiling() or inputs.device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield
