"""A step of the LSTM with its own backward pass.

Shapes: H hidden.

The algebra is `reference.lstm`; gates and c are float32 or wider, products and h have the type of the matrices. With
i, f, g, o the gates after their squashing, s = tanh(c') and dh, dc the gradients of h' and c':

    dc' = dc + dh · o · (1 − s²)
    di = dc' · g · i (1 − i)      df = dc' · c · f (1 − f)      dg = dc' · i (1 − g²)      do = dh · s · o (1 − o)
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from suguk.kernels.squash import tanh

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward


def squash(active: Tensor, c: Tensor, new: Tensor, h: Tensor) -> None:
    """Squash the gates `active` [..., 4H] in place; write c' into `new`, h' into `h`."""
    hidden = c.shape[-1]
    i, f, g, o = active.chunk(4, dim=-1)
    active[..., : 2 * hidden].sigmoid_()
    tanh(g, g)
    o.sigmoid_()
    torch.mul(f, c, out=new).addcmul_(i, g)
    h.copy_(tanh(new, torch.empty_like(new)).mul_(o))


def unsquash(dh: Tensor, dc: Tensor, active: Tensor, c: Tensor, new: Tensor, d: Tensor) -> Tensor:
    """Write the gradient of the gates before squashing into `d` [..., 4H]; returns that of c."""
    hidden = c.shape[-1]
    squashed = tanh(new, torch.empty_like(new))  # a second time: little work, and nothing to keep
    i, f, g, o = active.chunk(4, dim=-1)
    di, df, dg, do = d.chunk(4, dim=-1)
    d_new: Tensor = tanh_backward(dh * o, squashed).add_(dc)
    torch.mul(d_new, g, out=di)
    torch.mul(d_new, c, out=df)
    torch.mul(d_new, i, out=dg)
    torch.mul(dh, squashed, out=do)
    both = slice(0, 2 * hidden)
    sigmoid_backward(d[..., both], active[..., both], grad_input=d[..., both])
    tanh_backward.grad_input(dg, g, grad_input=dg)
    sigmoid_backward(do, o, grad_input=do)
    return d_new.mul_(f)


def step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`reference.lstm`, same arguments and results; h' has the type of the gates, c' that of c."""
    h, new = _Step.apply(gates, c)  # type: ignore[no-untyped-call]
    return h, new


def fused(gates: Tensor, more: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`step` of gates + more on a GPU: one kernel, and one back, where `step` launches a dozen of each."""
    flat = [part.flatten(0, -2) for part in (gates.to(c.dtype), more.to(c.dtype), c)]
    with torch.autocast("cuda", enabled=False):  # else c would be narrowed too
        h, new, _ = torch.ops.aten._thnn_fused_lstm_cell(*flat)
    return h.view(c.shape).to(gates.dtype), new.view(c.shape)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        active = gates.to(c.dtype, copy=True)
        new, h = torch.empty_like(c), torch.empty_like(c, dtype=gates.dtype)
        squash(active, c, new, h)
        ctx.save_for_backward(active, c, new)
        ctx.dtype = gates.dtype
        return h, new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor]:
        active, c, new = ctx.saved_tensors
        d = torch.empty_like(active)
        dc = unsquash(dh.to(c.dtype), dc, active, c, new, d)
        return d.to(ctx.dtype), dc
