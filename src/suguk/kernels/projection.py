"""Output projection and cross-entropy as one: the fast twin of `reference.cross_entropy`.

Shapes: N tokens, R readout, V vocabulary.

The logits of a few tokens at a time live in one small buffer; in the forward pass already their gradient, softmax minus
target, is made of them in place. The products with that gradient follow for a larger group of tokens. So no more than
GROUP values of [N, V], and CHUNK in float32, are held at a time, and nothing is computed twice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK = 2**20  # logits at a time in float32: 4 MB
GROUP = 2**23  # gradients of logits in the products' type: 16 MB in bfloat16
ROUND = 64  # tokens at a time, zeros at the end: oneDNN makes and keeps code for every new number of them


def cross_entropy(
    readout: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """As `reference.cross_entropy`, same arguments and results; under autocast the products take its type."""
    kind = readout.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    given = readout, weight, bias, targets, label_smoothing, dtype
    total, nll = _CrossEntropy.apply(*given)  # type: ignore[no-untyped-call]
    return total, nll


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        readout: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        matrix, offset = weight.to(dtype), bias.to(dtype)
        train = any(ctx.needs_input_grad)
        count = -(-len(readout) // ROUND) * ROUND
        x = F.pad(readout.to(dtype), (0, 0, 0, count - len(readout)))
        d_readout = torch.empty_like(x) if train else x
        d_weight: Tensor | None = None
        d_bias, total, nll = (readout.new_zeros(shape, dtype=wide) for shape in (bias.shape, (), ()))
        group, chunk = (max(size // len(weight) // ROUND, 1) * ROUND for size in (GROUP, CHUNK))
        d = x.new_empty(min(group, count) if train else 0, len(weight))
        for begin in range(0, count, group):
            part = slice(begin, begin + group)
            rows, wanted = x[part], targets[part]
            for at in range(0, len(rows), chunk):
                few = slice(at, at + chunk)
                logits = F.linear(rows[few], matrix, offset)[: len(wanted[few])].to(wide)
                gradient = _gradient(logits, wanted[few], smoothing, total, nll)
                if train:
                    d_bias += gradient.sum(0)
                    d[few][: len(gradient)] = gradient
            if train:
                found = d[: len(rows)]
                found[len(wanted) :] = 0
                torch.mm(found, matrix, out=d_readout[part])
                more = torch.mm(found.t(), rows)
                d_weight = more if d_weight is None else d_weight.to(wide).add_(more)
        d_readout = d_readout[: len(readout)]
        total += (1 - smoothing) * nll
        ctx.save_for_backward(d_readout, torch.zeros_like(matrix) if d_weight is None else d_weight, d_bias)
        ctx.dtypes = readout.dtype, weight.dtype, bias.dtype
        ctx.mark_non_differentiable(nll)
        return total, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = (
            part.to(dtype, copy=True).mul_(d_total)
            for part, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*found, None, None, None)


def _gradient(logits: Tensor, targets: Tensor, smoothing: float, total: Tensor, nll: Tensor) -> Tensor:
    """Softmax minus smoothed target, [n, V]; adds to total (what smoothing adds) and nll."""
    wanted = targets.unsqueeze(1)
    log_probs = torch.log_softmax(logits, dim=-1)
    nll -= log_probs.gather(1, wanted).sum()
    if smoothing:
        total -= log_probs.sum() * (smoothing / logits.shape[-1])
    gradient = log_probs.exp_()
    if smoothing:
        gradient -= smoothing / logits.shape[-1]
    return gradient.scatter_add_(1, wanted, gradient.new_full((1, 1), smoothing - 1).expand_as(wanted))
