"""Two processes equal one, resume exactly, decide together, and do not wait for one that has ended."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import suguk
from suguk.errors import UserError
from suguk.training.processes import Team
from tests.training.tiny_task import TINY, records, write_pairs

HERE = Path(__file__).parents[2]
GIVEN = TINY | {"train.batch_tokens": 100, "train.device": "cpu"}  # a GPU is for one process
PLAIN = GIVEN | {"model.dropout": 0.0, "train.precision": "fp32", "train.optimizer": "sgd", "train.lr": 0.5}
START = """
import json, os, sys
import torch
torch.set_num_threads(1)
import suguk
data, out, given, plain = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
rank = int(os.environ["RANK"])

def train(name, given, data=data, **rest):
    return suguk.train(data, out=f"{out}/{name}", recipe="small", overrides=given, display="plain", **rest)

"""
GOOD = """
torch.distributed.init_process_group("gloo")  # the caller's own stays
train("equal", plain)
train("whole", given)
train("cut", given, stop=lambda step: rank == 1 and step == 5)
suguk.resume(f"{out}/cut", stop=lambda step: rank == 0 and step == 11)
model = suguk.resume(f"{out}/cut")
timed = {"train.minutes": 2 / 60, "train.epochs": 10**6, "train.valid_every": 10**6, "train.schedule": "linear"}
train("timed", given | timed)
print(json.dumps(model.predict(["abc"])[0].output))
torch.distributed.destroy_process_group()
"""
DIES = """
train("dies", given, stop=lambda step: rank == 1 and step == 5 and os._exit(3))
"""
OTHER = """
train("other", given, data if rank == 0 else sys.argv[5])
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def launch(program: str, data: Path, out: Path, *more: Path) -> list[subprocess.CompletedProcess[str]]:
    """The program in two processes, without torchrun, which would end both if one ends."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [
        sys.executable,
        "-c",
        START + program,
        str(data),
        str(out),
        json.dumps(GIVEN),
        json.dumps(PLAIN),
    ]
    command += map(str, more)
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        texts = [one.communicate(timeout=200) for one in started]
    finally:
        for one in started:
            one.kill()
    return [
        subprocess.CompletedProcess(command, one.returncode, *text)
        for one, text in zip(started, texts, strict=True)
    ]


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where two processes have trained, and what each showed."""
    out = tmp_path_factory.mktemp("two")
    ended = launch(GOOD, data, out)
    assert [one.returncode for one in ended] == [0, 0], ended
    assert ended[0].stdout == ended[1].stdout != ""  # both have the best model
    return out, [one.stderr for one in ended]


def test_two_processes_equal_one_whose_batch_is_the_union(
    two: tuple[Path, list[str]], data: Path, tmp_path: Path
) -> None:
    """Though the batches of an epoch are odd in number: one process has nothing to do in the last update."""
    given = PLAIN | {"train.accumulate": 2}
    one = suguk.train(data, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
    found = records(two[0] / "equal")
    wanted = records(tmp_path / "run")
    assert [record["step"] for record in found] == [record["step"] for record in wanted]
    for name in ("loss", "lr", "norm", "epoch", "padding", "score"):
        figures = [[record[name] for record in several if name in record] for several in (found, wanted)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-4)
    batches = 15
    assert found[-1]["step"] == 2 * -(-batches // 2)
    weights = load_file(two[0] / "equal/training/state.safetensors")
    kept = load_file(tmp_path / "run/training/state.safetensors")
    for name in (name for name in kept if name.startswith("model.")):
        torch.testing.assert_close(weights[name], kept[name], rtol=1e-4, atol=1e-6)
    assert one.config.train.accumulate == 2


def test_a_stop_of_one_is_a_stop_of_both_and_resumes_exactly(two: tuple[Path, list[str]]) -> None:
    """Dropout of both included."""
    whole, cut = two[0] / "whole", two[0] / "cut"
    for name in ("model.safetensors", "training/state.safetensors"):
        first, second = load_file(whole / name), load_file(cut / name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert not torch.equal(first["rng.cpu"], first["rank.1.rng.cpu"])
    assert records(whole) == records(cut)


def test_the_first_process_alone_shows_and_writes(two: tuple[Path, list[str]]) -> None:
    first, second = two[1]
    assert "going on after step 5" in first
    assert second == ""
    assert sorted(os.listdir(two[0])) == ["cut", "equal", "timed", "whole"]


def test_the_time_budget_ends_both(two: tuple[Path, list[str]]) -> None:
    found = records(two[0] / "timed")
    assert [record["kind"] for record in found].count("valid") == 1
    assert found[-1]["kind"] == "valid"


def test_a_process_that_ends_ends_the_other(data: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    first, second = launch(DIES, data, tmp_path)
    assert second.returncode == 3
    assert first.returncode == 1
    assert "UserError: process 0: another process of this training has ended" in first.stderr
    assert "suguk train --resume" in first.stderr
    assert time.monotonic() - start < 100


def test_other_data_are_refused(data: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "other.tsv", 97)
    _, second = launch(OTHER, data, tmp_path / "out", other)
    assert second.returncode == 1
    assert "process 1: the data are not those of the first process" in second.stderr


@pytest.mark.parametrize("machines", [1, 2])
def test_torchrun_and_the_command_line(machines: int, data: Path, tmp_path: Path) -> None:
    """Two processes of one machine, or of two, which are both on this one. Standard output is written once."""
    place = ["--standalone", "--nproc-per-node", "2"]
    if machines == 2:
        place = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    suguk_train = [
        "-m",
        "suguk",
        "train",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--recipe",
        "small",
        "--json",
    ]
    given = [f"--set={name}={json.dumps(value)}" for name, value in (GIVEN | {"train.epochs": 1}).items()]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *place, "--node-rank", str(number), *suguk_train, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        for number in range(machines)
    ]  # fmt: skip
    try:
        texts = [one.communicate(timeout=200) for one in started]
    finally:
        for one in started:
            one.kill()
    assert [one.returncode for one in started] == [0] * machines, texts
    printed = [out for out, _ in texts if out]
    assert len(printed) == 1
    assert json.loads(printed[0])["validations"] == 1
    assert sum(told.count("trained 8 updates") for _, told in texts) == 1


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    team = Team()
    team.world, team.rank, team.local = 6, 4, 1
    assert (team.device("cuda"), team.device("cpu"), team.device("cuda:0")) == ("cuda:1", "cpu", "cuda:0")
    assert chosen == [1]
    team.local = 2
    with pytest.raises(UserError, match="process 4: no GPU of its own: this machine has 2") as fault:
        team.device("cuda")
    assert "--nproc-per-node=2, or --set train.device=cpu" in str(fault.value)


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    team, weight = Team(), torch.nn.Parameter(torch.zeros(3))
    batches: list[Any] = [np.arange(3), np.arange(5)]
    nll = torch.tensor(2.5)
    assert team.first
    assert team.mine(batches) == batches
    assert team.add_up([weight], nll) is nll
    assert weight.grad is None
    assert (team.total(2.5), team.asked(lambda: 7), team.told(lambda: "한"), team.any(False)) == (
        2.5,
        7,
        "한",
        False,
    )
    assert team.everybody({"rng.cpu": nll}) == {"rng.cpu": nll}
    assert team.device("cuda") == "cuda"
    with team.in_turn():
        team.wait()
    team.leave()
    assert not torch.distributed.is_initialized()
