"""Train the same job with suguk, its peers and a textbook loop in turn, and compare speed, memory and start-up.

    python -m benchmarks.peers.compare --data DATA [--dir build/peers] [--only ours opennmt] [--updates 120]

DATA holds multi30k/. All contestants run once, one at a time, then all again, so that what changes about the machine
meets everybody. A run ends after --updates updates, the first 20 of which are not timed. DIR/results.json is
written after every run, DIR/results.md and the output are its tables. Run it on an otherwise idle machine.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import contestants
from benchmarks.peers.contestants import CONTESTANTS, HERE, Job
from benchmarks.peers.install import python_of, ready
from benchmarks.record import machine

SKIP = 20
BATCH = 64
Row = dict[str, Any]


class FailedError(Exception):
    """A run that made too few updates."""


class Plan(NamedTuple):
    """What is compared, and how."""

    folder: Path
    data: Path
    recipe: Path
    names: list[str]
    updates: int
    repeats: int
    threads: int
    minutes: float


def environment(threads: int) -> dict[str, str]:
    """The same for all: so many threads, no GPU, UTF-8."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **counts, "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1"}


def prepare(plan: Plan) -> dict[str, int]:
    """The subwords of the peers, unless they are there; the counts of their training data."""
    out = plan.folder / "data"
    if not (out / "counts.json").exists():
        python = python_of(plan.folder, "sentencepiece")
        script = [str(python), str(HERE / "prepare.py"), "--data", str(plan.data), "--out", str(out)]
        subprocess.run(script, check=True, stdout=sys.stderr)
    counts: dict[str, int] = json.loads((out / "counts.json").read_text(encoding="utf-8"))
    return counts


def execute(name: str, repeat: int, plan: Plan) -> Row:
    """One run under the clock. FailedError with the name of its log if it made too few updates."""
    out = plan.folder / "runs" / f"{name}-{repeat}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    job = Job(plan.folder, plan.data, out, plan.recipe, seed=repeat)
    options = ["--updates", str(plan.updates), "--skip", str(SKIP), "--threads", str(plan.threads)]
    words = contestants.command(name, job)
    clock, record, log = HERE / "clock.py", out / "clock.json", out / "log.txt"
    load = os.getloadavg()[0]
    with log.open("w", encoding="utf-8") as lines:
        start = [contestants.python(name, plan.folder), str(clock), str(record), *options]
        process = subprocess.Popen(
            [*start, "--began", repr(time.time()), "--", *words],
            cwd=out, env=environment(plan.threads), stdout=lines, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(plan.minutes * 60)
        except subprocess.TimeoutExpired:
            raise FailedError(f"no {plan.updates} updates in {plan.minutes:g} minutes, see {log}") from None
        finally:
            _end_group(process)
    if not record.exists():
        raise FailedError(f"ended before {plan.updates} updates, see {log}")
    return {
        "name": name,
        "repeat": repeat,
        "command": words,
        "load_before": load,
        **json.loads(record.read_text()),
    }


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The program, if it still runs, and the loader workers it leaves behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def our_counts(model: Path, targets: Path) -> dict[str, int]:
    """Target tokens of an epoch in our own subwords, <eos> included, and its updates, from a run's directory."""
    from suguk.run_directory import read_static

    field = read_static(model)[2]
    lines = targets.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    tokens = sum(len(ids) for ids in field.encode_batch(lines))
    with (model / "metrics.jsonl").open(encoding="utf-8") as file:
        first = json.loads(next(file))
    return {"pairs": len(lines), "target_tokens": tokens, "updates": round(first["step"] / first["epoch"])}


def measure(row: Row, counts: dict[str, int]) -> Row:
    """Add the figures: mean over the timed updates, tokens and sentences as the mean of an epoch."""
    stamps = row["stamps"]
    seconds = (stamps[-1] - stamps[SKIP - 1]) / (len(stamps) - SKIP)
    return row | {
        "update_ms": 1000 * seconds,
        "tokens_per_second": counts["target_tokens"] / counts["updates"] / seconds,
        "sentences_per_second": counts["pairs"] / counts["updates"] / seconds,
        "first_update": stamps[0],
        "counts": counts,
    }


def compare(plan: Plan) -> Row:
    """All runs, in turns, and what they were run on. A run that fails is noted and the others go on."""
    counts = prepare(plan)
    found: Row = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "threads": plan.threads}
    found |= {"updates": plan.updates, "skipped": SKIP, "runs": [], "failed": []}
    for repeat in range(1, plan.repeats + 1):
        for name in plan.names:
            try:
                row = execute(name, repeat, plan)
            except FailedError as fault:
                found["failed"].append({"name": name, "repeat": repeat, "why": str(fault)})
                print(f"{repeat} {name}: failed: {fault}", file=sys.stderr, flush=True)
                continue
            if CONTESTANTS[name].kind == "ours":
                model = plan.folder / "runs" / f"{name}-{repeat}" / "model"
                row = measure(row, our_counts(model, plan.data / "multi30k" / "train.de"))
            else:
                row = measure(row, counts)
            found["runs"].append(row)
            print(f"{repeat} {name}: {row['tokens_per_second']:,.0f} tokens/s", file=sys.stderr, flush=True)
            (plan.folder / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def spread(values: list[float], form: str = ",.0f") -> str:
    """Median and, of several values, the least and the greatest."""
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({format(min(values), form)}–{format(max(values), form)})"


def ratios(ours: str, other: str, rows: list[Row]) -> list[float]:
    """Our tokens a second by the other's, round by round: both met the same state of the machine."""
    speeds = {(row["name"], row["repeat"]): row["tokens_per_second"] for row in rows}
    rounds = sorted({row["repeat"] for row in rows})
    pairs = [(speeds.get((ours, one)), speeds.get((other, one))) for one in rounds]
    return [mine / theirs for mine, theirs in pairs if mine is not None and theirs is not None]


def table(rows: list[Row]) -> Iterator[str]:
    """One row a contestant, in the order of the runs; every cell is a median with its spread."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    mine = [name for name in names if CONTESTANTS[name].kind == "ours"]
    heads = ["", "target tokens/s", "sentences/s", "ms/update", *(f"{name} is × as fast" for name in mine)]
    heads += ["peak MB", "first update, s", "cores in use", "batches"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for name in names:
        own = [row for row in rows if row["name"] == name]

        def cell(key: str, form: str = ",.0f", own: list[Row] = own) -> str:
            return spread([row[key] for row in own], form)

        cells = [name, cell("tokens_per_second"), cell("sentences_per_second", ".0f"), cell("update_ms")]
        cells += [spread(ratios(one, name, rows), ".2f") if one != name else "" for one in mine]
        workers = max(row["workers_peak_mb"] for row in own)
        cells.append(cell("peak_mb") + (f" + {workers:,.0f} in workers" if workers else ""))
        cells += [cell("first_update", ".1f"), cell("cores", ".2f"), CONTESTANTS[name].note]
        yield "| " + " | ".join(cells) + " |"


def report(found: Row) -> Iterator[str]:
    """The table, after a line on how it was made."""
    timed = found["updates"] - found["skipped"]
    rounds = max((row["repeat"] for row in found["runs"]), default=0)
    yield (
        f"{found['machine']}, {found['threads']} threads, {found['date']}; {timed} timed updates a run; median "
        f"of {rounds} runs (least–greatest)."
    )
    yield ""
    yield from table(found["runs"])
    for one in found["failed"]:
        yield f"\nRun {one['repeat']} of {one['name']} failed: {one['why']}"


def check(plan: Plan, parser: argparse.ArgumentParser) -> None:
    """What is missing, before the first run and not after half an hour."""
    wanted = {"sentencepiece", *filter(None, map(contestants.needs, plan.names))}
    missing = sorted(name for name in wanted if not ready(plan.folder, name))
    if missing:
        only = " ".join(missing)
        parser.error(f"not installed: python benchmarks/peers/install.py --dir {plan.folder} --only {only}")
    if not (plan.data / "multi30k" / "train.en").exists():
        parser.error(f"{plan.data} has no multi30k/train.en")
    if plan.updates <= SKIP:
        parser.error(f"--updates must be more than the {SKIP} that are not timed")
    if any(CONTESTANTS[name].kind == "ours" for name in plan.names) and not plan.recipe.exists():
        parser.error(f"the settings of our job are missing: {plan.recipe}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with multi30k/")
    parser.add_argument("--dir", type=Path, default=Path("build/peers"), help="where install.py installed")
    parser.add_argument("--recipe", type=Path, default=contestants.RECIPE, help="the job in our settings")
    parser.add_argument(
        "--only", nargs="+", choices=CONTESTANTS, default=contestants.DEFAULT, metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}",
    )  # fmt: skip
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30, help="limit of one run (default: 30)")
    given = parser.parse_args()
    places = (given.dir.absolute(), given.data.absolute(), given.recipe.absolute())
    plan = Plan(*places, given.only, given.updates, given.repeats, given.threads, given.minutes)
    check(plan, parser)
    found = compare(plan)
    text = "\n".join(report(found))
    (plan.folder / "results.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    raise SystemExit(1 if found["failed"] else 0)


if __name__ == "__main__":
    main()
