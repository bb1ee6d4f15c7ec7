"""Which engine answers for a run directory, and what training leaves there."""

import shutil
from pathlib import Path

import pytest

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
