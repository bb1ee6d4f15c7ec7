"""The moving average of the weights against its definition, and what a run keeps of it."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import suguk
from suguk.training.average import EVERY, Average
from tests.training.tiny_task import TINY, records

DECAY = 0.97


def test_it_is_the_weighted_mean_of_the_weights_so_far() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 5).double()
    average = Average(model, DECAY)
    history = []
    for step in range(1, 5 * EVERY + 3):
        with torch.no_grad():
            model.weight.copy_(torch.randn(5, 3))
        average.update(step)
        if step % EVERY == 0:
            history.append(model.weight.detach().clone())
    weights = torch.tensor(
        [DECAY ** (EVERY * back) for back in reversed(range(len(history)))], dtype=torch.float64
    )
    wanted = torch.einsum("t,tij->ij", weights / weights.sum(), torch.stack(history))
    torch.testing.assert_close(average.tensors()["weight"], wanted, rtol=0, atol=1e-12)


def test_the_first_updates_are_followed_closely() -> None:
    model = nn.Linear(3, 5)
    average = Average(model, DECAY)
    for step in range(1, EVERY + 1):
        nn.init.normal_(model.weight)
        average.update(step)
        assert torch.equal(average.tensors()["weight"], model.weight)


def test_inside_the_model_has_it_and_afterwards_its_own() -> None:
    model = nn.Linear(3, 5)
    average = Average(model, DECAY)
    own, averaged = torch.randn(5, 3), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.copy_(own)
    with average.instead():
        assert torch.equal(model.weight, averaged)
    assert torch.equal(model.weight, own)
    assert torch.equal(average.tensors()["weight"], averaged)


def test_the_average_is_validated_and_kept(data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = TINY | {"train.valid_metric": "perplexity"}
    for name, ema in (("plain", 0.0), ("averaged", 0.99)):
        given = settings | {"train.ema": ema}
        suguk.train(data, out=tmp_path / name, recipe="small", overrides=given, display="silent")
    plain, averaged = (
        load_file(tmp_path / name / "training/state.safetensors") for name in ("plain", "averaged")
    )
    assert not any(key.startswith("average.") for key in plain)
    for key, value in plain.items():
        assert torch.equal(value, averaged[key])  # training itself is the same
    kept = load_file(tmp_path / "averaged" / "model.safetensors")
    best = [record for record in records(tmp_path / "averaged") if record["kind"] == "valid"][-1]
    assert best["best"]
    assert all(torch.equal(value, averaged[f"average.{key}"]) for key, value in kept.items())
    assert any(not torch.equal(value, averaged[f"model.{key}"]) for key, value in kept.items())
