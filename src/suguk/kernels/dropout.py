"""Dropout (Srivastava et al. 2014) with sixteen random bits a value, for processors, and what is akin to it."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

masked = torch.ops.aten.native_dropout_backward  # x · mask · scale in one pass


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """x with each value zero with probability `share`, else divided by 1 − share; x itself unless training.

    The probability is rounded to 1/65536, and the divisor with it, so the expectation is exact. PyTorch's CPU generator
    draws one number a value; here one draw of 64 bits makes four. Random bits come from PyTorch's default generator.
    """
    if not training or share == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share, True)
    kept = max(round((1 - share) * 65536), 1)
    result: Tensor = _Dropout.apply(x, _bits(x) <= kept - 32769, 65536 / kept)  # type: ignore[no-untyped-call]
    return result


class _Dropout(torch.autograd.Function):
    """x · mask · scale; only the mask is kept for the pass back, a byte a value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        result: Tensor = masked(x, mask, scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return masked(dy, *ctx.saved_tensors, ctx.scale), None, None


def scales(like: Tensor, share: float) -> Tensor:
    """What `dropout` multiplies with, drawn for values of the shape and type of `like`: to be used more than once."""
    return dropout(torch.ones_like(like), share, True)


def chosen(like: Tensor, share: float) -> Tensor:
    """True with probability `share`, rounded to 1/65536, for each value of `like`."""
    if like.device.type != "cpu":
        return torch.rand(like.shape, device=like.device) < share
    few = round(share * 65536)
    if few == 0:
        return torch.zeros_like(like, dtype=torch.bool)
    return _bits(like) <= few - 32769  # as many of 65,536 numbers; the bound itself fits into sixteen bits


def _bits(like: Tensor) -> Tensor:
    """Sixteen random bits a value, as a number from −32768 to 32767."""
    count = like.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return bits[:count].view(like.shape)
