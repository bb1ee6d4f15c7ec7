"""The LSTM with its own backward pass: one step, and whole sequences in one or two directions.

Shapes: B batch, T steps, H hidden, D directions (run side by side, so that every operation serves both).

The algebra is `reference.lstm`; gates and c are float32 or wider, products and h have the type of the matrices. With
i, f, g, o the gates after their squashing, s = tanh(c') and dh, dc the gradients of h' and c':

    dc' = dc + dh · o · (1 − s²)
    di = dc' · g · i (1 − i)      df = dc' · c · f (1 − f)      dg = dc' · i (1 − g²)      do = dh · s · o (1 − o)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from suguk.kernels.squash import tanh

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward


def squash(active: Tensor, c: Tensor, new: Tensor, squashed: Tensor, h: Tensor) -> None:
    """Squash the gates `active` [..., 4H] in place; write c' into `new`, tanh(c') into `squashed`, h' into `h`."""
    hidden = c.shape[-1]
    i, f, g, o = active.chunk(4, dim=-1)
    active[..., : 2 * hidden].sigmoid_()
    tanh(g, g)
    o.sigmoid_()
    torch.mul(f, c, out=new).addcmul_(i, g)
    tanh(new, squashed)
    h.copy_(o * squashed)


def unsquash(dh: Tensor, dc: Tensor, active: Tensor, c: Tensor, squashed: Tensor, d: Tensor) -> Tensor:
    """Write the gradient of the gates before squashing into `d` [..., 4H]; returns that of c."""
    hidden = c.shape[-1]
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


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        active = gates.to(c.dtype, copy=True)
        new, squashed, h = torch.empty_like(c), torch.empty_like(c), torch.empty_like(c, dtype=gates.dtype)
        squash(active, c, new, squashed, h)
        ctx.save_for_backward(active, c, squashed)
        ctx.dtype = gates.dtype
        return h, new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor, dc: Tensor) -> tuple[Tensor, Tensor]:
        active, c, squashed = ctx.saved_tensors
        d = torch.empty_like(active)
        dc = unsquash(dh.to(c.dtype), dc, active, c, squashed, d)
        return d.to(ctx.dtype), dc


def sequences(
    reverse: tuple[bool, ...],
    ends: Tensor,
    h0: Tensor,
    c0: Tensor,
    projected: Sequence[Tensor],
    u: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """D runs over the same T steps: see `fast.sequences`.

    reverse: which runs go from the end to the start; ends: [B], each row's number of steps; h0, c0: [D, B, H];
    projected: for each run [T, B, 4H] of W x + b, in the order of the source; u: for each run [4H, H]. Padding comes
    last in every row: a forward run goes on over it, and nobody looks; a reverse run keeps its first state until the
    row begins.

    Returns h [D, T, B, H], zero on padding, and the last h and c, both [D, B, H].
    """
    outputs, h, c = _Sequences.apply(reverse, ends, h0, c0, *projected, *u)  # type: ignore[no-untyped-call]
    return outputs, h, c


class _Sequences(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, reverse: tuple[bool, ...], ends: Tensor, h0: Tensor, c0: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ways = len(reverse)
        projected, u = rest[:ways], rest[ways:]
        steps, batch, hidden = len(projected[0]), len(ends), h0.shape[-1]
        real = torch.arange(steps, device=ends.device).unsqueeze(1) < ends  # [T, B]
        ragged = [] if bool(real.all()) else [way for way in range(ways) if reverse[way]]
        h = u[0].new_empty(steps + 1, ways, batch, hidden)
        c, squashed = (c0.new_empty(steps + more, ways, batch, hidden) for more in (1, 0))
        active = c0.new_empty(steps, ways, batch, 4 * hidden)
        h[0], c[0] = h0, c0
        gates = h.new_empty(ways, batch, 4 * hidden)
        for s in range(steps):
            for way in range(ways):
                t = steps - 1 - s if reverse[way] else s
                torch.addmm(projected[way][t], h[s, way], u[way].t(), out=gates[way])
            squash(active[s].copy_(gates), c[s], c[s + 1], squashed[s], h[s + 1])
            for way in ragged:
                wait = ~real[steps - 1 - s].unsqueeze(1)
                for state in (h, c):
                    state[s + 1, way] = torch.where(wait, state[0, way], state[s + 1, way])
        outputs = torch.stack([h[1:, way].flip(0) if reverse[way] else h[1:, way] for way in range(ways)])
        if not bool(real.all()):
            outputs = outputs * real.unsqueeze(-1)
        rows = torch.arange(batch, device=ends.device)
        at = [ends * 0 + steps if back else ends for back in reverse]
        last_h, last_c = (
            torch.stack([state[index, way, rows] for way, index in enumerate(at)]) for state in (h, c)
        )
        ctx.save_for_backward(h, c, squashed, active, real, *at, *u)
        ctx.reverse, ctx.ragged = reverse, ragged
        return outputs, last_h, last_c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        h, c, squashed, active, real, *rest = ctx.saved_tensors
        ways, steps = len(ctx.reverse), len(active)
        at, u = rest[:ways], rest[ways:]
        dh, dc = torch.zeros_like(c[0]), torch.zeros_like(c[0])
        d_projected = [active.new_empty(active.shape[0], *active.shape[2:], dtype=h.dtype) for _ in u]
        d = torch.empty_like(active[0])
        first = [int(index.min()) for index in at]  # no row of this run ends before
        if not bool(real.all()):
            d_outputs = d_outputs * real.unsqueeze(-1)
        for s in reversed(range(steps)):
            for way in range(ways):
                dh[way] += d_outputs[way, steps - 1 - s if ctx.reverse[way] else s]
                if s + 1 >= first[way]:
                    ending = (at[way] == s + 1).unsqueeze(1)
                    dh[way] += d_h[way] * ending
                    dc[way] += d_c[way] * ending
            before = unsquash(dh, dc, active[s], c[s], squashed[s], d)
            for way in range(ways):
                t = steps - 1 - s if ctx.reverse[way] else s
                found = d_projected[way][t].copy_(d[way])
                if way in ctx.ragged:
                    wait = ~real[t].unsqueeze(1)
                    found.masked_fill_(wait, 0)
                    before[way] = torch.where(wait, dc[way], before[way])
                    dh[way] = torch.where(wait, dh[way], torch.mm(found, u[way]).to(dh.dtype))
                else:
                    dh[way] = torch.mm(found, u[way])
            dc = before
        d_u = []
        for way, back in enumerate(ctx.reverse):
            seen = h[:-1, way].flip(0) if back else h[:-1, way]
            d_u.append(torch.mm(d_projected[way].flatten(0, 1).t(), seen.flatten(0, 1)))
        return (None, None, dh, dc, *d_projected, *d_u)
