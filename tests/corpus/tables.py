"""Tables to predict, and what came out."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from suguk.config import PredictConfig
from suguk.corpus.carried import Carried
from suguk.corpus.parts import Job, PartWork, begin

WORDS = ["a", "b", "c", "d", "e", "the", "cat", "sat", "on", "mat", "."]
OPTIONS = PredictConfig(beam=3, n_best=2, max_length=9)


def sources(count: int) -> list[str]:
    """All of them differ in length or words."""
    return [" ".join(WORDS[(i * 7 + k) % len(WORDS)] for k in range(i % 5)) for i in range(count)]


def write_table(path: Path, count: int, group: int = 7) -> Path:
    columns = {"id": range(count), "text": sources(count), "tags": [["x"] * (i % 3) for i in range(count)]}
    pq.write_table(
        pa.table({name: list(cells) for name, cells in columns.items()}), path, row_group_size=group
    )
    return path


def work_of(model: Path, data: Path, out: Path, rows: int = 5) -> PartWork:
    """A job that has begun."""
    carried = Carried.read(model)
    job = Job.plan(carried.fingerprint, [str(data)], OPTIONS, "", rows)
    begin(out, job)
    return PartWork(carried, job, str(out))


def contents(out: Path) -> dict[str, bytes]:
    """Of the parts, by name."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


@dataclass(frozen=True)
class KillsWorkers:
    """Does what `work` does, but the first `times` workers that are given task 2 are killed at it."""

    work: PartWork
    marks: Path
    times: int = 1

    def name(self, task: int) -> str:
        return self.work.name(task)

    def open(self) -> Callable[[int], Any]:
        call = self.work.open()

        def kills(task: int) -> Any:
            if task == 2 and len(list(self.marks.iterdir())) < self.times:
                (self.marks / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return call(task)

        return kills
