"""bfloat16 on a processor without it: products as the definition of rounding has them."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.emulate import rounded
from suguk.kernels import fast, reference
from suguk.kernels.reference import Weights


def exactly(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product of bfloat16 matrices, in float64, rounded once."""
    return (a.double() @ b.double()).bfloat16()


def test_products_are_those_of_rounded_factors() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(17, 13, requires_grad=True), torch.randn(7, 13, requires_grad=True)
    with rounded(), torch.autocast("cpu", torch.bfloat16):
        y = F.linear(a, b)
        torch.autograd.backward(y, torch.ones_like(y))
    assert y.dtype == torch.bfloat16
    near = exactly(a.bfloat16(), b.bfloat16().t())
    torch.testing.assert_close(y, near, rtol=2**-7, atol=0)
    assert (y == near).float().mean() > 0.95  # sums in float32 may fall on the other side of a tie
    assert a.grad is not None
    torch.testing.assert_close(a.grad.bfloat16(), exactly(torch.ones(17, 7).bfloat16(), b.bfloat16()))


def test_buffers_are_written() -> None:
    a, b, out = torch.randn(3, 5).bfloat16(), torch.randn(5, 2).bfloat16(), torch.empty(3, 2).bfloat16()
    with rounded():
        torch.mm(a, b, out=out)
    torch.testing.assert_close(out, exactly(a, b))


def test_whole_sequences_stay_near_those_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "bfloat16_sequences", lambda: True)
    torch.manual_seed(0)
    weights = Weights(*(torch.randn(shape) / 4 for shape in ((44, 7), (44, 11), (44,), (44,))))
    inputs, state = torch.randn(2, 5, 7), (torch.randn(2, 11), torch.randn(2, 11))
    wanted, _ = reference.sequence("lstm", inputs, None, state, weights)
    with rounded(), torch.autocast("cpu", torch.bfloat16):
        found, _ = fast.sequence("lstm", inputs, None, state, weights)
    assert found.dtype == torch.bfloat16
    assert 0 < (found.float() - wanted).abs().max() < 0.02
