"""Dropout (Srivastava et al. 2014) with sixteen random bits a value, for processors."""

import torch
from torch import Tensor
from torch.nn import functional as F


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
    count = x.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    mask = (bits[:count].view(x.shape) < kept - 32768).to(x.dtype)
    return x * mask.mul_(65536 / kept)
