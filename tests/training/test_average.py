"""The moving average of the weights against its definition, and what a run keeps of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import suguk
from suguk.data.prepare import prepare
from suguk.training.average import EVERY, Average, due
from suguk.training.validate import Validator
from tests.training.tiny_task import TINY, records

DECAY = 0.97


def test_it_lags_a_fifth_behind_and_no_more_than_the_decay_allows() -> None:
    """Of weights that grow by one every eighth update: the closed forms of both kinds of average."""
    model = nn.Linear(1, 1).double()
    average = Average(model, DECAY)
    keep, turn = DECAY**EVERY, 0
    for step in range(1, 100 * EVERY + 3):
        nn.init.constant_(model.weight, step // EVERY)
        if not due(step):
            continue
        average.update(step)
        if step < EVERY:
            continue
        n = step // EVERY
        if 4 / (n + 3) >= 1 - keep:
            turn, wanted = n, 0.8 * n + 0.2
        else:  # 0.8 turn + 0.2 at the turn; the lag goes to keep / (1 - keep)
            lag = keep / (1 - keep)
            wanted = n - lag - (0.2 * turn - 0.2 - lag) * keep ** (n - turn)
        assert float(average.tensors()["weight"]) == pytest.approx(wanted, abs=1e-9)
    assert 1 < turn < 50


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
    again = suguk.resume(tmp_path / "averaged", overrides={"train.epochs": 2}, display="silent")  # has ended
    config = again.config
    valid = prepare(config).valid
    assert Validator(config, again.source, again.target, valid).loss(again) == pytest.approx(
        best["loss"], abs=1e-9
    )


def test_a_validation_in_between_asks_for_the_average_of_now() -> None:
    model = nn.Linear(1, 1).double()
    average = Average(model, DECAY)
    average.tensors()["weight"].zero_()
    nn.init.constant_(model.weight, 1.0)
    average.update(100 * EVERY + 3, validated=99 * EVERY)
    share = 1 - DECAY**3  # of three updates since the hundredth turn
    assert float(average.tensors()["weight"]) == pytest.approx(share)
    average.update(100 * EVERY + 5, validated=100 * EVERY + 3)
    assert float(average.tensors()["weight"]) == pytest.approx(share + (1 - share) * (1 - DECAY**2))


def test_validations_of_one_update_each_do_not_stand_still(data: Path, tmp_path: Path) -> None:
    """As many as there are updates: else patience would run out between two eighth updates."""
    few = tmp_path / "few.tsv"
    few.write_text("".join(data.read_text(encoding="utf-8").splitlines(keepends=True)[:12]), encoding="utf-8")
    given = TINY | {"train.ema": 0.99, "train.epochs": 15, "train.batch_tokens": 1000}
    suguk.train(few, valid=few, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
    losses = [record["loss"] for record in records(tmp_path / "run") if record["kind"] == "valid"]
    assert len(losses) == len(set(losses)) == 15
