"""One update from several batches, and from the halves of batches that the memory does not hold."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import suguk
from suguk.config import ModelConfig, TrainConfig
from suguk.data.batch import Dataset, Rows, Sampler
from suguk.errors import UserError, is_full
from suguk.model import Seq2Seq, build
from suguk.training.batches import PairTooLargeError, gradient, sizes
from suguk.training.display import SilentDisplay
from suguk.training.update import Updater
from tests.training.tiny_task import TINY, records

FULL = (
    "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


@pytest.fixture
def dataset() -> Dataset:
    """17 pairs."""
    draw = np.random.default_rng(5)
    sides = [
        [draw.integers(4, 19, length).astype(np.int32) for length in draw.integers(2, 8, 17)]
        for _ in range(2)
    ]
    return Dataset(*sides)


def updater(**settings: Any) -> Updater:
    config = ModelConfig(
        cell="gru", hidden=13, embedding=7, encoder_hidden=5, bridge="linear", attention="general",
        input_feeding=True, readout="tanh",
    )  # fmt: skip
    model = build(config, 19, 19, seed=3).double()
    return Updater(model, TrainConfig(precision="fp32", **settings), torch.device("cpu"))


def gradients(one: Updater) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in one.parameters if parameter.grad is not None]


@pytest.mark.parametrize("loss_per", ["token", "sentence"])
def test_the_sum_of_two_batches_is_that_of_their_union(dataset: Dataset, loss_per: Any) -> None:
    rows = np.arange(17)
    parts = int(dataset.target_lengths.sum()) if loss_per == "token" else 17
    several, whole = updater(loss_per=loss_per), updater(loss_per=loss_per)
    nll, halvings = gradient(several, dataset, [rows[:5], rows[5:16], rows[16:]], parts)
    batch = dataset.batch(rows)
    loss = whole.gradient(*(torch.from_numpy(part) for part in batch[:4]))  # parts: its own
    assert halvings == 0
    assert float(nll) == pytest.approx(float(loss.nll))
    torch.testing.assert_close(gradients(several), gradients(whole))


def test_sizes_are_those_of_the_padded_batch(dataset: Dataset) -> None:
    rows = np.array([3, 1, 11])
    batch = dataset.batch(rows)
    tokens = int(batch.target_lengths.sum())
    padded = batch.source.size + batch.target.size
    assert sizes(dataset, rows) == (tokens, tokens + int(batch.source_lengths.sum()), padded)


class Small:
    """Makes every batch of more than `most` rows fail, in the middle of its way back."""

    def __init__(self, model: Seq2Seq, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.rows, self.failed = most, 0, 0
        encode = Seq2Seq.encode

        def counted(model: Seq2Seq, source: Tensor, *more: Any) -> Any:
            self.rows = len(source)
            return encode(model, source, *more)

        monkeypatch.setattr(Seq2Seq, "encode", counted)
        model.encoder.embedding.weight.register_hook(self.walk)  # type: ignore[no-untyped-call]

    def walk(self, gradient: Tensor) -> None:
        del gradient
        if self.rows > self.most:
            self.failed += 1
            raise RuntimeError(FULL)


def test_what_does_not_fit_is_halved_until_it_does(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(17)
    batches: list[Rows] = [rows[:2], rows[2:]]
    halved, whole = updater(), updater()
    wanted = gradient(whole, dataset, batches, 61)
    small = Small(halved.model, 5, monkeypatch)
    nll, halvings = gradient(halved, dataset, batches, 61)
    assert (halvings, small.failed) == (3, 3)  # 15 into 8 and 7, both once more
    assert float(nll) == pytest.approx(float(wanted[0]))
    torch.testing.assert_close(gradients(halved), gradients(whole))


def test_recorded_loops_make_room_before_a_batch_is_halved(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, whole = updater(), updater()
    wanted = gradient(whole, dataset, [np.arange(17)], 61)
    small = Small(one.model, 5, monkeypatch)

    def make_room() -> bool:
        small.most = 17
        return True

    monkeypatch.setattr(one, "make_room", make_room)
    nll, halvings = gradient(one, dataset, [np.arange(17)], 61)
    assert (halvings, small.failed) == (0, 1)
    assert float(nll) == pytest.approx(float(wanted[0]))
    torch.testing.assert_close(gradients(one), gradients(whole))


def test_one_pair_that_does_not_fit(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    one = updater()
    small = Small(one.model, 0, monkeypatch)
    with pytest.raises(PairTooLargeError) as told:
        gradient(one, dataset, [np.arange(5)], 61)
    assert told.value.row == 0
    assert small.failed == 4  # of 5, 3, 2 and 1 rows


def test_other_faults_are_no_matter_of_memory() -> None:
    assert is_full(RuntimeError(FULL))
    assert is_full(
        RuntimeError("could not create a primitive")
    )  # oneDNN has these two for its code and buffers
    assert is_full(RuntimeError("could not create a memory object"))
    for gpu in ("CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"):
        assert is_full(RuntimeError(gpu))
    assert is_full(MemoryError())
    assert is_full(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_full(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_full(
        RuntimeError("could not create a primitive descriptor for an LSTM forward propagation")
    )


LIMITED = """
import resource
import numpy, torch
from suguk import config
from suguk.model import build
from suguk.training.batches import gradient
from suguk.training.bench import SENTENCES, generated
from suguk.training.update import Updater

torch.set_num_threads(1)
sizes = "model.hidden=128", "model.embedding=128", "model.encoder_hidden=64", "model.copying=false"
chosen = config.load("code", config.assignments([*sizes, "model.dropout=0", "train.precision=fp32"]))
corpus = generated(chosen, SENTENCES, pairs=300)
models = [build(chosen.model, corpus.source_size, corpus.target_size, seed=1).train() for _ in range(2)]
whole, halved = (Updater(model, chosen.train, torch.device("cpu")) for model in models)
rows = numpy.arange(256)
gradient(whole, corpus.dataset, numpy.array_split(rows, 16), 1)
gradient(halved, corpus.dataset, [rows[:16]], 1)
halved.optimizer.forget_gradients()
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 80 * 2**20, resource.RLIM_INFINITY))
print(gradient(halved, corpus.dataset, [rows], 1)[1])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # comparing imports more
for a, b in zip(halved.parameters, whole.parameters):
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5 * float(b.grad.abs().max()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory that is kept")
def test_halves_under_a_real_limit_of_memory() -> None:
    """Whichever part of PyTorch is the one that finds no room."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


class Notes(SilentDisplay):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


PLAIN = {"model.dropout": 0.0, "train.precision": "fp32", "train.optimizer": "sgd", "train.lr": 0.5}


def test_a_run_goes_on_in_halves(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights up to rounding, a note once, the count among the records."""
    given, notes = TINY | PLAIN | {"train.epochs": 1}, Notes()
    sound = suguk.train(data, out=tmp_path / "sound", recipe="small", overrides=given, display="silent")
    loss, limit, failed = Seq2Seq.loss, 20, 0

    def small(model: Seq2Seq, source: Tensor, *rest: Any, **options: Any) -> Any:
        nonlocal failed
        if model.training and len(source) > limit:
            failed += 1
            raise RuntimeError(FULL)
        return loss(model, source, *rest, **options)

    monkeypatch.setattr(Seq2Seq, "loss", small)
    halved = suguk.train(data, out=tmp_path / "halved", recipe="small", overrides=given, display=notes)
    torch.testing.assert_close(halved.model.state_dict(), sound.model.state_dict(), rtol=1e-4, atol=1e-6)
    told = [text for text in notes.notes if "computed in halves" in text]
    assert len(told) == 1
    assert "--set train.batch_tokens=105" in told[0]
    counted = [record.get("halved", 0) for record in records(tmp_path / "halved")]
    assert sum(counted) == failed > 1
    assert all("halved" not in record for record in records(tmp_path / "sound"))
    limit = 0
    with pytest.raises(UserError, match=r"pairs.tsv:\d+: this pair alone does not fit"):
        suguk.train(data, out=tmp_path / "none", recipe="small", overrides=given, display="silent")


def test_accumulated_batches_are_one_update(data: Path, tmp_path: Path) -> None:
    """Four at a time, and at the end of an epoch what is left of it."""
    steps = {}
    for several in (1, 4):
        given = TINY | PLAIN | {"train.accumulate": several, "train.batch_tokens": 100}
        suguk.train(data, out=tmp_path / str(several), recipe="small", overrides=given, display="silent")
        steps[several] = [
            (record["step"], record["epoch"])
            for record in records(tmp_path / str(several))
            if record["kind"] == "valid"
        ]
    (batches, _), _ = steps[1]
    assert batches % 4 != 0
    updates = math.ceil(batches / 4)
    assert steps[4] == [(updates, 1.0), (2 * updates, 2.0)]


def test_accumulating_half_batches_is_training_on_whole_ones(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pairs in both: a sampler that cuts every batch of 211 tokens in two."""
    given = TINY | PLAIN
    whole = suguk.train(data, out=tmp_path / "whole", recipe="small", overrides=given, display="silent")
    epoch = Sampler.epoch

    def cut(sampler: Sampler, number: int) -> list[Rows]:
        return [half for rows in epoch(sampler, number) for half in np.array_split(rows, 2)]

    monkeypatch.setattr(Sampler, "epoch", cut)
    given = given | {"train.accumulate": 2}
    halves = suguk.train(data, out=tmp_path / "halves", recipe="small", overrides=given, display="silent")
    torch.testing.assert_close(halves.model.state_dict(), whole.model.state_dict(), rtol=1e-4, atol=1e-6)
    shown = [
        [record["loss"] for record in records(tmp_path / name) if record["kind"] == "train"]
        for name in ("whole", "halves")
    ]
    assert shown[0] == pytest.approx(shown[1], rel=1e-5)
