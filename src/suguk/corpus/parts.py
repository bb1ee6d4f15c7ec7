"""A job and its parts. A finished part is a file of the output directory; what is there is not done again.

`_job.json` says what the parts were made of and how, `part-00012.parquet` are the rows with their outputs, `_SUCCESS`
comes last. A part depends on nothing but the job: not on how many workers there were, nor on their order.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suguk import files
from suguk.config import PredictConfig
from suguk.corpus import parquet
from suguk.corpus.carried import Carried
from suguk.corpus.parquet import Input, Part
from suguk.errors import UserError

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.predictor import Prediction

FORMAT = 1
JOB, SUCCESS = "_job.json", "_SUCCESS"  # readers of a folder skip what begins with _ or .
HALF = re.compile(r"\.(_job\.json|_SUCCESS|part-\d+\.parquet)-[0-9a-f]{12}")  # temporary, of `suguk.files`
SHOWN = 10  # differences between two jobs that are told


@dataclass(frozen=True)
class Job:
    """model: its fingerprint; options: of the search; source: name of the column; rows: of a part, at most."""

    model: str
    options: dict[str, Any]
    source: str
    rows: int
    inputs: tuple[Input, ...]

    @classmethod
    def plan(cls, model: str, data: Sequence[str], options: PredictConfig, source: str, rows: int) -> "Job":
        """From names and sizes only; no row is read. DataError, see `parquet.paths` and `parquet.look`."""
        if rows < 1:
            raise UserError(f"expected at least one row a part, found {rows}")
        inputs, column = parquet.look(parquet.paths(data), source)
        return cls(model, options.model_dump(mode="json"), column, rows, tuple(inputs))

    def parts(self) -> list[Part]:
        """In the order of the files. None spans two files; the last of a file may be short."""
        cut = [(file, first) for file in self.inputs for first in range(0, file.rows, self.rows)]
        return [
            Part(number, file, first, min(self.rows, file.rows - first), max(5, len(str(len(cut) - 1))))
            for number, (file, first) in enumerate(cut)
        ]

    def record(self) -> dict[str, Any]:
        """What _job.json holds."""
        return {"format": FORMAT, **asdict(self)}


def begin(out: Path, job: Job) -> None:
    """Make `out` the place of this job, or go on with it.

    UserError where another job is there, or anything else; DataError for sources that cannot be predicted, before
    anything is written.
    """
    if (out / JOB).exists():
        different = _differences(_recorded(out / JOB), job.record())
        if different:
            shown = "".join(f"\n  {line}" for line in different[:SHOWN])
            more = f"\n  … and {len(different) - SHOWN:,} more" if len(different) > SHOWN else ""
            raise UserError(
                f"holds another job:{shown}{more}",
                where=out,
                hint="go on with the same model, data and options, or name another --output",
            )
    else:
        _free(out)
        parquet.check(job.inputs, job.source)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            hint = "name another --output"
            raise UserError(f"cannot be made a directory: {fault.strerror}", where=out, hint=hint) from None
        files.write(out / JOB, json.dumps(job.record(), ensure_ascii=False, indent=1).encode())


def left(out: Path, job: Job) -> list[int]:
    """The numbers of the parts that are not there yet."""
    return [part.number for part in job.parts() if not (out / part.name).exists()]


def sweep(out: Path) -> None:
    """Take away what a process that was killed has left half-written."""
    for path in out.iterdir():
        if HALF.fullmatch(path.name):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class PartWork:
    """What a worker needs to predict parts; see `workers.Work`. out: as an absolute path, which every worker sees."""

    carried: Carried
    job: Job
    out: str

    def name(self, number: int) -> str:
        return self.job.parts()[number].place()

    def open(self) -> Callable[[int], int]:
        """Predicts the part of a number and writes it, unless it is there; its rows. UserError; see `parquet.read`."""
        out, parts = Path(self.out), self.job.parts()
        if not (out / JOB).exists() or _differences(_recorded(out / JOB), self.job.record()):
            hint = "on a cluster the output is a directory that every node has at the same path"
            raise UserError("a worker does not find the job here", where=out / JOB, hint=hint)
        model, options = self.carried.open(), PredictConfig.model_validate(self.job.options)

        def predict(number: int) -> int:
            part = parts[number]
            if not (out / part.name).exists():  # a worker may have been ended after it was written
                table = parquet.read(part)
                answers = _predictions(model, table.column(self.job.source).to_pylist(), options, part)
                parquet.write(out / part.name, table, answers, ranked=options.n_best > 1)
            return part.rows

        return predict


def _predictions(
    model: "TextPredictor", texts: list[str], options: PredictConfig, part: Part
) -> "list[Prediction]":
    """What goes wrong gets a note that names the part, and the row if there is one that fails alone."""
    try:
        return model.predict(texts, options)
    except Exception as fault:
        fault.add_note(part.place(_culprit(model, texts, options)))
        raise


def _culprit(model: "TextPredictor", texts: list[str], options: PredictConfig) -> int | None:
    def fails(low: int, high: int) -> bool:
        try:
            model.predict(texts[low:high], options)
        except Exception:
            # Whatever it is: the first fault is on its way to the user, this only asks whose it was.
            return True
        return False

    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        if fails(low, middle):
            high = middle
        elif fails(middle, high):
            low = middle
        else:
            return None
    return low


def _free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(not HALF.fullmatch(path.name) for path in out.iterdir())):
        hint = "name a new directory as --output"
        raise UserError(
            f"exists already and is not a job's directory: there is no {JOB}", where=out, hint=hint
        )


def _recorded(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UserError(f"cannot be read: {fault}", where=path, hint="name another --output") from None


def _differences(there: Any, here: Any) -> list[str]:
    """`options.beam: 5 there, 3 here`, one for each setting."""
    one, other = _flat(there, ""), _flat(here, "")
    return [
        f"{name}: {one.get(name, 'nothing')} there, {other.get(name, 'nothing')} here"
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    ]


def _flat(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        inner = [(f"{name}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        inner = [(f"{name}[{number}]", part) for number, part in enumerate(value, start=1)]
    else:
        return {name: value}
    return {key: leaf for key, part in inner for key, leaf in _flat(part, key).items()}
