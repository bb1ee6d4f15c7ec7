"""Memory and time of a training on more pairs than fit into memory: generated ones, in a file.

    python -m benchmarks.corpus OUT --pairs 5000000

OUT gets the pairs (written once), a cache and the runs. Prints seconds and the largest resident memory of a training,
and of a second start, which finds vocabularies and ids in the cache. Resident memory counts what is mapped from files
too, as far as it was touched.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORDS, LENGTHS = 50_000, range(8, 23)


def pairs(count: int) -> Iterator[str]:
    """Sentences of invented words by Zipf's law, 15 of them on average, and the same backwards."""
    draw = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(WORDS)]
    weights = [1 / (rank + 1) for rank in range(WORDS)]
    many = draw.choices(words, weights, k=2_000_003)
    for _ in range(count):
        begin = draw.randrange(len(many) - 30)
        sentence = many[begin : begin + draw.choice(LENGTHS)]
        yield f"{' '.join(sentence)}\t{' '.join(reversed(sentence))}\n"


def measure(command: list[str], run: Path, cache: Path, updates: int) -> tuple[float, float, float]:
    """Seconds until the first update, seconds until `updates` of them, where it is stopped, and the peak in MB."""
    began, first = time.monotonic(), 0.0
    child = subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, "SUGUK_CACHE": str(cache)})
    ended = 0
    while not ended:
        time.sleep(0.5)
        ended, _, used = os.wait4(child.pid, os.WNOHANG)
        done = max((record["step"] for record in records(run) if record["kind"] == "train"), default=0)
        if done and not first:
            first = time.monotonic() - began
        if done >= updates:
            break
    last = time.monotonic() - began
    if not ended:
        os.kill(child.pid, signal.SIGINT)
        _, _, used = os.wait4(child.pid, 0)
    child.returncode = 0
    if not first:
        raise SystemExit("no update was made")
    return first, last, used.ru_maxrss / 1024


def records(run: Path) -> list[dict[str, Any]]:
    """What a training has written so far."""
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--pairs", type=int, default=5_000_000, metavar="N")
    parser.add_argument("--updates", type=int, default=100, metavar="N", help="after which a start is ended")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="settings of the training"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"pairs-{arguments.pairs}.tsv"
    if not file.exists():
        part = file.with_suffix(".part")
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(pairs(arguments.pairs))
        part.replace(file)
    print(f"{arguments.pairs:,} pairs, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
    for start in ("first", "second"):
        run = out / f"run-{time.time_ns()}"
        command = ["suguk", "train", str(file), "--recipe", "small", "--out", str(run)]
        for setting in ("train.export=false", *arguments.set):
            command += ["--set", setting]
        first, last, peak = measure(command, run, out / "cache", arguments.updates)
        seconds = f"update 20 after {first:,.0f} s, {arguments.updates} after {last:,.0f} s"
        print(f"{start} start: {seconds}, peak {peak:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
