"""tanh for processors."""

import torch
from torch import Tensor


def tanh(x: Tensor, out: Tensor) -> Tensor:
    """tanh(x) written into `out`, which may be x.

    In float32 as 2σ(2x) − 1, which PyTorch computes faster than its tanh on a CPU; the absolute error is
    below 2e-7. In float64 PyTorch's own.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu":
        return torch.tanh(x, out=out)
    return torch.mul(x, 2, out=out).sigmoid_().mul_(2).sub_(1)
