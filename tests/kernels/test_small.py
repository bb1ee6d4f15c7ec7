"""The small kernels: additive energies, tanh, dropout, one step of the LSTM."""

import pytest
import torch
from torch import Tensor

from suguk.kernels import additive, lstm, reference
from suguk.kernels.dropout import dropout
from suguk.kernels.squash import tanh


def drawn(queries: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query, keys, v = (
        torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((5, queries, 7), (5, 3, 7), (7,))
    )
    return query, keys, v


@pytest.mark.parametrize("chunk", [1, 50, 2**18])
@pytest.mark.parametrize("queries", [1, 2, 11])
def test_additive_is_the_reference(monkeypatch: pytest.MonkeyPatch, queries: int, chunk: int) -> None:
    monkeypatch.setattr(additive, "CHUNK", chunk)
    for dtype, atol in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        parts = drawn(queries, dtype)
        results = []
        for function in (additive.energies, reference.additive):
            found = function(*parts)
            results.append((found, *torch.autograd.grad((found**2).sum(), parts)))
        for a, b in zip(*results, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)


def test_additive_gradcheck() -> None:
    assert torch.autograd.gradcheck(additive.energies, drawn(2, torch.float64))


@pytest.mark.parametrize("chunk", [1, 2**18])
def test_additive_of_several_heads(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(additive, "CHUNK", chunk)
    query, keys, _ = drawn(2, torch.float64)
    v = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (additive.energies, reference.additive):
        found = function(query, keys, v)
        results.append((found, *torch.autograd.grad((found**2).sum(), (query, keys, v))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert found.shape == (5, 2, 3, 3)
    for head in range(3):
        torch.testing.assert_close(found[..., head], reference.additive(query, keys, v[:, head]))


@pytest.mark.parametrize("chunk", [1, 2**18])
@pytest.mark.parametrize("heads", [None, 3])
def test_additive_with_coverage(monkeypatch: pytest.MonkeyPatch, heads: int | None, chunk: int) -> None:
    monkeypatch.setattr(additive, "CHUNK", chunk)
    query, keys, v = drawn(2, torch.float64)
    if heads:
        v = torch.randn(7, heads, dtype=torch.float64, requires_grad=True)
    covered = torch.rand(5, 2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    parts = (query, keys, v, covered, w)
    results = []
    for function in (additive.energies, reference.additive):
        found = function(*parts)
        results.append((found, *torch.autograd.grad((found**2).sum(), parts)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    inner = torch.tanh(query[1, 1] + keys[1, 2] + covered[1, 1, 2] * w)
    torch.testing.assert_close(found[1, 1, 2], inner @ v)


def test_additive_in_bfloat16_answers_in_float32() -> None:
    query, keys, v = drawn(2, torch.float32)
    found = additive.energies(query.bfloat16(), keys.bfloat16(), v)
    assert found.dtype == torch.float32
    assert (found - reference.additive(query, keys, v)).abs().max() < 0.05


def test_tanh() -> None:
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([0.0, 1e4, -1e4, torch.inf, -torch.inf])])
    torch.testing.assert_close(tanh(x, torch.empty_like(x)), torch.tanh(x), rtol=0, atol=2e-7)
    wide = x.double()
    assert (tanh(wide, torch.empty_like(wide)) == torch.tanh(wide)).all()
    strided = torch.randn(3, 8)[:, 2:5]
    wanted = torch.tanh(strided)
    assert tanh(strided, strided) is strided
    torch.testing.assert_close(strided, wanted, rtol=0, atol=2e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_dropout(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(101, 97, 11, dtype=dtype)
    found = dropout(x, share, True)
    assert found.dtype == dtype
    count = x.numel()
    zeros = float((found == 0).sum()) / count
    assert abs(zeros - share) < 5 * (share * (1 - share) / count) ** 0.5 + 1 / 65536
    assert len(set(found.flatten().tolist())) == 2
    assert abs(float(found.double().mean()) - 1) < 0.02
    other = dropout(x, share, True)
    both = float(((found == 0) & (other == 0)).sum()) / count  # independent of each other
    assert abs(both - share**2) < 0.01
    neighbours = float(((found[:, :-1] == 0) & (found[:, 1:] == 0)).sum()) / (101 * 96 * 11)
    assert abs(neighbours - share**2) < 0.01


def test_dropout_off() -> None:
    x = torch.ones(3)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0, True) is x


def test_dropout_follows_the_seed_and_masks_the_gradient() -> None:
    x = torch.randn(5, 7, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(x, 0.4, True)
    torch.manual_seed(3)
    assert (dropout(x, 0.4, True) == first).all()
    (gradient,) = torch.autograd.grad(first.sum(), [x])
    assert ((gradient == 0) == (first == 0)).all()


def test_lstm_step_is_the_reference() -> None:
    torch.manual_seed(0)
    gates, c = (
        torch.randn(5, 1, 12, dtype=torch.float64, requires_grad=True),
        torch.randn(5, 1, 3, dtype=torch.float64, requires_grad=True),
    )
    results = []
    for function in (lstm.step, reference.lstm):
        h, new = function(gates, c)
        results.append((h, new, *torch.autograd.grad((h**2).sum() + new.sum(), [gates, c])))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lstm.step, (gates, c))
