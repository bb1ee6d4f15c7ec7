"""What a resume needs, in one file that is replaced whole: `training/state.safetensors`. And `metrics.jsonl`.

Tensors: `model.*` (current weights), `average.*` (with train.ema), `optimizer.<i>.*`, `rng.cpu` and `rng.cuda`,
`running` (sums since the last record), of several processes also `rank.<number>.rng.*`. The rest, `Progress`, is
JSON in the file's metadata.
"""

import dataclasses
import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from suguk.errors import ModelError, UserError
from suguk.run_directory import write_tensors

FORMAT = 1


@dataclass
class Counts:
    """Sums on the host since the last record."""

    updates: int = 0
    tokens: int = 0  # real target tokens, what the loss is a mean over
    real: int = 0  # tokens of both sides
    padded: int = 0  # the same with padding
    seconds: float = 0.0
    halved: int = 0  # batches that did not fit into the memory


@dataclass(frozen=True)
class Best:
    """The best validation so far."""

    step: int
    score: float
    loss: float


@dataclass
class Progress:
    """Where training stands; together with the tensors it decides all that follows."""

    step: int = 0  # updates done
    lr: float = 0.0  # of the last update
    epoch: int = 0
    index: int = 0  # batches of this epoch done
    batches: int = 1  # of this epoch
    validated: int = -1  # step of the last validation
    best: Best | None = None
    lowest: float | None = None  # validation loss so far
    waits: int = 0  # validations since the metric or the loss improved
    stuck: int = 0  # the same, for the plateau schedule: a decay begins anew
    level: int = 0  # decays of the plateau schedule
    elapsed: float = 0.0  # seconds of all sessions
    valid_seconds: float | None = None  # what the latest validation took
    metrics_bytes: int = 0
    kept: list[int] = field(default_factory=list)  # steps of the last validations, with train.average_last
    averaged: int = -1  # step at which their average was validated
    counts: Counts = field(default_factory=Counts)

    @property
    def epochs(self) -> float:
        """Passes over the data done."""
        return self.epoch + self.index / self.batches


class Saved(NamedTuple):
    progress: Progress
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {
            key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)
        }


def state_path(folder: Path) -> Path:
    return folder / "training" / "state.safetensors"


def write_state(folder: Path, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Replace the state; UserError on a full disk or an unwritable place, the earlier one stays then."""
    path = state_path(folder)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as fault:
        raise _refused(path.parent, fault) from None
    metadata = {
        "format": "suguk-training",
        "version": str(FORMAT),
        "progress": json.dumps(dataclasses.asdict(progress)),
    }
    write_tensors(path, tensors, metadata)


def read_state(folder: Path) -> Saved | None:
    """The saved state; None if training never came to save one. ModelError: damaged, newer or left out."""
    path = state_path(folder)
    if not path.exists():
        if (folder / "model.safetensors").exists():
            raise ModelError(
                "the training state is missing, so this run cannot go on (it can still predict)",
                where=path,
                hint="copy the run directory with its folder training/, or train again with another --out",
            )
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as fault:
        raise _damaged(path, fault) from None
    if metadata.get("format") != "suguk-training" or metadata.get("version") != str(FORMAT):
        raise ModelError(
            f"expected suguk-training {FORMAT}, found {metadata.get('format')} {metadata.get('version')}",
            where=path,
            hint="resume with the suguk that began this run",
        )
    try:
        return Saved(_progress(json.loads(metadata["progress"])), tensors)
    except (KeyError, TypeError, ValueError) as fault:
        raise _damaged(path, fault) from None


def _progress(plain: dict[str, Any]) -> Progress:
    best = plain.pop("best")
    counts = Counts(**plain.pop("counts"))
    return Progress(**plain, counts=counts, best=None if best is None else Best(**best))


def _damaged(path: Path, fault: Exception) -> ModelError:
    return ModelError(
        f"damaged or cut short ({fault})",
        where=path,
        hint="copy the run directory again, or train again with another --out",
    )


def random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(saved: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(saved["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in saved:
        torch.cuda.set_rng_state(saved["rng.cuda"], device)


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, appended; cut back to the saved state's length on a resume."""

    def __init__(self, folder: Path, length: int) -> None:
        """length: bytes to keep. UserError if the file cannot be written."""
        self.path = folder / "metrics.jsonl"
        try:
            with self.path.open("ab") as file:
                file.truncate(length)
            self._file = self.path.open("ab", buffering=0)
        except OSError as fault:
            raise _refused(self.path, fault) from None
        self.length = length

    def append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({key: _finite(value) for key, value in record.items()}, ensure_ascii=False)
        self._write(line.encode() + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as fault:
            raise _refused(self.path, fault) from None
        self.length += len(line)

    def sync(self) -> None:
        """On the disk, before a state says how long it is."""
        try:
            os.fsync(self._file.fileno())
        except OSError as fault:
            raise _refused(self.path, fault) from None

    def close(self) -> None:
        self._file.close()


def _finite(value: Any) -> Any:
    """JSON knows no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refused(path: Path, fault: OSError) -> UserError:
    return UserError(
        f"cannot be written: {fault.strerror or fault}",
        where=path,
        hint="free disk space, then go on with `suguk train --resume`",
    )
