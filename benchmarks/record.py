"""Run a recorded training from the command line that a user would type, and write its row.

    python benchmarks/record.py --data DIR --out runs/bench multi30k-small cmudict-chars
    python benchmarks/record.py --list

DIR holds the data sets by name (multi30k/train.en, cmudict/train.tsv, …). Every run leaves its log, its scores as JSON
and its commands in OUT/NAME.json; the table in RESULTS.md is made of these.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


class Run(NamedTuple):
    """What is trained, with which settings, and what it is tested on; files are relative to the data folder."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    recipe: str | None
    settings: tuple[str, ...]
    evaluate: tuple[str, ...] = ()


def _multi30k(recipe: str, *settings: str) -> Run:
    return Run(
        ("multi30k/train.en", "multi30k/train.de"),
        ("multi30k/val.en", "multi30k/val.de"),
        ("multi30k/test_2016_flickr.en", "multi30k/test_2016_flickr.de"),
        recipe,
        ("data.lowercase=true", *settings),
        ("--lowercase",),
    )


def _table(name: str, recipe: str | None, *settings: str) -> Run:
    return Run((f"{name}/train.tsv",), (f"{name}/valid.tsv",), (f"{name}/test.tsv",), recipe, settings)


def _on_validation(run: Run) -> Run:
    return run._replace(test=run.valid)


# Sizes and vocabularies scaled down to 29,000 pairs, and little time spent on validation; all else is the paper's.
PAPER = (
    "model.hidden=256", "train.minutes=10", "train.epochs=1000", "train.batch_tokens=1024", "train.early_stopping=0",
    "train.valid_samples=100", "train.valid_every=2", "source.vocab_size=8000", "target.vocab_size=8000",
    "predict.max_length=60",
)  # fmt: skip
BOOK = str(Path(__file__).with_name("book.toml"))
VARIANTS = {
    "plain": (),
    "reversed": ("model.reverse_source=true",),
    "reversed-peeky": ("model.reverse_source=true", "model.context=every-step"),
    "attention": ("model.attention=dot",),
}

PRECISION: dict[str, Callable[..., Run]] = {
    "multi30k": partial(_multi30k, "small", "train.epochs=5", "train.schedule=linear"),
    "cmudict": partial(_table, "cmudict", "chars", "train.epochs=3", "train.schedule=linear"),
}
RUNS: dict[str, Run] = {
    "multi30k-small": _multi30k("small", "train.minutes=30"),
    "cmudict-chars": _table("cmudict", "chars", "train.minutes=30"),
    **{
        f"addition-{name}": _table("addition", BOOK, "train.epochs=25", *more)
        for name, more in VARIANTS.items()
    },
    **{f"date-{name}": _table("date", BOOK, "train.epochs=10", *more) for name, more in VARIANTS.items()},
    "multi30k-sutskever2014": _multi30k("sutskever2014", *PAPER, "model.embedding=256"),
    "multi30k-cho2014": _multi30k("cho2014", *PAPER, "model.readout_size=128"),
    "multi30k-bahdanau2014": _multi30k(
        "bahdanau2014", *PAPER, "model.embedding=256", "model.readout_size=128"
    ),
    "multi30k-luong2015": _multi30k("luong2015", *PAPER, "model.embedding=256"),
    "multi30k-luong2015-local-p": _multi30k("luong2015-local-p", *PAPER, "model.embedding=256"),
    # Is bfloat16 harmless? The same few epochs in both, three seeds each, scored on validation: it decides something.
    **{
        f"precision-{task}-{precision}-{seed}": _on_validation(
            make(f"train.precision={precision}", f"train.seed={seed}")
        )
        for task, make in PRECISION.items()
        for precision in ("bf16", "fp32")
        for seed in (1, 2, 3)
    },
}


def commands(name: str, data: Path, out: Path) -> Iterator[list[str]]:
    """The training and the evaluation, as typed."""
    run = RUNS[name]

    def files(names: tuple[str, ...]) -> list[str]:
        return [str(data / file) for file in names]

    train = ["suguk", "train", *files(run.train), "--valid", *files(run.valid)]
    train += ["--recipe", run.recipe] if run.recipe else []
    for setting in run.settings:
        train += ["--set", setting]
    # The rows are of the trained weights, and of the memory that training takes: no export in eight bits.
    yield [*train, "--set", "train.export=false", "--out", str(out / name)]
    yield [
        "suguk",
        "evaluate",
        str(out / name),
        *files(run.test),
        *run.evaluate,
        "--engine",
        "torch",
        "--json",
    ]


def execute(name: str, data: Path, out: Path) -> dict[str, Any]:
    """Both commands; seconds, peak memory and scores."""
    out.mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {"name": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "steps": []}
    for command in commands(name, data, out):
        print("$", " ".join(command), file=sys.stderr, flush=True)
        began = time.monotonic()
        with (out / f"{name}.log").open("a", encoding="utf-8") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=log, text=True
            )
            assert child.stdout is not None
            printed = child.stdout.read()
            _, status, used = os.wait4(child.pid, 0)  # the peak of this process, not of all so far
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{name}: exit status {child.returncode}, see {out / f'{name}.log'}")
        step = {"command": " ".join(command), "seconds": round(time.monotonic() - began, 1)}
        row["steps"].append({**step, "peak_memory_mb": round(used.ru_maxrss / 1024)})
    row["peak_memory_mb"] = max(step["peak_memory_mb"] for step in row["steps"])
    row["evaluation"] = json.loads(printed)
    (out / f"{name}.json").write_text(json.dumps(row, ensure_ascii=False, indent=1), encoding="utf-8")
    return row


def table(out: Path) -> Iterator[str]:
    """Every recorded run as a row of Markdown."""
    shown = ("bleu", "chrf", "exact", "per")
    yield "| run | training, s | evaluation, s | peak MB | " + " | ".join(shown) + " | perplexity |"
    yield "|---" * (5 + len(shown)) + "|"
    for file in sorted(out.glob("*.json")):
        row = json.loads(file.read_text(encoding="utf-8"))
        seconds = [f"{step['seconds']:.0f}" for step in row["steps"]]
        found = row["evaluation"]
        scores = [
            f"{found['scores'][name]['score']:.2f}" if name in found["scores"] else "" for name in shown
        ]
        cells = [row["name"], *seconds, str(row["peak_memory_mb"]), *scores, f"{found['perplexity']:.2f}"]
        yield "| " + " | ".join(cells) + " |"


def machine() -> str:
    """Processor and cores, in a few words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} cores"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="runs (default: all)")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    parser.add_argument(
        "--table", action="store_true", help="print what was recorded in OUT as a table and stop"
    )
    arguments = parser.parse_args()
    if arguments.table:
        print(*table(arguments.out), sep="\n")
        return
    for name in arguments.names or RUNS:
        if name not in RUNS:
            parser.error(f"unknown run {name!r}; known: {', '.join(RUNS)}")
        if arguments.list:
            print(*(" ".join(command) for command in commands(name, arguments.data, arguments.out)), sep="\n")
        else:
            row = execute(name, arguments.data, arguments.out)
            print(json.dumps({key: row[key] for key in ("name", "steps", "peak_memory_mb")}))


if __name__ == "__main__":
    main()
