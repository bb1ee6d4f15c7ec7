"""A corpus larger than a machine: one model over many rows, by several processes or by a Ray cluster.

Rows of Parquet files are predicted by parts. A finished part is a file; a job that was stopped goes on with the rest.
Importing this package loads neither torch nor pyarrow.
"""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from suguk import files
from suguk.config import PredictConfig
from suguk.corpus import cluster, parts
from suguk.corpus.carried import Carried
from suguk.corpus.workers import answers, check_count, cores, map_lines
from suguk.errors import UserError

__all__ = ["Summary", "map_lines", "predict_table"]

ROWS = 10_000  # of a part
EVERY = 10.0  # seconds between two lines of progress


class Summary(NamedTuple):
    """rows: of the parts that were done now; skipped: parts that were there already."""

    rows: int
    done: int
    skipped: int
    seconds: float


def predict_table(
    model: str,
    data: Sequence[str],
    out: Path,
    *,
    options: PredictConfig,
    source: str = "",
    rows: int = ROWS,
    workers: int | None = None,
    ray: str | None = None,
    quiet: bool = False,
) -> Summary:
    """Predict a column of Parquet files into `out/part-00000.parquet` and so on, on processors, with one thread each.

    model: a run directory or an exported file. data: files, or folders of them. source: a column by name or number
    from 1; else the first of text. rows: of a part, at most. workers: processes, or actors of Ray; None: one for each
    processor. ray: the address of a cluster, see `cluster.answers`; None: this machine. quiet: no progress on
    standard error. Started again, it does the parts that are missing. UserError: another job or another process is
    in `out`, what is wrong with model, data or cluster; DataError carries every source that cannot be predicted.
    """
    started = time.monotonic()
    check_count(workers)
    carried = Carried.read(model)
    job = parts.Job.plan(carried.fingerprint, data, options, source, rows)
    out = out.absolute()
    for folder in map(Path, data):
        if folder.is_dir() and out.is_relative_to(folder.absolute()):
            raise UserError(
                "is in a folder of the input, where the next start would look for tables",
                where=out,
                hint="name an --output elsewhere",
            )
    parts.begin(out, job)
    with files.alone(out):
        parts.sweep(out)
        left, every = parts.left(out, job), job.parts()
        work = parts.PartWork(carried, job, str(out))
        progress = _Progress(
            len(every) - len(left), len(every), sum(every[number].rows for number in left), quiet
        )
        try:
            with closing(_answers(work, left, workers, ray)) as counts:
                for count in counts:
                    progress.add(count)
        finally:
            parts.sweep(out)
        files.write(out / parts.SUCCESS, b"")
    return Summary(progress.rows, len(left), len(every) - len(left), time.monotonic() - started)


def _answers(
    work: parts.PartWork, left: list[int], workers: int | None, ray: str | None
) -> Generator[int, None, None]:
    if not left:
        return
    if ray is None:
        yield from answers(work, left, min(workers or cores(), len(left)))
    else:
        size = sum(map(len, work.carried.contents.values()))
        yield from cluster.answers(work, left, ray, workers, size)


class _Progress:
    """Lines on standard error. skipped, total: parts; left: rows of the others."""

    def __init__(self, skipped: int, total: int, left: int, quiet: bool) -> None:
        self.parts, self.total, self.left, self.quiet = skipped, total, left, quiet
        self.rows, self.started = 0, time.monotonic()
        self._next = self.started + EVERY
        self._say(f"{left:,} rows in {total - skipped:,} parts; {skipped:,} parts are there already")

    def add(self, rows: int) -> None:
        """One more part is done."""
        self.parts, self.rows = self.parts + 1, self.rows + rows
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            speed = self.rows / (now - self.started)
            rest = timedelta(seconds=round((self.left - self.rows) / speed))
            self._say(f"{self.parts:,} of {self.total:,} parts, {speed:,.1f} rows/s, {rest} left")

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)
