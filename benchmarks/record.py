"""Run recorded trainings from the command line that a user would type, score them, and make a table.

    python -m benchmarks.convert DATA build/data
    python -m benchmarks.record cmudict g2p-eng_us --data DATA --seeds 1 2 3
    python -m benchmarks.record --data DATA --seeds 1 2 3 --on test cmudict g2p-eng_us
    python -m benchmarks.record --data DATA --seeds 1 2 3 --on test --ensemble cmudict
    python -m benchmarks.record --table
    python -m benchmarks.record --list

DATA holds the data sets by name (multi30k/train.en, cmudict/train.tsv, …), build/data what convert.py made of
them; runs.py says what is trained. Scores are of the validation data, on which settings are chosen, unless
`--on test` asks for the test data. What is finished is not done again, and a training that was stopped goes on.
OUT gets, for every run and seed, NAME-SEED.json with the command, seconds and peak memory of the training,
NAME-SEED.valid.json and NAME-SEED.test.json with the scores, and a log; the table in RESULTS.md is made of these.
`--minutes 1` tries a definition; give it an OUT of its own. More minutes for a run that was stopped are given the same
way; NAME-SEED.begun.json keeps the command that a run began with.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.runs import MADE, MEANS, RUNS

MINUTES = re.compile(r" --set train\.minutes=\S+")
SHOWN = ("bleu", "chrf", "exact", "wer", "per")


class Job(NamedTuple):
    """One run with one seed. data, made: folders of the data; minutes: a time budget in place of the run's own.

    emulate: train with bfloat16 as emulate.py has it.
    """

    name: str
    seed: int
    data: Path
    made: Path
    out: Path
    minutes: float | None = None
    emulate: bool = False

    @property
    def called(self) -> str:
        return f"{self.name}-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.out / self.called

    def files(self, names: Iterable[str]) -> list[str]:
        return [
            str(self.made / name.removeprefix(MADE) if name.startswith(MADE) else self.data / name)
            for name in names
        ]

    def train(self) -> list[str]:
        """The training, as typed."""
        run = RUNS[self.name]
        command = ["suguk", "train", *self.files(run.train), "--valid", *self.files(run.valid), *run.read]
        command += ["--also", ",".join(self.files(run.also))] if run.also else []
        command += ["--recipe", run.recipe] if run.recipe else []
        budget = () if self.minutes is None else (f"train.minutes={self.minutes:g}",)
        # The rows are of the trained weights, and of the memory that training takes: no export in eight bits.
        for setting in (*run.settings, *budget, "train.export=false"):
            command += ["--set", setting]
        return [*command, "--seed", str(self.seed), "--out", str(self.folder)]

    def evaluate(self, on: str, others: Sequence["Job"] = ()) -> list[str]:
        """The scoring of `on`, "valid" or "test", as typed; with others, of the ensemble."""
        run = RUNS[self.name]
        files = self.files(run.test if on == "test" else run.valid)
        options = (*run.read, *run.evaluate, "--engine", "torch", "--json")
        model = "+".join(str(job.folder) for job in (self, *others))
        return ["suguk", "evaluate", model, *files, *options]


def train(job: Job) -> None:
    """The training, unless it is recorded; one that was stopped goes on. Seconds are those of all its parts."""
    file, begun = job.out / f"{job.called}.json", job.out / f"{job.called}.begun.json"
    command = job.train()
    digest = _recipe(RUNS[job.name].recipe)
    if file.exists():
        _same(job, file, shlex.join(command), recipe=digest)
        return
    resumed = (job.folder / "model.json").exists()
    if begun.exists() and resumed:
        _same(job, begun, shlex.join(command), recipe=digest, minutes=True)
    job.out.mkdir(parents=True, exist_ok=True)
    _write(begun, {"command": shlex.join(command), "recipe": digest, "emulated": job.emulate})
    typed = ["suguk", "train", "--resume", str(job.folder)] if resumed else command
    if resumed:  # the minutes of the command that is recorded, whatever it was begun with
        typed += [word for word in MINUTES.findall(shlex.join(command))[-1:] for word in shlex.split(word)]
    _, step = _call(job, ["benchmarks.emulate", *typed[1:]] if job.emulate else typed)
    row = {"name": job.name, "seed": job.seed, "beside": RUNS[job.name].beside}
    row |= {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "emulated": job.emulate,
        "recipe": digest,
    }
    _write(
        file,
        {**row, **step, "command": shlex.join(command), "resumed": resumed, **_last(job.folder)},
    )


def _recipe(name: str | None) -> str:
    """What the recipe says, in a few letters: a command names it only."""
    from suguk import config

    if name is None:
        return ""
    settings = [line for line in config.recipe(name).splitlines() if line and not line.startswith("#")]
    return hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12]


def _same(job: Job, file: Path, command: str, *, recipe: str = "", minutes: bool = False) -> None:
    """Leaves unless `command` is the one in the file, and its recipe says the same. minutes: they may be others."""
    found = json.loads(file.read_text(encoding="utf-8"))
    both = [MINUTES.sub("", one) if minutes else one for one in (found["command"], command)]
    if both[0] != both[1]:
        raise SystemExit(
            f"{job.called}: recorded with another command:\n  {found['command']}\ngive another --out"
        )
    if recipe and found.get("recipe", recipe) != recipe:  # older rows do not say
        raise SystemExit(f"{job.called}: recorded before its recipe was changed\ngive another --out")
    if found.get("emulated", job.emulate) != job.emulate:
        how = "without" if job.emulate else "with"
        raise SystemExit(f"{job.called}: recorded {how} --emulate\ngive another --out")


def _last(folder: Path) -> dict[str, Any]:
    """Seconds, updates and epochs at the last validation of a run, which ends it."""
    from suguk.run_directory import read_metrics

    last = [record for record in read_metrics(folder) if record["kind"] == "valid"][-1]
    return {"seconds": round(last["seconds"], 1), "updates": last["step"], "epochs": round(last["epoch"], 2)}


def score(job: Job, on: str) -> None:
    """The scores of `on`, unless they are recorded."""
    file = job.out / f"{job.called}.{on}.json"
    if file.exists():
        _same(job, file, shlex.join(job.evaluate(on)))
    else:
        printed, step = _call(job, job.evaluate(on))
        _write(
            file, {"name": job.name, "seed": job.seed, "on": on, **step, "evaluation": json.loads(printed)}
        )


def score_together(jobs: Sequence[Job], on: str) -> None:
    """The scores of the ensemble of several seeds, unless they are recorded."""
    first, *others = jobs
    seeds = "+".join(str(job.seed) for job in jobs)
    file = first.out / f"{first.name}-{seeds}.{on}.json"
    if not file.exists():
        printed, step = _call(first, first.evaluate(on, others))
        about = {"name": f"{first.name}, ensemble of {seeds}", "of": first.name, "seed": seeds, "on": on}
        _write(file, {**about, **step, "evaluation": json.loads(printed)})


def _call(job: Job, command: list[str]) -> tuple[str, dict[str, Any]]:
    """What the command printed; the command, its seconds and its peak memory. Leaves where it fails."""
    job.out.mkdir(parents=True, exist_ok=True)
    log = job.out / f"{job.called}.log"
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    began = time.monotonic()
    with log.open("a", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        )
        assert child.stdout is not None
        with child.stdout:
            printed = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)  # the peak of this process, not of all so far
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{job.called}: exit status {child.returncode}, see {log}")
    seconds = round(time.monotonic() - began, 1)
    peak = round(used.ru_maxrss / 1024)
    return printed, {"command": shlex.join(command), "seconds": seconds, "peak_memory_mb": peak}


def _write(file: Path, row: dict[str, Any]) -> None:
    """Whole or not at all: a row that is there is taken for finished."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(row, ensure_ascii=False, indent=1), encoding="utf-8")
    part.replace(file)


def table(out: Path) -> Iterator[str]:
    """A row of Markdown for each recorded run and data scored: means over its seeds (least–greatest).

    Then the means of groups of runs, of which every one is recorded.
    """
    yield (
        "| run | scored on | seeds | training, min | evaluation, s | peak MiB | "
        + " | ".join((*SHOWN, "perplexity", "beside"))
        + " |"
    )
    yield "|---" * (8 + len(SHOWN)) + "|"
    trained = {
        (row["name"], row["seed"]): row
        for row in _read(path for path in out.glob("*.json") if path.suffixes == [".json"])
    }
    scored = _read(path for on in ("valid", "test") for path in out.glob(f"*.{on}.json"))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(scored, key=lambda row: (row["name"], row["on"] == "test", str(row["seed"]))):
        groups.setdefault((row["name"], row["on"]), []).append(row)
    for (name, on), rows in groups.items():
        members = [
            trained[row.get("of", name), int(seed)] for row in rows for seed in str(row["seed"]).split("+")
        ]
        yield "| " + " | ".join(_cells(name, on, rows, members)) + " |"
    for called, names in MEANS.items():
        for on in ("valid", "test"):
            if all((name, on) in groups for name in names):
                scores = (_mean([groups[name, on] for name in names], metric) for metric in SHOWN)
                yield "| " + " | ".join((called, on, "", "", "", "", *scores, "", "")) + " |"


def _cells(name: str, on: str, rows: list[dict[str, Any]], trained: list[dict[str, Any]]) -> Iterator[str]:
    yield from (name, on, " ".join(str(row["seed"]) for row in rows))
    yield spread([row["seconds"] / 60 for row in trained], 1)
    yield spread([row["seconds"] for row in rows], 0)
    yield f"{max(row['peak_memory_mb'] for row in (*trained, *rows)):,}"
    found = [row["evaluation"] for row in rows]
    for metric in SHOWN:
        yield spread([one["scores"][metric]["score"] for one in found if metric in one["scores"]], 2)
    yield spread([one["perplexity"] for one in found if one["perplexity"] is not None], 2)
    yield trained[0]["beside"]


def _mean(runs: list[list[dict[str, Any]]], metric: str) -> str:
    """Over runs, of means over seeds; nothing if one lacks it."""
    found = [[row["evaluation"]["scores"].get(metric) for row in rows] for rows in runs]
    if any(one is None for scores in found for one in scores):
        return ""
    return f"{statistics.fmean(statistics.fmean(one['score'] for one in scores) for scores in found):.2f}"


def spread(values: list[float], digits: int) -> str:
    """`mean (least–greatest)`; of one value the value, of none nothing."""
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    mean = statistics.fmean(values)
    return f"{mean:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _read(files: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def machine() -> str:
    """Processor and cores, and the GPU that PyTorch would take, in a few words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    named = f"{model}, {os.cpu_count()} cores"
    if shutil.which("nvidia-smi") and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        options = ["--query-gpu=name", "--format=csv,noheader"]
        asked = subprocess.run(["nvidia-smi", *options], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            named = ", ".join([named, *asked.stdout.splitlines()[:1]])
    return named


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="runs (default: all)")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--made", type=Path, default=Path("build/data"), help="what convert.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="N")
    parser.add_argument("--ensemble", action="store_true", help="score the ensemble of all these seeds too")
    parser.add_argument("--on", choices=("valid", "test"), default="valid", help="what is scored")
    parser.add_argument("--minutes", type=float, help="time budget in place of the run's own")
    parser.add_argument(
        "--emulate", action="store_true", help="bfloat16 where the processor has none: emulate.py"
    )
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    parser.add_argument(
        "--table", action="store_true", help="print what was recorded in OUT as a table and stop"
    )
    arguments = parser.parse_args()
    if arguments.table:
        print(*table(arguments.out), sep="\n")
        return
    for name in arguments.names:
        if name not in RUNS:
            parser.error(f"unknown run {name!r}; known: {', '.join(RUNS)}")
    for name in arguments.names or RUNS:
        folders = arguments.data, arguments.made, arguments.out
        jobs = [Job(name, seed, *folders, arguments.minutes, arguments.emulate) for seed in arguments.seeds]
        for job in jobs:
            if arguments.list:
                print(shlex.join(job.train()), shlex.join(job.evaluate(arguments.on)), sep="\n")
            else:
                train(job)
                score(job, arguments.on)
        if arguments.ensemble and not arguments.list:
            score_together(jobs, arguments.on)


if __name__ == "__main__":
    main()
