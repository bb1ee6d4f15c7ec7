"""Stopped anywhere and resumed equals uninterrupted, bit for bit on a CPU."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import suguk
from suguk import files
from suguk.errors import ConfigError, DataError, ModelError, UserError
from suguk.training import checkpoint
from tests.training.tiny_task import TINY, records, write_pairs

STATE = "training/state.safetensors"


def same(one: Path, other: Path) -> None:
    """Weights, best model, optimizer, random state and metrics."""
    for name in ("model.safetensors", STATE):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert records(one) == records(other)


@pytest.mark.parametrize(
    "settings",
    [
        {"train.optimizer": "adam", "train.save_every": 3},
        {"train.optimizer": "adamw", "train.schedule": "halving", "train.halve_after": 0.5},
        {"train.ema": 0.9, "train.save_every": 5, "train.valid_every": 0.7},
        {
            "model.variational_dropout": True,
            "model.recurrent_dropout": 0.2,
            "model.word_dropout": 0.1,
            "model.embedding_dropout": 0.1,
        },
        {"train.optimizer": "sgd", "train.lr": 0.5, "train.schedule": "constant", "train.weight_decay": 0.01},
        {"train.optimizer": "adadelta", "train.lr": 1.0, "train.precision": "bf16"},
        {"train.optimizer": "rmsprop", "train.schedule": "cosine", "train.save_every": 5},
        {"train.schedule": "one-cycle", "train.accumulate": 3, "train.batch_tokens": 71, "train.epochs": 3},
        {"train.sampling": "exponential", "train.sampling_scale": 5.0, "train.sampling_floor": 0.1},
        # Some letters are unknown.
        {"model.copying": True, "source.vocab_size": 9, "target.vocab_size": 7, "train.sampling": "linear"},
        # Nothing is learned at this rate: every validation counts against patience.
        {
            "train.schedule": "plateau",
            "train.patience": 1,
            "train.valid_every": 0.4,
            "train.lr": 1e-9,
            "train.early_stopping": 4,
            "train.valid_metric": "perplexity",
        },
    ],
    ids=[
        "adam",
        "adamw-halving",
        "ema",
        "dropouts",
        "sgd",
        "adadelta-bf16",
        "rmsprop-cosine",
        "one-cycle-accumulate",
        "sampling",
        "copying",
        "plateau",
    ],
)
def test_resumed_equals_uninterrupted(tmp_path: Path, data: Path, settings: dict[str, Any]) -> None:
    given = TINY | settings
    whole = suguk.train(data, out=tmp_path / "whole", recipe="small", overrides=given, display="silent")
    steps = records(tmp_path / "whole")[-1]["step"]
    assert steps > 9
    for stop in (1, 4, steps - 1):  # in the middle of an epoch, and just before the end
        if not (tmp_path / "cut").exists():
            suguk.train(
                data,
                out=tmp_path / "cut",
                recipe="small",
                overrides=given,
                display="silent",
                stop=lambda step: step == 1,
            )
        else:
            suguk.resume(tmp_path / "cut", display="silent", stop=lambda step, stop=stop: step == stop)  # type: ignore[misc]
    cut = suguk.resume(tmp_path / "cut", display="silent")
    same(tmp_path / "whole", tmp_path / "cut")
    assert whole.predict(["abc"]) == cut.predict(["abc"])


def test_a_plateau_lowers_the_rate_and_patience_ends_training(tmp_path: Path, data: Path) -> None:
    settings = TINY | {
        "train.epochs": 50,
        "train.schedule": "plateau",
        "train.patience": 2,
        "train.lr": 1e-12,
        "train.early_stopping": 5,
        "train.valid_every": 0.3,
        "train.valid_metric": "perplexity",
    }
    suguk.train(data, out=tmp_path / "run", recipe="small", overrides=settings, display="silent")
    found = records(tmp_path / "run")
    valid = [record for record in found if record["kind"] == "valid"]
    assert [record["best"] for record in valid][-6:] == [True, False, False, False, False, False]
    rates = [record["lr"] for record in found if record["kind"] == "train"]
    assert rates[0] == 1e-12
    assert rates[-1] == pytest.approx(0.25e-12)
    # A run that has ended has nothing more to do.
    suguk.resume(tmp_path / "run", display="silent")
    assert records(tmp_path / "run") == found


PROGRAM = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import suguk
from suguk.training import checkpoint
data, out, number, step, where = sys.argv[1:6]
settings = dict(pair.split("=") for pair in sys.argv[6:])
settings = [f"{name}={value}" for name, value in settings.items()]

def die():
    os.kill(os.getpid(), int(number))

def stop(done):
    if where == "update" and done == int(step):
        die()
    return False

write = checkpoint.write_state
def between(folder, progress, tensors):
    if where == "state" and progress.step >= int(step):
        die()
    write(folder, progress, tensors)
checkpoint.write_state = between

try:
    suguk.train(data, out=out, recipe="small", overrides=settings, stop=stop)
except KeyboardInterrupt:
    sys.exit(130)
print("ended")
"""


def run(
    data: Path, out: Path, number: int, step: int, where: str = "update"
) -> subprocess.CompletedProcess[str]:
    settings = [f"{name}={value}" for name, value in (TINY | {"train.save_every": 4}).items()]
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(data),
        str(out),
        str(int(number)),
        str(step),
        where,
        *settings,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    settings = TINY | {"train.save_every": 4}
    suguk.train(data, out=out, recipe="small", overrides=settings, display="silent")
    return out


@pytest.mark.parametrize(("step", "where"), [(6, "update"), (8, "state")])
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, data: Path, whole: Path, step: int, where: str
) -> None:
    """kill -9 in the middle of an epoch, and between the best model and the state that says so."""
    killed = run(data, tmp_path / "run", signal.SIGKILL, step, where)
    assert killed.returncode == -signal.SIGKILL
    suguk.resume(tmp_path / "run", display="silent")
    same(whole, tmp_path / "run")
    assert not [name for name in os.listdir(tmp_path) if name != "run"]


def test_killed_before_the_first_save(tmp_path: Path, data: Path, whole: Path) -> None:
    """The directory is whole, without weights: `load` says so, `resume` begins."""
    killed = run(data, tmp_path / "run", signal.SIGKILL, 0, "state")
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(ModelError, match=r"no weights yet.*\n.*--resume"):
        suguk.load(tmp_path / "run")
    suguk.resume(tmp_path / "run", display="silent")
    same(whole, tmp_path / "run")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_first(tmp_path: Path, data: Path, whole: Path, number: int, status: int) -> None:
    stopped = run(data, tmp_path / "run", number, 6)
    assert stopped.returncode == status
    assert (
        f"stopped after step 6 and saved; go on with `suguk train --resume {tmp_path / 'run'}`"
        in stopped.stderr
    )
    assert stopped.stdout == ""
    suguk.resume(tmp_path / "run", display="silent")
    same(whole, tmp_path / "run")


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no such locks")
def test_two_do_not_train_in_one_run_directory(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with files.alone(run), pytest.raises(UserError, match="another process is at work here"):
        suguk.resume(run, overrides={"train.epochs": 9}, display="silent")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    suguk.resume(run, display="silent")


def test_more_epochs_later(tmp_path: Path, data: Path, whole: Path) -> None:
    """A finished run can go on; the setting is kept, and it equals having asked for as much at once."""
    settings = TINY | {"train.save_every": 4, "train.epochs": 1}
    suguk.train(data, out=tmp_path / "run", recipe="small", overrides=settings, display="silent")
    model = suguk.resume(tmp_path / "run", overrides=["train.epochs=2"], display="silent")
    same(whole, tmp_path / "run")
    assert model.config.train.epochs == 2
    assert suguk.load(tmp_path / "run").config.train.epochs == 2


@pytest.mark.parametrize(
    "setting", ["train.seed=2", "model.hidden=17", "train.batch_tokens=100", "data.skip_bad=true"]
)
def test_what_cannot_change(whole: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot change when a run goes on\n.*train.epochs"):
        suguk.resume(whole, overrides=[setting], display="silent")


def test_what_is_no_setting_is_told_with_the_nearest_one(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting train\.epoch; did you mean train\.epochs"):
        suguk.resume(whole, overrides=["train.epoch=2"], display="silent")


def test_an_average_of_averages_needs_another_run(whole: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"averaged already, by train\.ema.*\n.*train anew with train\.ema=0"
    ):
        suguk.resume(whole, overrides=["train.average_last=2"], display="silent")


def test_the_search_can_change_later(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    suguk.resume(run, overrides=["predict.beam=2"], display="silent")
    same(whole, run)
    assert suguk.load(run, engine="torch").config.predict.beam == 2


def test_a_setting_that_is_refused_is_not_kept(tmp_path: Path, whole: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    with pytest.raises(UserError, match="unknown device"):
        suguk.resume(run, overrides=["train.device=abacus"], display="silent")
    suguk.resume(run, display="silent")


def test_data_that_were_moved_are_named(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, moved = tmp_path / "first.tsv", tmp_path / "moved.tsv"
    first.write_bytes(data.read_bytes())
    suguk.train(
        first,
        out=tmp_path / "run",
        recipe="small",
        overrides=TINY,
        display="silent",
        stop=lambda step: step == 3,
    )
    first.rename(moved)
    with pytest.raises(DataError, match=r"no such file\n.*if the data have moved: --set data\.train=PATH"):
        suguk.resume(tmp_path / "run", display="silent")
    monkeypatch.chdir(tmp_path)
    suguk.resume(tmp_path / "run", overrides=[f"data.train={moved.name}"], display="silent")
    assert str(moved) in (tmp_path / "run/config.toml").read_text(encoding="utf-8")


def test_changed_data_are_refused(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.tsv", 97)
    suguk.train(path, out=tmp_path / "run", recipe="small", overrides=TINY, display="silent")
    write_pairs(path, 97, seed=2)
    with pytest.raises(
        ModelError, match=r"pairs.tsv: the data are not those.*\n.*hint: put the earlier files back"
    ):
        suguk.resume(tmp_path / "run", display="silent")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("training/state.safetensors", "training state is missing"),
        ("source.json", "source.json: this file of the run directory is missing"),
        ("model.json", "not a run directory"),
    ],
)
def test_a_half_copied_run(tmp_path: Path, whole: Path, missing: str, message: str) -> None:
    for path in whole.rglob("*"):
        if path.is_file() and path != whole / missing:
            copy = tmp_path / "run" / path.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=message):
        suguk.resume(tmp_path / "run", display="silent")


def test_elapsed_time_goes_on(whole: Path) -> None:
    seconds = [record["seconds"] for record in records(whole, timed=True)]
    assert seconds == sorted(seconds)
    assert seconds[-1] < time.monotonic()


def test_data_cut_into_another_number_of_batches_are_refused(tmp_path: Path, data: Path) -> None:
    """As by a version with another sampler: the place in the epoch would mean other pairs."""
    run = tmp_path / "run"
    suguk.train(data, out=run, recipe="small", overrides=TINY, display="silent", stop=lambda step: step == 4)
    saved = checkpoint.read_state(run)
    assert saved is not None
    batches = saved.progress.batches
    saved.progress.batches += 1
    checkpoint.write_state(run, saved.progress, saved.tensors)
    with pytest.raises(ModelError, match=f"of {batches + 1} batches.*found {batches}"):
        suguk.resume(run, display="silent")
