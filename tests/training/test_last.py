"""The average of the last validations' weights: what it is, and when it is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import suguk
from suguk.errors import ConfigError, ModelError
from suguk.training.validate import Example, Validation, Validator
from tests.training.tiny_task import TINY, records

GIVEN = TINY | {"train.epochs": 5, "train.average_last": 3, "train.early_stopping": 0, "train.ema": 0.0}


def train(data: Path, out: Path, **settings: Any) -> Any:
    return suguk.train(data, out=out, recipe="small", overrides=GIVEN | settings, display="silent")


def marks(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    told = iter(scores)
    monkeypatch.setattr(
        Validator, "__call__", lambda *_: Validation("exact", next(told), 1.0, 0.1, Example("s", "t", "o"))
    )


def files(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "training/last").iterdir())


def test_the_mean_of_the_last_three_is_kept_if_it_is_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks(monkeypatch, [1, 2, 3, 4, 3, 9])
    train(data, tmp_path / "run")
    steps = [record["step"] for record in records(tmp_path / "run") if record["kind"] == "valid"]
    assert files(tmp_path / "run") == sorted(f"{step}.safetensors" for step in steps[2:5])
    last = records(tmp_path / "run")[-1]
    assert (last["averaged"], last["best"], last["step"]) == (3, True, steps[4])
    assert all("averaged" not in record for record in records(tmp_path / "run")[:-1])
    kept = load_file(tmp_path / "run/model.safetensors")
    several = [load_file(tmp_path / f"run/training/last/{step}.safetensors") for step in steps[2:5]]
    for name, value in kept.items():
        mean = torch.stack([one[name].double() for one in several]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)
    state = load_file(tmp_path / "run/training/state.safetensors")  # training would go on from its own
    assert all(torch.equal(state[f"model.{name}"], value) for name, value in several[-1].items())


def test_a_worse_mean_is_not_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks(monkeypatch, [1, 2, 3, 9, 3, 8])
    train(data, tmp_path / "run")
    found = [record for record in records(tmp_path / "run") if record["kind"] == "valid"]
    assert [record["best"] for record in found] == [True, True, True, True, False, False]
    kept = load_file(tmp_path / "run/model.safetensors")
    best = load_file(tmp_path / f"run/training/last/{found[3]['step']}.safetensors")
    assert all(torch.equal(best[name], value) for name, value in kept.items())


def test_without_it_training_is_the_same_and_a_resume_too(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "off", **{"train.average_last": 0})
    train(data, tmp_path / "whole")
    stops = iter([9, 22])
    at = next(stops)
    suguk.train(
        data,
        out=tmp_path / "cut",
        recipe="small",
        overrides=GIVEN,
        display="silent",
        stop=lambda step: step == at,
    )
    for at in (22, 10**9):
        suguk.resume(tmp_path / "cut", display="silent", stop=lambda step, at=at: step == at)  # type: ignore[misc]
    off, whole, cut = (
        load_file(tmp_path / name / "training/state.safetensors") for name in ("off", "whole", "cut")
    )
    for name, value in off.items():
        assert torch.equal(whole[name], value)
        assert torch.equal(cut[name], value)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    assert records(tmp_path / "off") == records(tmp_path / "whole")[:-1]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert not (tmp_path / "off/training/last").exists()
    before = records(tmp_path / "whole")
    suguk.resume(tmp_path / "whole", display="silent")  # has ended: the average is not made again
    assert records(tmp_path / "whole") == before
    for path in (tmp_path / "whole/training/last").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"missing, damaged or cut short.*\n.*train.average_last=0"):
        suguk.resume(tmp_path / "whole", overrides=["train.epochs=6"], display="silent")


def test_with_a_moving_average_it_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"average_last averages weights that ema = 0.9 has averaged already; set ema = 0"
    ):
        train(data, tmp_path / "run", **{"train.ema": 0.9})


def test_nothing_to_average(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for when the run is over, or of fewer validations than were kept."""
    marks(monkeypatch, [1, 2, 3, 4, 5])
    train(data, tmp_path / "off", **{"train.average_last": 0})
    before = (tmp_path / "off/model.safetensors").read_bytes()
    suguk.resume(tmp_path / "off", overrides={"train.average_last": 3}, display="silent")
    assert (tmp_path / "off/model.safetensors").read_bytes() == before
    marks(monkeypatch, [5, 6, 7])
    suguk.resume(tmp_path / "off", overrides={"train.epochs": 7}, display="silent")
    assert [record.get("averaged") for record in records(tmp_path / "off")[-1:]] == [2]
