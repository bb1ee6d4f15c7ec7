"""Projection and cross-entropy in pieces against the definition."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from suguk.kernels import projection, reference

R, V = 7, 13
PIECES = [(1, 1), (8 * V, 20 * V), (2**20, 2**21)]  # logits at a time, gradients at a time


def cut(monkeypatch: pytest.MonkeyPatch, chunk: int, group: int) -> None:
    """Several pieces of a few tokens, in float32 and in bfloat16."""
    monkeypatch.setattr(projection, "ROUND", 4)
    monkeypatch.setattr(projection, "CHUNK", chunk)
    monkeypatch.setattr(projection, "GROUP", group)
    monkeypatch.setattr(projection, "NARROW", group)


def drawn(tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    readout, weight, bias = (
        torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((tokens, R), (V, R), (V,))
    )
    return readout, weight, bias, torch.randint(0, V, (tokens,))


def results(module: object, tokens: int, dtype: torch.dtype, smoothing: float) -> list[Tensor]:
    readout, weight, bias, targets = drawn(tokens, dtype)
    total, nll = module.cross_entropy(  # type: ignore[attr-defined]
        readout, weight, bias, targets, label_smoothing=smoothing
    )
    assert not nll.requires_grad
    return [total, nll, *torch.autograd.grad(0.3 * total, [readout, weight, bias])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tokens", [1, 2, 29, 200])
@pytest.mark.parametrize(("chunk", "group"), PIECES)
def test_is_the_reference(
    monkeypatch: pytest.MonkeyPatch, chunk: int, group: int, tokens: int, smoothing: float
) -> None:
    cut(monkeypatch, chunk, group)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found, wanted = (results(module, tokens, dtype, smoothing) for module in (projection, reference))
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)


def test_gradcheck() -> None:
    *parts, targets = drawn(5, torch.float64)

    def total(readout: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return projection.cross_entropy(readout, weight, bias, targets, label_smoothing=0.2)[0]

    assert torch.autograd.gradcheck(total, tuple(parts))


def test_only_what_needs_a_gradient_gets_one() -> None:
    readout, weight, bias, targets = drawn(5, torch.float64)
    with torch.no_grad():
        total, _ = projection.cross_entropy(readout, weight, bias, targets)
    assert not total.requires_grad
    total, _ = projection.cross_entropy(readout, weight.detach(), bias.detach(), targets)
    torch.autograd.backward(total)
    assert readout.grad is not None
    assert weight.grad is None


@pytest.mark.parametrize("tokens", [29, 200])
@pytest.mark.parametrize(("chunk", "group"), PIECES)
def test_bfloat16_is_near_float32(
    monkeypatch: pytest.MonkeyPatch, chunk: int, group: int, tokens: int
) -> None:
    """Products in bfloat16 have 8 bits: 2 % of the largest gradient."""
    cut(monkeypatch, chunk, group)
    wanted = results(reference, tokens, torch.float32, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(projection, tokens, torch.float32, 0.1)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).abs().max() <= 0.02 * b.abs().max()


def test_a_hopeless_target_has_a_finite_loss() -> None:
    weight = torch.tensor([[1000.0], [-1000.0]], requires_grad=True)
    readout = torch.ones(1, 1, requires_grad=True)
    total, nll = projection.cross_entropy(readout, weight, torch.zeros(2), torch.tensor([1]))
    assert float(nll) == 2000.0
    torch.autograd.backward(total)
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0], [-1.0]]


class Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how many numbers every operation returns that are of the vocabulary's width."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wide: list[int] = []

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.dim() and found.shape[-1] == V:
            self.wide.append(found.numel())
        return found


@pytest.mark.parametrize("narrow", [False, True])
def test_nothing_as_large_as_the_logits_is_ever_made(monkeypatch: pytest.MonkeyPatch, narrow: bool) -> None:
    """Neither on the way there, nor on the way back, nor kept between the two."""
    cut(monkeypatch, 8 * V, 20 * V)
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    kept = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    readout, weight, bias, targets = drawn(1000, torch.float32)
    with kept, Sizes() as made, torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        total, _ = projection.cross_entropy(readout, weight, bias, targets)
        torch.autograd.backward(total)
    assert max(sizes) == 1000 * R  # the gradient of the readout
    assert max(made.wide) == 20 * V


def mixed(module: object, tokens: int, smoothing: float, dtype: torch.dtype) -> list[Tensor]:
    """With p_gen and the probability of copying, which for some tokens are 0."""
    readout, weight, bias, targets = drawn(tokens, dtype)
    log_g = torch.rand(tokens, dtype=dtype).log()
    log_g[::3] = -torch.inf
    mass = torch.rand(tokens, dtype=dtype)
    mass[1::3] = 0
    mixture = log_g.requires_grad_(), mass.requires_grad_()
    total, nll = module.cross_entropy(  # type: ignore[attr-defined]
        readout, weight, bias, targets, label_smoothing=smoothing, mixture=mixture
    )
    assert not nll.requires_grad
    return [total, nll, *torch.autograd.grad(0.3 * total, [readout, weight, bias, *mixture])]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tokens", [1, 29, 200])
@pytest.mark.parametrize(("chunk", "group"), PIECES)
def test_a_mixture_is_the_reference(
    monkeypatch: pytest.MonkeyPatch, chunk: int, group: int, tokens: int, smoothing: float
) -> None:
    cut(monkeypatch, chunk, group)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found, wanted = (mixed(module, tokens, smoothing, dtype) for module in (projection, reference))
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            assert torch.isfinite(a).all()
            assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)
