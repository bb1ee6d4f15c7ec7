"""Draw a figure of the papers: train what it needs, measure, and write OUT/NAME.svg with its numbers, OUT/NAME.json.

    python -m benchmarks.figures NAME --data DIR --out DIR [--seeds N …] [--set SECTION.KEY=VALUE …]
    python -m benchmarks.figures --list

DIR of --data holds the data sets by name (multi30k/train.en, spa-eng/train.tsv, …). Training is `suguk train`; what is
measured comes from `suguk evaluate`, `predict`, `align`, `score` and `encode`. All is kept in the folder of --out and
not done again; a training that was stopped goes on. --set goes to every training, over the figure's own settings.
"""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from benchmarks.figures import alignments, ladder, length, phrases, reversal, states, words
from benchmarks.figures.workshop import Workshop, write
from benchmarks.record import machine

FIGURES: dict[str, Any] = {
    "length": length,
    "reversal": reversal,
    "ladder": ladder,
    "alignments": alignments,
    "states": states,
    "phrases": phrases,
    "words": words,
}


def make(name: str, workshop: Workshop) -> Path:
    """The picture's path; the numbers lie beside it."""
    figure = FIGURES[name]
    numbers = figure.measure(workshop)
    command = shown(name, workshop)
    picture = workshop.out / f"{name}.svg"
    about = {"figure": name, "command": command, "machine": machine(), "trainings": workshop.trained}
    text = json.dumps({**about, **numbers}, ensure_ascii=False, indent=1)
    write(picture.with_suffix(".json"), text + "\n")
    write(picture, figure.draw(numbers, command))
    return picture


def shown(name: str, workshop: Workshop) -> str:
    """The command, without the places of this machine."""
    typed = ["python", "-m", "benchmarks.figures", name, "--data", "DATA", "--out", "OUT"]
    if workshop.seeds != FIGURES[name].SEEDS:
        typed += ["--seeds", *map(str, workshop.seeds)]
    for setting in workshop.settings:
        typed += ["--set", setting]
    return shlex.join(typed)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", choices=FIGURES)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/figures"))
    parser.add_argument("--seeds", type=int, nargs="+", help="of the trainings (default: the figure's own)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--list", action="store_true", help="say what each figure shows, and stop")
    arguments = parser.parse_args()
    if arguments.list:
        for name, figure in FIGURES.items():
            print(f"{name:<12}{figure.SHOWS}")
        return
    if arguments.name is None:
        parser.error(f"which figure? {', '.join(FIGURES)}")
    seeds = arguments.seeds or FIGURES[arguments.name].SEEDS
    print(make(arguments.name, Workshop(arguments.data, arguments.out, arguments.set, seeds)))


if __name__ == "__main__":
    main()
