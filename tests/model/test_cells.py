"""Zoneout and layer normalisation against their papers' equations, in float64, one step at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.config import ModelConfig
from suguk.kernels import fast
from suguk.model import build
from suguk.model.cells import Cell, Habits
from tests.model.compositions import SOURCE_V, TARGET_V, pairs, tiny

B, T, INPUTS, H = 3, 7, 5, 11
RAGGED = pairs((5, 1, 3), (4, 2, 4))
LENGTHS = (7, 1, 4)
MASK = torch.arange(T) < torch.tensor(LENGTHS).unsqueeze(1)


def drawn(kind: str, habits: Habits) -> tuple[Cell, Tensor]:
    torch.manual_seed(0)
    cell = Cell(kind=kind, inputs=INPUTS, hidden=H, habits=habits).double()
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return cell, torch.randn(B, T, INPUTS, dtype=torch.float64)


def norm(a: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Ba et al. 2016, eqs. 3-4, and the ε that everybody adds."""
    centred = a - a.mean()
    return gain * centred / torch.sqrt((centred**2).mean() + 1e-5) + bias


def lstm(cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Ba et al. 2016, eqs. 20-22."""
    sums = norm(cell.weight_hh @ h, cell.gain_hh, cell.bias_hh)
    sums = sums + norm(cell.weight_ih @ x, cell.gain_ih, cell.bias_ih)
    i, f, g, o = sums.split(H)  # type: ignore[no-untyped-call]
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(norm(c, cell.gain_c, cell.bias_c)), c


def gru(cell: Cell, x: Tensor, h: Tensor) -> tuple[Tensor]:
    """Ba et al. 2016, eqs. 23-25, with z for their 1 − z."""
    a, b = 2 * H, 3 * H
    gates = norm((cell.weight_hh @ h)[:a], cell.gain_hh[:a], cell.bias_hh[:a])
    gates = gates + norm((cell.weight_ih @ x)[:a], cell.gain_ih[:a], cell.bias_ih[:a])
    r, z = torch.sigmoid(gates).split(H)  # type: ignore[no-untyped-call]
    inner = norm((cell.weight_hh @ h)[a:b], cell.gain_hh[a:], cell.bias_hh[a:])
    n = torch.tanh(norm((cell.weight_ih @ x)[a:b], cell.gain_ih[a:], cell.bias_ih[a:]) + r * inner)
    return (z * h + (1 - z) * n,)


@pytest.mark.parametrize(
    "habits",
    [Habits(), Habits(recurrent_dropout=0.3), Habits(zoneout=(0.1,)), Habits(layer_norm=True)],
    ids=str,
)
def test_only_what_needs_it_goes_step_by_step(habits: Habits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without zoneout and layer norm a sequence is one call, as if there were neither."""
    walked, stepwise = [], fast.stepwise

    def walk(*given: Any, **more: Any) -> Any:
        walked.append(1)
        return stepwise(*given, **more)

    monkeypatch.setattr(fast, "stepwise", walk)
    cell, x = drawn("gru", habits)
    cell.sequence(x, MASK, cell.initial(x, B))
    assert bool(walked) == bool(habits.zoneout or habits.layer_norm)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_layer_norm_is_the_papers(kind: str, reverse: bool) -> None:
    cell, x = drawn(kind, Habits(layer_norm=True))
    outputs, last = cell.sequence(x, MASK, cell.initial(x, B), reverse=reverse)
    gradients = torch.autograd.grad(outputs.sum() + last[-1].sum(), list(cell.parameters()))
    parts = 2 if kind == "lstm" else 1
    total = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(LENGTHS):
        state = tuple(torch.zeros(H, dtype=torch.float64) for _ in range(parts))
        for t in reversed(range(length)) if reverse else range(length):
            state = lstm(cell, x[b, t], *state) if kind == "lstm" else gru(cell, x[b, t], *state)
            torch.testing.assert_close(outputs[b, t], state[0], rtol=0, atol=1e-10)
            total = total + state[0].sum()
        assert (outputs[b, length:] == 0).all()
        for found, wanted in zip(last, state, strict=True):
            torch.testing.assert_close(found[b], wanted, rtol=0, atol=1e-10)
        total = total + state[-1].sum()
    for found, wanted in zip(gradients, torch.autograd.grad(total, list(cell.parameters())), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("init", ["xavier", "uniform", "normal"])
def test_norms_begin_as_identities(init: str, kind: str) -> None:
    settings = ModelConfig.model_validate({"hidden": 6, "cell": kind, "init": init, "layer_norm": True})
    model = build(settings, SOURCE_V, TARGET_V, seed=1)
    values = {name: value for name, value in model.named_parameters() if "gain" in name or "bias_c" in name}
    assert len(values) == 2 * (4 if kind == "lstm" else 2)
    for name, value in values.items():
        assert (value == (1 if "gain" in name else 0)).all()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_norm_that_has_read_only_dropped_words_has_a_tame_slope(kind: str) -> None:
    """All embeddings dropped: a first gradient of ten million and more if all biases began at 0."""
    settings = ModelConfig.model_validate(
        {"hidden": 12, "cell": kind, "layers": 2, "encoder_layers": 3, "layer_norm": True}
        | {"attention": "additive", "attend": "between", "embedding_dropout": 0.9}
    )
    model = build(settings, SOURCE_V, TARGET_V, seed=1).train()
    torch.manual_seed(4)
    source, target = torch.randint(4, SOURCE_V, (B, 5)), torch.randint(4, TARGET_V, (B, 7))
    loss = model.loss(source, torch.full((B,), 5), target, torch.full((B,), 7))
    (loss.total / loss.tokens).backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.get_total_norm([one.grad for one in model.parameters() if one.grad is not None])
    assert float(norm) < 100


ZONEOUT = {"lstm": (0.3, 0.6), "gru": (0.3,), "rnn": (0.3,), "gru-reset-before": (0.3,)}


@pytest.mark.parametrize("kind", ZONEOUT)
def test_zoneout_answers_with_the_expectation(kind: str) -> None:
    """Krueger et al. 2017, §3.2: at test time each unit is the mean of its old and its new value."""
    cell, x = drawn(kind, Habits(zoneout=ZONEOUT[kind]))
    plain, _ = drawn(kind, Habits())
    plain.load_state_dict(cell.state_dict())
    cell.eval()
    outputs, last = cell.sequence(x, MASK, cell.initial(x, B))
    for b, length in enumerate(LENGTHS):
        state = cell.initial(x, 1)
        for t in range(length):
            _, new = plain(x[b : b + 1, t], state)
            both = zip(ZONEOUT[kind], state, new, strict=True)
            state = tuple(z * before + (1 - z) * after for z, before, after in both)
            torch.testing.assert_close(outputs[b, t], state[0][0], rtol=0, atol=1e-10)
        for found, wanted in zip(last, state, strict=True):
            torch.testing.assert_close(found[b], wanted[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ZONEOUT)
def test_zoneout_keeps_units_in_training(kind: str) -> None:
    """Each unit of each part is its old value or its new one, as often as asked; h comes of the c before zoneout."""
    cell = Cell(kind=kind, inputs=INPUTS, hidden=997, habits=Habits(zoneout=ZONEOUT[kind]))
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    plain = Cell(kind=kind, inputs=INPUTS, hidden=997)
    plain.load_state_dict(cell.state_dict())
    x = torch.randn(B, INPUTS)
    state = tuple(torch.rand(B, 997) for _ in ZONEOUT[kind])
    _, found = cell(x, state)
    _, new = plain(x, state)
    for z, now, before, after in zip(ZONEOUT[kind], found, state, new, strict=True):
        kept = now == before
        assert torch.equal(now[~kept], after[~kept])
        assert kept.float().mean() == pytest.approx(z, abs=0.05)


def test_zoneout_reaches_the_gradient() -> None:
    torch.manual_seed(0)
    model = tiny(
        cell="lstm", zoneout=0.2, zoneout_cell=0.4, layer_norm=True, attention="dot", layers=2
    ).train()
    torch.manual_seed(1)
    first = model.loss(*RAGGED).total
    assert not torch.equal(model.loss(*RAGGED).total, first)
    first.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "gru", "zoneout_cell": 0.1}, "zoneout_cell is of the c of an lstm"),
        ({"cell": "rnn", "layer_norm": True}, "layer_norm is made for lstm and gru"),
    ],
)
def test_cells_without_such_a_part_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate(settings)
