"""A loss, a gradient or a weight that is no number any more: named by its update and its pairs, never saved."""

import re
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import suguk
from suguk.data.batch import Dataset
from suguk.data.prepare import prepare
from suguk.errors import UserError
from suguk.run_directory import read_static
from suguk.training import checkpoint
from suguk.training.update import Updater
from tests.training.tiny_task import TINY, records

BAD = 13  # the update that goes wrong: neither a record nor a validation is made there


def spoil(monkeypatch: pytest.MonkeyPatch, what: str) -> list[list[int]]:
    """Let update BAD have a bad loss or gradient; the rows of every batch."""
    seen: list[list[int]] = []
    gradient, batch = Updater.gradient, Dataset.batch

    def noted(dataset: Dataset, rows: Any) -> Any:
        seen.append(rows.tolist())
        return batch(dataset, rows)

    def spoilt(updater: Updater, *given: Tensor, **options: Any) -> Any:
        loss = gradient(updater, *given, **options)
        if len(seen) != BAD:
            return loss
        if what == "loss":
            return loss._replace(nll=loss.nll * float("nan"))
        assert updater.parameters[3].grad is not None
        updater.parameters[3].grad.view(-1)[0] = float("inf")
        return loss

    validated = Dataset.__init__

    def separate(dataset: Dataset, *sides: Any, **more: Any) -> None:  # validation's batches are not counted
        validated(dataset, *sides, **more)
        dataset.batch = batch.__get__(dataset)  # type: ignore[method-assign]

    monkeypatch.setattr(Dataset, "batch", noted)
    monkeypatch.setattr(Dataset, "__init__", separate)
    monkeypatch.setattr(Updater, "gradient", spoilt)
    return seen


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_update_and_its_pairs_are_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Though the figures are read off the device later; the model and the state of before it stay."""
    given = TINY | {"train.batch_tokens": 100, "train.valid_every": 0.5, "train.clip": 0}
    seen = spoil(monkeypatch, what)
    with pytest.raises(UserError) as caught:
        suguk.train(data, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
    message = str(caught.value)
    valid = [record for record in records(tmp_path / "run") if record["kind"] == "valid"]
    assert 0 < valid[-1]["step"] < BAD < len(seen)
    assert f"the {what} is not finite any more at step {BAD}, epoch 0." in message
    assert f"the best model so far, of step {valid[-1]['step']}, is kept" in message
    named = [int(line) for line in re.findall(r"\d+", message.partition("lines ")[2].partition(" and ")[0])]
    pairs = prepare(read_static(tmp_path / "run")[0]).train
    assert named == sorted(pairs.lines[row] for row in seen[BAD - 1])[:12]
    suguk.load(tmp_path / "run").predict(["abc"])
    monkeypatch.undo()
    suguk.resume(tmp_path / "run", display="silent")  # from before it


def test_weights_that_are_not_finite_are_not_saved(data: Path, tmp_path: Path) -> None:
    """The first update throws them out of range; its own loss and gradient were good."""
    given = TINY | {"train.optimizer": "sgd", "train.clip": 0, "train.lr": 1e300, "train.save_every": 1}
    message = r"the weights are not finite any more at step 1, .*pairs.tsv, lines \d"
    with pytest.raises(UserError, match=message):
        suguk.train(data, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["state.safetensors"]
    saved = checkpoint.read_state(tmp_path / "run")
    assert saved is not None
    assert saved.progress.step == 0  # what training began with
