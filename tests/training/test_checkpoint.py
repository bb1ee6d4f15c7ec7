"""The saved state: whole or not at all, and plain about what is wrong with it."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suguk.errors import ModelError, UserError
from suguk.run_directory import read_metrics
from suguk.training.checkpoint import (
    Best,
    Counts,
    MetricsLog,
    Progress,
    read_state,
    state_path,
    write_state,
)

PROGRESS = Progress(
    step=37,
    lr=0.1,
    epoch=2,
    index=3,
    batches=17,
    validated=34,
    best=Best(34, 12.5, 1 / 3),
    waits=1,
    stuck=2,
    level=3,
    elapsed=1.1,
    valid_seconds=0.7,
    metrics_bytes=211,
    counts=Counts(3, 101, 230, 241, 0.3),
)
TENSORS = {"model.a": torch.randn(3, 5), "rng.cpu": torch.get_rng_state(), "running": torch.zeros(2).double()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_state(tmp_path, PROGRESS, TENSORS)
    saved = read_state(tmp_path)
    assert saved is not None
    assert saved.progress == PROGRESS
    assert saved.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(saved.tensors[name], value) for name, value in TENSORS.items())
    assert list(saved.part("model.")) == ["a"]
    assert os.listdir(tmp_path / "training") == ["state.safetensors"]


def test_progress_counts_epochs() -> None:
    assert Progress().epochs == 0
    assert PROGRESS.epochs == 2 + 3 / 17


def test_no_state_means_from_the_beginning(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_run_copied_without_its_state(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"training state is missing.*\n.*hint: copy"):
        read_state(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_state(tmp_path: Path, share: float) -> None:
    write_state(tmp_path, PROGRESS, TENSORS)
    content = state_path(tmp_path).read_bytes()
    state_path(tmp_path).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"state.safetensors: damaged or cut short"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "expected suguk-training 1, found None None"),
        ({"format": "suguk-training", "version": "2"}, "found suguk-training 2"),
        ({"format": "suguk-training", "version": "1"}, "damaged or cut short"),
        ({"format": "suguk-training", "version": "1", "progress": "{}"}, "damaged or cut short"),
        ({"format": "suguk-training", "version": "1", "progress": "{"}, "damaged or cut short"),
    ],
)
def test_a_file_that_is_no_state(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    state_path(tmp_path).parent.mkdir()
    save_file(TENSORS, state_path(tmp_path), metadata=metadata)
    with pytest.raises(ModelError, match=message):
        read_state(tmp_path)


def test_a_full_disk_leaves_the_earlier_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(tmp_path, PROGRESS, TENSORS)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"No space left on device\n  hint: free disk space"):
            write_state(tmp_path, Progress(), TENSORS)
    saved = read_state(tmp_path)
    assert saved is not None
    assert saved.progress == PROGRESS
    assert os.listdir(tmp_path / "training") == ["state.safetensors"]


def test_a_file_where_the_state_belongs(tmp_path: Path) -> None:
    (tmp_path / "training").touch()
    with pytest.raises(UserError, match="training: cannot be written"):
        write_state(tmp_path, PROGRESS, TENSORS)


def test_metrics_are_cut_back_to_the_saved_length(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.append({"kind": "train", "step": 1, "text": "한국어"})
    kept = log.length
    log.append({"kind": "train", "step": 2})
    log.close()
    assert (tmp_path / "metrics.jsonl").stat().st_size == log.length > kept
    again = MetricsLog(tmp_path, kept)
    again.append({"kind": "train", "step": 3, "loss": float("inf")})
    again.sync()
    again.close()
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 3]
    assert read_metrics(tmp_path)[0]["text"] == "한국어"
    assert read_metrics(tmp_path)[1]["loss"] is None


@pytest.mark.parametrize("line_end", ["\u2028", "\u2029", "\x85", "\x1c", "\r"])
def test_a_text_with_other_line_ends_stays_in_one_record(tmp_path: Path, line_end: str) -> None:
    log = MetricsLog(tmp_path, 0)
    records = [{"step": 1, "text": f"a{line_end}b"}, {"step": 2, "text": "c"}]
    for record in records:
        log.append(record)
    log.close()
    assert read_metrics(tmp_path) == records


def test_a_half_written_record_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo', encoding="utf-8")
    assert read_metrics(tmp_path) == [{"step": 1}]
    assert read_metrics(tmp_path / "nowhere") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_below_the_metrics(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.close()
    with open("/dev/full", "ab", buffering=0) as full:
        log._file = full
        with pytest.raises(UserError, match=r"metrics.jsonl: cannot be written: No space left.*\n.*--resume"):
            log.append({"step": 1})


def test_metrics_in_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics.jsonl: cannot be written"):
        MetricsLog(tmp_path / "nowhere", 0)
