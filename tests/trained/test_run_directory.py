"""The run directory: what is written is what is read, and every kind of damage has its message."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from suguk import config, files, run_directory
from suguk.errors import ModelError, UserError
from suguk.fields import TextField
from suguk.model import build
from suguk.run_directory import write_static, write_weights
from suguk.trained import TrainedModel

LINES = ["a b c", "b c d e", "the cat sat", "on the mat ."]


@pytest.fixture
def made() -> TrainedModel:
    sizes = {"hidden": 8, "encoder_hidden": 4, "embedding": 5, "readout_size": 7}
    settings = config.load("small", {"model": sizes})
    field = TextField.train("word", LINES, 30)
    return TrainedModel(settings, field, field, build(settings.model, field.size, field.size, seed=1))


@pytest.fixture
def run(made: TrainedModel, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    write_static(path, made.config, made.source, made.target, {"data": {"pairs": 4}})
    write_weights(path, made.model)
    return path


def test_what_is_written_is_read(made: TrainedModel, run: Path) -> None:
    loaded = TrainedModel.load(run, "cpu")
    assert loaded.config == made.config
    assert loaded.source.to_json() == made.source.to_json()
    for name, value in made.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert not loaded.model.training
    assert loaded.predict(LINES) == made.predict(LINES)
    about = json.loads((run / "model.json").read_text())
    assert about["data"] == {"pairs": 4}
    assert about["version"] == 1
    assert sorted(path.name for path in run.iterdir()) == [
        "config.toml", "model.json", "model.safetensors", "source.json", "target.json",
    ]  # fmt: skip


def test_every_file_is_readable_by_the_same_people(run: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in run.iterdir()}
    mask = os.umask(0)
    os.umask(mask)
    assert modes == {0o666 & ~mask}
    assert run.stat().st_mode & 0o777 == 0o777 & ~mask


NAMES = ["config.toml", "model.json", "source.json", "target.json", "model.safetensors"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not ours")


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [Path.unlink, cut, foreign, empty])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named(name: str, harm: Callable[[Path], None], run: Path) -> None:
    harm(run / name)
    with pytest.raises(ModelError) as caught:
        TrainedModel.load(run, "cpu")
    assert caught.value.where is not None
    assert caught.value.where in (str(run / name), str(run))
    if caught.value.where == str(run):
        assert name in str(caught.value)


def test_settings_and_weights_of_two_models(run: Path) -> None:
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("\nhidden = 8\n", "\nhidden = 10\n"), encoding="utf-8")
    with pytest.raises(ModelError, match="do not belong to this config") as caught:
        TrainedModel.load(run, "cpu")
    assert caught.value.where == str(run / "model.safetensors")


def test_weights_that_are_no_numbers(run: Path) -> None:
    weights = load_file(run / "model.safetensors")
    weights["head.bias"][5] = math.nan
    save_file(weights, run / "model.safetensors")
    with pytest.raises(ModelError, match=r"no finite numbers \(the first of them in head\.bias\)"):
        TrainedModel.load(run)


def test_weights_of_another_program(run: Path) -> None:
    save_file({"weight": torch.zeros(2, 3)}, run / "model.safetensors")
    with pytest.raises(ModelError, match="do not belong"):
        TrainedModel.load(run, "cpu")


@pytest.mark.parametrize(("name", "key"), [("model.json", "version"), ("source.json", "version")])
def test_a_newer_version_is_refused_with_the_cure(name: str, key: str, run: Path) -> None:
    about = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**about, key: 2}))
    with pytest.raises(ModelError, match="version 2") as caught:
        TrainedModel.load(run, "cpu")
    assert caught.value.where == str(run / name)
    assert caught.value.hint == "update suguk"


@pytest.mark.parametrize("content", ['{"format": "other"}', "[]", "{}"])
def test_a_foreign_model_json(content: str, run: Path) -> None:
    (run / "model.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        TrainedModel.load(run, "cpu")
    assert caught.value.where == str(run / "model.json")


def test_no_directory_and_not_a_run_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelError) as caught:
            TrainedModel.load(path)
        assert caught.value.where == str(path)
        assert caught.value.hint


def test_a_directory_that_is_in_use_is_kept(run: Path, made: TrainedModel) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(UserError, match="exists already"):
        write_static(run, made.config, made.source, made.target, {})
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def broken(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
def test_a_failed_write_leaves_what_was_there(
    owner: object, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write(path, b"earlier")
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, broken)
        with pytest.raises(UserError, match="No space left") as caught:
            files.write(path, b"later")
        with pytest.raises(UserError, match="No space left"):
            files.write_folder(tmp_path / "folder", {"a": b"1", "b": b"2"})
    assert caught.value.where == str(path)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
    files.write(path, b"later")
    assert path.read_bytes() == b"later"


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    files.write(path, b"earlier")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, b"later")
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(tmp_path / "folder", {"a": b"1"})
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing" / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match="cannot be written") as caught:
            files.write(path, b"1")
        assert caught.value.where == str(path)
    with pytest.raises(UserError):
        files.write_folder(tmp_path / "file" / "inside", {"a": b"1"})


def test_a_disk_that_fills_while_weights_are_written(
    run: Path, made: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library tells it by an exception of its own."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(run_directory, "save_file", full)
    with pytest.raises(
        UserError, match=r"model.safetensors: cannot be written: No space left.*\n.*free disk"
    ):
        write_weights(run, made.model)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_new_folder_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    path.mkdir(parents=True)
    files.write_folder(path, {"a": b"1", "b": b"22"})
    assert {part.name: part.read_bytes() for part in path.iterdir()} == {"a": b"1", "b": b"22"}
    assert [part.name for part in path.parent.iterdir()] == ["folder"]
