"""Which engine answers for a run directory, and what training leaves there."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch

import suguk
from suguk import loading
from suguk.errors import ModelError, UserError
from suguk.runtime import OnnxModel
from suguk.trained import TrainedModel
from tests.training.tiny_task import TINY, write_pairs

WORDS = ["abc", "", "gfed", "aab"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = write_pairs(folder / "pairs.tsv", 300)
    suguk.train(
        data, out=folder / "run", recipe="small", overrides=TINY | {"train.export": True}, display="silent"
    )
    return folder / "run"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "gpu_in_sight", lambda: False)


def test_training_leaves_an_export_that_answers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, trained = suguk.load(run), suguk.load(run, engine="torch")
    assert isinstance(exported, OnnxModel)
    assert isinstance(trained, TrainedModel)
    assert isinstance(suguk.load(run, "cpu", "onnx"), OnnxModel)
    assert exported.about["precision"] == "int8"
    assert exported.about["parity"]["mean_difference"] < 0.1
    for one, other in zip(exported.score(WORDS, WORDS), trained.score(WORDS, WORDS), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, rel=0.05)
    monkeypatch.setattr(loading, "gpu_in_sight", lambda: True)
    assert isinstance(suguk.load(run), TrainedModel)
    assert isinstance(suguk.load(run, "cpu"), OnnxModel)


def test_without_pytorch_the_export_answers_beside_a_gpu(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(loading, "SIGNS", (str(tmp_path),))
    assert loading.gpu_in_sight()
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    assert isinstance(suguk.load(run), OnnxModel)


def test_the_ending_of_an_exported_file_may_be_in_capitals(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.onnx", tmp_path / "M.ONNX")
    assert isinstance(suguk.load(tmp_path / "M.ONNX"), OnnxModel)


def test_an_export_of_other_weights_is_refused(run: Path, tmp_path: Path) -> None:
    """As where a newer run directory was copied over an older one."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"other weights than model.safetensors\n.*makes it anew"):
        suguk.load(copy)
    assert isinstance(suguk.load(copy, engine="torch"), TrainedModel)


def test_settings_of_the_search_are_those_of_the_run_directory(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    text = (copy / "config.toml").read_text(encoding="utf-8")
    (copy / "config.toml").write_text(text.replace("beam = 5", "beam = 2"), encoding="utf-8")
    assert [suguk.load(copy, engine=engine).config.predict.beam for engine in ("onnx", "torch")] == [2, 2]
    (copy / "config.toml").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"config\.toml: cannot be read"):
        suguk.load(copy)


def test_a_model_goes_to_another_process(run: Path) -> None:
    for path in (run, run / "model.onnx"):
        model = suguk.load(path)
        again = pickle.loads(pickle.dumps(model))
        assert again.predict(WORDS) == model.predict(WORDS)
        assert again.config == model.config


def test_what_is_no_device_and_no_number_of_threads(run: Path) -> None:
    assert isinstance(suguk.load(run, torch.device("cpu"), "torch"), TrainedModel)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"unknown device 'mps'\n.*cuda:N"):
        suguk.load(run, "mps", "torch")
    with pytest.raises(UserError, match="threads, found '2'"):
        suguk.load(run, threads="2")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"expected the path of a model.*\n.*runs/a\+runs/b"):
        suguk.load([run, run])  # type: ignore[arg-type]


def test_what_does_not_go_together(run: Path) -> None:
    with pytest.raises(UserError, match="unknown engine 'tensorflow'"):
        suguk.load(run, engine="tensorflow")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"ONNX Runtime only\n.*give the run directory"):
        suguk.load(run / "model.onnx", engine="torch")
    with pytest.raises(UserError, match="runs on the processor"):
        suguk.load(run, "cuda", "onnx")


def test_an_export_of_earlier_weights_goes(run: Path, tmp_path: Path) -> None:
    """Else it would answer in the place of what a resumed training has learned since."""
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(run)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(run)).write_bytes(path.read_bytes())
    suguk.resume(copy, overrides=["train.epochs=4", "train.export=false"], display="silent")
    assert not (copy / "model.onnx").exists()
    assert isinstance(suguk.load(copy), TrainedModel)
    with pytest.raises(ModelError, match=r"there is no export in it\n.*suguk export"):
        suguk.load(copy, engine="onnx")


def test_a_model_that_cannot_be_exported_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("not this one", hint="another")

    monkeypatch.setattr("suguk.export.write.write", refuse)
    data = write_pairs(tmp_path / "pairs.tsv", 60)
    settings = TINY | {"train.export": True, "train.epochs": 1}
    suguk.train(data, out=tmp_path / "run", recipe="small", overrides=settings, display="plain")
    assert "warning: there is no" in capsys.readouterr().err
    assert isinstance(suguk.load(tmp_path / "run"), TrainedModel)
