"""Learning rates as the papers state them, and optimizers that remember across a save."""

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from suguk.config import TrainConfig
from suguk.errors import ModelError
from suguk.training.optimise import Optimizer, halvings, rate

OPTIMIZERS = ["sgd", "adam", "adamw", "adadelta", "rmsprop"]


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**changes)


def test_a_constant_rate_stays() -> None:
    assert {rate(config(lr=0.3), step=step, epochs=step / 7, level=3) for step in (1, 5, 700)} == {0.3}


def test_inverse_sqrt_warms_up_and_decays() -> None:
    settings = config(schedule="inverse-sqrt", lr=0.002, warmup=400)
    assert rate(settings, step=1, epochs=0, level=0) == pytest.approx(0.002 / 400)
    assert rate(settings, step=200, epochs=0, level=0) == pytest.approx(0.001)
    assert rate(settings, step=400, epochs=0, level=0) == 0.002
    assert rate(settings, step=1600, epochs=0, level=0) == pytest.approx(0.001)


def test_linear_ends_at_nothing_with_the_epochs_or_the_time() -> None:
    settings = config(lr=0.5, schedule="linear", warmup=10, epochs=8)
    assert rate(settings, step=1, epochs=0, level=0) == pytest.approx(0.05)
    assert rate(settings, step=10, epochs=0, level=0) == 0.5
    assert rate(settings, step=99, epochs=2, level=0) == pytest.approx(0.375)
    assert rate(settings, step=99, epochs=2, level=0, spent=0.5) == pytest.approx(0.25)
    assert rate(settings, step=99, epochs=8, level=0) == 0
    assert rate(settings, step=99, epochs=1, level=0, spent=1.1) == 0


def test_cosine_ends_at_nothing_with_the_epochs_or_the_time() -> None:
    """Loshchilov and Hutter 2017, eq. 5, with η_min = 0 and T_i the whole of training."""
    settings = config(lr=0.5, schedule="cosine", warmup=10, epochs=8)
    assert rate(settings, step=1, epochs=0, level=0) == pytest.approx(0.05)
    assert rate(settings, step=10, epochs=0, level=0) == 0.5
    for epochs in (1, 2.5, 4, 7):
        wanted = 0.5 * 0.5 * (1 + math.cos(math.pi * epochs / 8))
        assert rate(settings, step=99, epochs=epochs, level=0) == pytest.approx(wanted)
    assert rate(settings, step=99, epochs=2, level=0, spent=0.5) == pytest.approx(0.25)
    assert rate(settings, step=99, epochs=8, level=0) == 0
    assert rate(settings, step=99, epochs=1, level=0, spent=1.1) == 0


def test_one_cycle_goes_up_down_and_far_below() -> None:
    settings = config(lr=0.5, schedule="one-cycle", epochs=20)
    points = {0: 0.05, 4.5: 0.275, 9: 0.5, 13.5: 0.275, 18: 0.05, 19: 0.025, 20: 0.0}
    for epochs, wanted in points.items():
        assert rate(settings, step=1, epochs=epochs, level=0) == pytest.approx(wanted)
    assert rate(settings, step=1, epochs=2, level=0, spent=0.45) == pytest.approx(0.5)
    assert rate(settings, step=1, epochs=2, level=0, spent=1.2) == 0


def test_rmsprop_is_that_of_the_lecture() -> None:
    """Tieleman and Hinton 2012: the gradient over the root of a mean square that keeps 0.9 of itself."""
    weight = nn.Parameter(torch.linspace(-1, 1, 7).double())
    chosen = Optimizer(config(optimizer="rmsprop"), [weight])
    wanted, mean_square = weight.detach().clone(), torch.zeros(7).double()
    for step in range(3):
        gradient = torch.sin(torch.arange(7).double() + step)
        weight.grad = gradient.clone()
        chosen.step(0.1)
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        wanted -= 0.1 * gradient / (mean_square.sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), wanted)


@given(step=st.integers(1, 10**6), warmup=st.integers(0, 5000))
def test_inverse_sqrt_never_exceeds_the_rate(step: int, warmup: int) -> None:
    settings = config(schedule="inverse-sqrt", lr=0.7, warmup=warmup)
    assert 0 < rate(settings, step=step, epochs=0, level=0) <= 0.7


def test_plateau_decays_by_level() -> None:
    settings = config(schedule="plateau", lr=0.8, decay=0.5)
    assert [rate(settings, step=9, epochs=9, level=level) for level in (0, 1, 3)] == [0.8, 0.4, 0.1]


@pytest.mark.parametrize(
    ("epochs", "count"), [(0, 0), (4.99, 0), (5, 1), (5.49, 1), (5.5, 2), (6, 3), (7.4, 5)]
)
def test_halving_every_half_epoch_after_five(epochs: float, count: int) -> None:
    """Sutskever 2014 §3.4: "after 5 epochs, we began halving the learning rate every half epoch"."""
    assert halvings(epochs, 5.0, 0.5) == count
    settings = config(schedule="halving", lr=0.7, halve_after=5.0, halve_every=0.5)
    assert rate(settings, step=3, epochs=epochs, level=0) == pytest.approx(0.7 * 0.5**count)


@pytest.mark.parametrize(("epochs", "count"), [(7.99, 0), (8, 1), (8.99, 1), (9, 2), (11, 4)])
def test_halving_every_epoch_after_eight(epochs: float, count: int) -> None:
    """Luong 2015 §4.1, with dropout."""
    assert halvings(epochs, 8.0, 1.0) == count


def test_halving_is_not_late_by_rounding() -> None:
    batches = 49  # thirds and sevenths of an epoch have no exact float
    halves = [halvings(5 + index / batches, 5.0, 1 / 7) for index in range(batches)]
    assert halves == [index // 7 + 1 for index in range(batches)]


def _train(chosen: Optimizer, layer: nn.Linear, steps: range) -> None:
    for step in steps:
        inputs = torch.sin(torch.arange(15.0).view(3, 5) + step)
        layer(inputs).square().sum().backward()
        chosen.step(0.1 / (1 + step))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_goes_on_exactly(name: Any) -> None:
    torch.manual_seed(1)
    whole, cut = nn.Linear(5, 7), nn.Linear(5, 7)
    cut.load_state_dict(whole.state_dict())
    settings = config(optimizer=name, weight_decay=0.01)
    first = Optimizer(settings, whole.parameters())
    _train(first, whole, range(7))
    second = Optimizer(settings, cut.parameters())
    _train(second, cut, range(3))
    third = Optimizer(settings, cut.parameters())
    third.restore({key: value.clone() for key, value in second.tensors().items()}, "state")
    _train(third, cut, range(3, 7))
    assert torch.equal(whole.weight, cut.weight)
    assert torch.equal(whole.bias, cut.bias)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name: Any) -> None:
    torch.manual_seed(2)
    layer = nn.Linear(5, 7)
    inputs = torch.sin(torch.arange(15.0).view(3, 5))
    before = float(layer(inputs).detach().square().sum())
    _train(Optimizer(config(optimizer=name), layer.parameters()), layer, range(5))
    assert math.isfinite(before)
    assert float(layer(inputs).detach().square().sum()) < before


@pytest.mark.parametrize("key", ["0.exp_avg", "9.exp_avg", "x.exp_avg", "0.momentum"])
def test_tensors_of_another_model_are_refused(key: str) -> None:
    chosen = Optimizer(config(), nn.Linear(5, 7).parameters())
    with pytest.raises(ModelError, match=f"optimizer's {key}"):
        chosen.restore({key: torch.zeros(3, 2)}, "state.safetensors")


def test_a_part_that_is_missing_is_refused() -> None:
    chosen = Optimizer(config(), nn.Linear(5, 7).parameters())
    saved = chosen.tensors()
    del saved["1.exp_avg_sq"]
    with pytest.raises(ModelError, match=r"optimizer's 1\.exp_avg_sq"):
        chosen.restore(saved, "state.safetensors")
    chosen.restore({key: value for key, value in saved.items() if key.startswith("0.")}, "state.safetensors")


@pytest.mark.parametrize("largest", [0.1, 1e9, math.inf])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_and_clipping_are_those_of_pytorch(name: str, largest: float) -> None:
    """A weight that gets no gradient at one step is left alone there, and has made one update less."""
    kinds: dict[str, Any] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adadelta": functools.partial(torch.optim.Adadelta, rho=0.95, eps=1e-6),
        "rmsprop": functools.partial(torch.optim.RMSprop, alpha=0.9),
    }
    found, wanted = ([nn.Parameter(torch.linspace(-1, 1, size)) for size in (7, 11)] for _ in range(2))
    ours = Optimizer(config(optimizer=name, weight_decay=0.02), found)
    theirs = kinds[name](wanted, lr=0.1, weight_decay=0.02)
    for step in range(4):
        for one in (*found, *wanted):
            one.grad = None if step == 2 and len(one) == 11 else torch.linspace(1, 2 + step, len(one))
        torch.testing.assert_close(ours.clip(largest), nn.utils.clip_grad_norm_(wanted, largest))
        ours.step(0.1)
        theirs.step()
        assert all(one.grad is None for one in found)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
