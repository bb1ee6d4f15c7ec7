"""Output projection and cross-entropy as one: the fast twin of `reference.cross_entropy`.

Shapes: N tokens, R readout, V vocabulary.

The logits of a few tokens at a time live in one small buffer; in the forward pass already their gradient, softmax minus
target, is made of them in place. The products with that gradient follow for a larger group of tokens. So of [N, V] no
more than the gradients of a group and two buffers of a chunk's logits are held at a time; each has ROUND tokens at
least, however large V is. Nothing is computed twice.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK = 2**21  # logits at a time in float32: 8 MB
GROUP = 2**21  # gradients of logits at a time: 8 MB in float32
NARROW = 2**23  # and 16 MB in bfloat16, where a sum over groups takes passes of its own
# Of both on a GPU, which has no cache to stay in and is launched a kernel at a time: 128 MB in float32.
AT_ONCE = 2**25
ROUND = 64  # tokens at a time, zeros at the end: oneDNN makes and keeps code for every new number of them


def cross_entropy(
    readout: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    mixture: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """As `reference.cross_entropy`, same arguments and results; under autocast the products take its type."""
    kind = readout.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    given = readout, weight, bias, targets, label_smoothing, dtype, *(mixture or ())
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
        *mixture: Tensor,
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        matrix, offset = weight.to(dtype), bias.to(dtype)
        train = any(ctx.needs_input_grad)
        count = -(-len(readout) // ROUND) * ROUND
        x = F.pad(readout.to(dtype), (0, 0, 0, count - len(readout)))
        d_readout = torch.empty_like(x) if train else x
        d_weight: Tensor | None = None
        d_bias, total, nll = (readout.new_zeros(shape, dtype=wide) for shape in (bias.shape, (), ()))
        d_mixture = [torch.empty_like(part) for part in mixture]
        sizes = (AT_ONCE, AT_ONCE) if x.is_cuda else (GROUP if dtype == wide else NARROW, CHUNK)
        group, chunk = (max(size // len(weight) // ROUND, 1) * ROUND for size in sizes)
        d = x.new_empty(min(group, count) if train else 0, len(weight))
        for begin in range(0, count, group):
            part = slice(begin, begin + group)
            rows, wanted = x[part], targets[part]
            mixed, d_mixed = ([one[part] for one in parts] for parts in (mixture, d_mixture))
            for at in range(0, len(rows), chunk):
                few = slice(at, at + chunk)
                logits = F.linear(rows[few], matrix, offset)[: len(wanted[few])].to(wide)
                copied = _Copied(*(one[few] for one in (*mixed, *d_mixed))) if mixture else None
                gradient = _gradient(logits, wanted[few], smoothing, total, nll, copied)
                if train:
                    d_bias += gradient.sum(0)
                    d[few][: len(gradient)] = gradient
            if train:
                found = d[: len(rows)]
                found[len(wanted) :] = 0
                torch.mm(found, matrix, out=d_readout[part])
                if d_weight is None:
                    d_weight = torch.mm(found.t(), rows)
                elif d_weight.dtype == dtype == wide:  # without room for another one
                    d_weight.addmm_(found.t(), rows)
                else:
                    d_weight = d_weight.to(wide).add_(torch.mm(found.t(), rows))
        d_readout = d_readout[: len(readout)]
        total += (1 - smoothing) * nll
        d_weight = torch.zeros_like(matrix) if d_weight is None else d_weight
        ctx.save_for_backward(d_readout, d_weight, d_bias, *d_mixture)
        ctx.dtypes = [one.dtype for one in (readout, weight, bias, *mixture)]
        ctx.mark_non_differentiable(nll)
        return total, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            part.to(dtype, copy=True).mul_(d_total)
            for part, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*found[:3], None, None, None, *found[3:])


class _Copied(NamedTuple):
    """The mixture of `reference.cross_entropy` and room for its gradient, [n] each."""

    log_g: Tensor
    mass: Tensor
    d_log_g: Tensor
    d_mass: Tensor

    def mixed(self, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """log(g p + m), and g p / (g p + m): how much of the target was generated. wanted: log p(target) [n, 1]."""
        generated = self.log_g.unsqueeze(1) + wanted
        log_p = torch.logaddexp(generated, self.mass.unsqueeze(1).log())
        share = (generated - log_p).exp()
        self.d_log_g.copy_(share.squeeze(1)).mul_(smoothing - 1)
        slope = torch.where(self.mass > 0, (-log_p.squeeze(1)).exp(), 0.0)
        self.d_mass.copy_(slope).mul_(smoothing - 1)
        return log_p, share


def _gradient(
    logits: Tensor, targets: Tensor, smoothing: float, total: Tensor, nll: Tensor, copied: _Copied | None
) -> Tensor:
    """Softmax minus smoothed target, [n, V]; adds to total (what smoothing adds) and nll."""
    wanted = targets.unsqueeze(1)
    log_probs = torch.log_softmax(logits, dim=-1)
    found, share = log_probs.gather(1, wanted), None
    if copied is not None:
        found, share = copied.mixed(found, smoothing)
    nll -= found.sum()
    if smoothing:
        total -= log_probs.sum() * (smoothing / logits.shape[-1])
    gradient = log_probs.exp_()
    at_target = gradient.new_full((1, 1), smoothing - 1).expand_as(wanted)
    if share is not None:
        gradient *= (1 - smoothing) * share + smoothing
        at_target = at_target * share
    if smoothing:
        gradient -= smoothing / logits.shape[-1]
    return gradient.scatter_add_(1, wanted, at_target)
