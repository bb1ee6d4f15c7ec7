"""A loop over steps that uses the same matrices at every step: their gradients are made once, of all steps together.

Shapes: B batch, Q queries, T steps, I inputs, O outputs, H hidden, S source length, A width of a key.

The gradient of y_t = W x_t is dx_t = Wᵀ dy_t, which the step before waits for, and dW = Σ_t dy_t x_tᵀ, which nobody
waits for. Autograd makes T small products of the latter and adds them up; here x_t is written into a buffer, dy_t is
noted as it comes, and one large product follows when the last step has been walked back. The same holds for the keys
and values of attention, which are matrices too, one for each row of the batch.

Inside `with Steps(T):` the functions `linear`, `scores`, `mix` and `cell` of this file work like that; outside they are
plain PyTorch, so the same code of a decoder's step serves training, search and export. Under autocast the products take
its type, and so do the states of a tanh cell and h of an LSTM; gates, c of an LSTM and a GRU's states are float32.
"""

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from suguk.kernels import lstm, reference
from suguk.kernels.reference import CellState, Weights

_current: ContextVar["Steps | None"] = ContextVar("steps", default=None)


class Steps:
    """The matrices that a loop of `count` steps has used so far. Each is used once a step."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.count = count
        kind = device.type
        self.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self._shared: dict[tuple[str, int], tuple[Tensor, Shared]] = {}
        self._held: dict[tuple[str, int], tuple[object, Tensor]] = {}

    def __enter__(self) -> "Steps":
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        for _, shared in self._shared.values():
            shared.close()

    def shared(self, use: str, key: Tensor, make: Callable[[], tuple[Tensor, Tensor | None]]) -> "Shared":
        """What is made of `key` for this use, at the first step: a matrix [O, I] or [B, O, I], and a bias."""
        found = self._shared.get((use, id(key)))
        if found is None:
            found = key, Shared(*make(), self.count, self.dtype)
            self._shared[use, id(key)] = found
        return found[1]

    def held(self, use: str, key: object, make: Callable[[], Tensor]) -> Tensor:
        """What is made for `key` and this use at the first step."""
        found = self._held.get((use, id(key)))
        if found is None:
            found = self._held[use, id(key)] = key, make()
        return found[1]


class Shared:
    """A matrix, [O, I] or [B, O, I], and what its gradient needs of every step."""

    def __init__(self, matrix: Tensor, bias: Tensor | None, steps: int, dtype: torch.dtype | None) -> None:
        dtype = dtype or matrix.dtype
        self.matrix = matrix.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.rows = matrix.dim() == 3  # a matrix for each row
        self.steps, self.used = steps, 0
        self.inputs = torch.empty(0)
        self.walk, self.grads = -1, dict[int, Tensor]()  # a walk back, and dy of the steps it has come by
        self.gate: Tensor | None = None
        parts = [part for part in (matrix, bias) if part is not None]
        self.trained = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
        if self.trained:
            self.gate = _Gate.apply(self, *parts)  # type: ignore[no-untyped-call]

    def __call__(self, x: Tensor) -> Tensor:
        """x: [B, Q, I] → [B, Q, O]."""
        if self.gate is None and not (torch.is_grad_enabled() and x.requires_grad):
            return self.product(x.to(self.matrix.dtype))
        result: Tensor = _Multiply.apply(x, self.gate, self)  # type: ignore[no-untyped-call]
        return result

    def close(self) -> None:
        """The loop has ended: what its way back needs is the graph's alone, which gives it up when it was used."""
        self.gate = None
        self.inputs = self.matrix = torch.empty(0)

    def keep(self, x: Tensor) -> tuple[int, Tensor]:
        """Copy x into the buffer of inputs; the number of the step and the copy."""
        if self.used == 0:
            self.inputs = x.new_empty(self.steps, *x.shape, dtype=self.matrix.dtype)
        step = self.used
        self.used += 1
        kept = self.inputs.data[step]  # `data`: writing the next one does not count as a change of this one
        return step, kept.copy_(x)

    def product(self, x: Tensor) -> Tensor:
        if self.rows:
            return torch.bmm(x, self.matrix.transpose(1, 2))
        return F.linear(x, self.matrix, self.bias)

    def back(self, step: int, dy: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
        """Note dy of a step, whose input was x; dx."""
        dy = dy.to(matrix.dtype)
        if self.trained:
            walk = torch._C._current_graph_task_id()
            if walk != self.walk:
                self.walk, self.grads = walk, {}
                self.inputs = x.as_strided((self.steps, *x.shape), (x.numel(), *x.stride()), 0)
            self.grads[step] = dy  # no copy: what a step kept for its way back makes room for it
        return torch.matmul(dy, matrix)

    def gradients(self) -> tuple[Tensor, ...]:
        """dW = Σ_t dy_t x_tᵀ, and that of the bias. What they are made of is given up."""
        walked = sorted(
            self.grads
        )  # not all, where nobody used the outputs of some, as those of the last step
        first, last = walked[0], walked[-1] + 1
        # By a list only where it has to be: a GPU would be waited for.
        x = self.inputs[first:last] if len(walked) == last - first else self.inputs[walked]
        dy = torch.stack([self.grads[step] for step in walked])
        self.inputs, self.grads = torch.empty(0), {}
        if self.rows:  # [T, B, Q, O] → [B, O, T·Q]
            # In float32 or wider: small products, of another shape in nearly every batch, and in bfloat16 on a CPU
            # code is made and kept for every shape.
            left, right = wide(dy.permute(1, 3, 0, 2).flatten(2)), wide(x.transpose(0, 1).flatten(1, 2))
            found = left.new_empty(*left.shape[:2], right.shape[2])
            return (torch.bmm(left, right, out=found),)  # `out`: else autocast would make it bfloat16 again
        dy = dy.flatten(0, -2)
        found = torch.mm(dy.t(), x.flatten(0, -2))
        return (found,) if self.bias is None else (found, dy.sum(0))


class _Gate(torch.autograd.Function):
    """Stands between a matrix and its uses; autograd comes here after the last of them."""

    @staticmethod
    def forward(ctx: Any, shared: Shared, *parts: Tensor) -> Tensor:
        ctx.shared, ctx.dtypes = shared, [part.dtype for part in parts]
        return parts[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.shared.grads:
            return (None, *(None for _ in ctx.dtypes))
        found = ctx.shared.gradients()
        return (None, *(part.to(dtype) for part, dtype in zip(found, ctx.dtypes, strict=True)))


class _Multiply(torch.autograd.Function):
    """y_t = W x_t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, _gate: Tensor | None, shared: Shared) -> Tensor:
        ctx.step, kept = shared.keep(x)
        ctx.save_for_backward(kept, shared.matrix)
        ctx.shared, ctx.dtype = shared, x.dtype
        return shared.product(kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.shared.back(ctx.step, dy, *ctx.saved_tensors).to(ctx.dtype), None, None


def _now() -> Steps | None:
    """The loop under way in this thread. Export cannot trace a ContextVar, and never is in a loop."""
    return None if torch.compiler.is_compiling() else _current.get()


def held(use: str, key: object, make: Callable[[], Tensor]) -> Tensor:
    """What `make` returns: inside a loop the same tensor at every step, outside of one a new one at every call."""
    steps = _now()
    return make() if steps is None else steps.held(use, key, make)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x + b. x: [..., I]; weight: [O, I]."""
    steps = _now()
    if steps is None:
        return F.linear(x, weight, bias)
    return steps.shared("linear", weight, lambda: (weight, bias))(x)


def scores(query: Tensor, keys: Tensor) -> Tensor:
    """query · key for every pair. query: [B, Q, A]; keys: [B, S, A] → [B, Q, S]. All may have heads, [B, N, …]."""
    steps = _now()
    if steps is None:
        product = torch.bmm if keys.dim() == 3 else torch.matmul
        return product(query, keys.transpose(-1, -2))
    found = steps.shared("scores", keys, lambda: (_rows(keys), None))(_rows(query))
    return found if query.dim() == 3 else torch.unflatten(found, 0, query.shape[:2])


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_s weight_s · value_s. weights: [B, Q, S]; values: [B, S, C] → [B, Q, C]. All may have heads, [B, N, …]."""
    steps = _now()
    if steps is None:
        product = torch.bmm if values.dim() == 3 else torch.matmul
        return product(weights.to(values.dtype), values)
    found = steps.shared("mix", values, lambda: (_rows(values).transpose(1, 2), None))(_rows(weights))
    return found if weights.dim() == 3 else torch.unflatten(found, 0, weights.shape[:2])


def _rows(x: Tensor) -> Tensor:
    """Every head as a row of its own: [B, N, Q, A] → [B · N, Q, A]."""
    return x if x.dim() == 3 else x.flatten(0, 1)


def cell(
    kind: str, given: Tensor | None, inputs: Tensor | None, state: CellState, weights: Weights
) -> CellState:
    """One step of a cell.

    given: what was made of W_ih x + b_ih before the loop, [..., G]; inputs: the parts of x that are not in it,
    [..., I], where weights.ih has their columns only. One of the two may be None. state: each [..., H]. Returns the
    new state.
    """
    steps = _now()
    if steps is None:
        parts = [] if given is None else [given]
        if inputs is not None:
            parts.append(F.linear(inputs, weights.ih, weights.bias_ih if given is None else None))
        return reference.step(kind, sum(parts[1:], parts[0]), state, weights)
    if kind in ("lstm", "rnn"):
        product = _gates(steps, given is None, inputs, state[0], weights)
        if kind == "lstm" and product.is_cuda:
            nothing = steps.held("nothing", weights.hh, lambda: torch.zeros_like(product))
            return lstm.fused(product, nothing if given is None else given, wide(state[1]))
        gates = product if given is None else product + given
        return (torch.tanh(gates),) if kind == "rnn" else lstm.step(gates, wide(state[1]))
    return (_gru(steps, kind, given, inputs, wide(state[0]), weights),)


def wide(state: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return state if state.dtype == torch.float64 else state.float()


def _gates(steps: Steps, whole: bool, inputs: Tensor | None, h: Tensor, weights: Weights) -> Tensor:
    """W x + U h + b with one product, [W U] [x; h]; whole: with b_ih, which is else in what is given."""

    def merged() -> tuple[Tensor, Tensor]:
        bias = weights.bias_ih + weights.bias_hh if whole else weights.bias_hh
        narrow = steps.dtype or weights.hh.dtype  # before they are put together: half the bytes to move
        matrices = [weights.hh] if inputs is None else [weights.ih, weights.hh]
        return torch.cat([matrix.to(narrow) for matrix in matrices], dim=1), bias

    both = h if inputs is None else torch.cat([inputs.to(h.dtype), h], dim=-1)
    return steps.shared("gates", weights.hh, merged)(both)


def _gru(
    steps: Steps, kind: str, given: Tensor | None, inputs: Tensor | None, h: Tensor, weights: Weights
) -> Tensor:
    _, hh, bias_ih, bias_hh = weights
    hidden = hh.shape[1]
    parts = [] if given is None else [given]
    if inputs is not None:
        bias = bias_ih if given is None else None
        parts.append(steps.shared("inputs", hh, lambda: (weights.ih, bias))(inputs))
    projected = sum(parts[1:], parts[0]).to(h.dtype)
    if kind == "gru":
        recurrent = steps.shared("recurrent", hh, lambda: (hh, bias_hh))(h)
        algebra = _fused_gru if h.is_cuda else reference.gru
        return algebra(projected, recurrent.to(h.dtype), h)
    gates = steps.shared("reset and update", hh, lambda: (hh[: 2 * hidden], bias_hh[: 2 * hidden]))(h)
    r, z = reference.gru_gates(projected, gates.to(h.dtype))
    candidate = steps.shared("candidate", hh, lambda: (hh[2 * hidden :], bias_hh[2 * hidden :]))(r * h)
    return reference.gru_reset_before(projected, candidate.to(h.dtype), z, h)


def _fused_gru(projected: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """`reference.gru` on a GPU in one kernel."""
    flat = [part.flatten(0, -2) for part in (projected, recurrent, h)]
    with torch.autocast("cuda", enabled=False):
        new, _ = torch.ops.aten._thnn_fused_gru_cell(*flat)
    found: Tensor = new.view(h.shape)
    return found
