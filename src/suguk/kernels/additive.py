"""Energies of additive attention: the fast twin of `reference.additive`.

Shapes: B batch, Q queries, S source length, A attention size.

The inner layer tanh(q + k), [B, Q, S, A], is by far the largest thing in a model that has it. Here it exists for a few
rows of the batch at a time, or of one row for a few queries, small enough for a processor's cache, and is made again in
the backward pass.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from suguk.kernels import reference
from suguk.kernels.squash import tanh

CHUNK = 2**18  # values of the inner layer at a time: 1 MB in float32


def energies(
    query: Tensor, keys: Tensor, v: Tensor, covered: Tensor | None = None, w: Tensor | None = None
) -> Tensor:
    """As `reference.additive`, same arguments and result, in float32 or wider; on a GPU the reference itself."""
    if torch.compiler.is_compiling() or query.device.type != "cpu":
        return reference.additive(query, keys, v, covered, w)
    result: Tensor = _Energies.apply(query, keys, v, covered, w)  # type: ignore[no-untyped-call]
    return result


class _Energies(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, v: Tensor, covered: Tensor | None, w: Tensor | None
    ) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        ctx.save_for_backward(query, keys, v, covered, w)
        found = query.new_empty(*query.shape[:2], keys.shape[1], *v.shape[1:], dtype=wide)
        for at, inner in _inner(query, keys, covered, w, wide):
            torch.matmul(inner, v.to(wide), out=found[at])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, v, covered, w = given = ctx.saved_tensors
        d_query, d_keys = torch.empty_like(query, dtype=d.dtype), torch.zeros_like(keys, dtype=d.dtype)
        d_v = torch.zeros_like(v, dtype=d.dtype)
        d_covered, d_w = (
            None if part is None else torch.zeros_like(part, dtype=d.dtype) for part in given[3:]
        )
        v = v.to(d.dtype)
        several = v.dim() == 2
        for at, inner in _inner(query, keys, covered, w, d.dtype):
            flat = inner.flatten(0, -2).t()
            if several:
                d_v.addmm_(flat, d[at].flatten(0, 2))
            else:
                d_v.addmv_(flat, d[at].flatten())
            # d/dx tanh(x) = 1 - tanh²; one v is multiplied in last, where the sums have made everything smaller
            towards = d[at] @ v.t() if several else d[at].unsqueeze(-1)
            slope = inner.mul_(inner).neg_().add_(1).mul_(towards)
            torch.sum(slope, 2, out=d_query[at])
            d_keys[at[0]] += slope.sum(1)
            if d_covered is not None and d_w is not None:
                torch.matmul(slope, w.to(d.dtype) if several else v * w, out=d_covered[at])
                d_w.addmv_(slope.flatten(0, -2).t(), covered[at].flatten().to(d.dtype))
        if not several:
            for part in (d_query, d_keys, d_w):
                if part is not None:
                    part.mul_(v)
        found = d_query, d_keys, d_v, d_covered, d_w
        return tuple(
            None if part is None else part.to(old.dtype) for part, old in zip(found, given, strict=True)
        )


def _inner(
    query: Tensor, keys: Tensor, covered: Tensor | None, w: Tensor | None, wide: torch.dtype
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """tanh(q + k + w · covered) of a few rows and queries at a time, in one buffer: [rows, queries, S, A]."""
    batch, queries, size = query.shape
    one = max(keys.shape[1] * size, 1)  # of a query
    few = min(max(1, CHUNK // (max(queries, 1) * one)), batch)
    some = min(max(1, CHUNK // one), queries)
    buffer = query.new_empty(few, some, keys.shape[1], size, dtype=wide)
    query, keys = query.to(wide).unsqueeze(2), keys.to(wide).unsqueeze(1)
    for row, first in product(range(0, batch, few), range(0, queries, some)):
        at = slice(row, row + few), slice(first, first + some)
        inner = buffer[: min(few, batch - row), : min(some, queries - first)]
        torch.add(query[at], keys[at[0]], out=inner)
        if covered is not None and w is not None:
            inner.addcmul_(covered[at].to(wide).unsqueeze(-1), w.to(wide))
        yield at, tanh(inner, inner)
