"""What the figures about scores share: learning curves, and means over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures.svg import Box, Panel, Picture, linear

Runs = Sequence[Mapping[str, Any]]  # of one model, a seed each, as `workshop.scored` gives them


def mean(runs: Runs, key: str) -> float:
    return statistics.fmean(run[key] for run in runs)


def lowest(runs: Runs) -> float:
    """Mean over seeds of the lowest validation loss."""
    return statistics.fmean(min(run["losses"]) for run in runs)


def average(runs: Runs) -> tuple[list[float], list[float]]:
    """Updates that all seeds validated at, and the mean losses there."""
    steps = sorted(set.intersection(*(set(run["updates"]) for run in runs)))
    losses = [dict(zip(run["updates"], run["losses"], strict=True)) for run in runs]
    return [float(step) for step in steps], [statistics.fmean(one[step] for one in losses) for step in steps]


def learning(picture: Picture, box: Box, models: Mapping[str, Runs], *, named: Sequence[str]) -> None:
    """Validation losses by update: a thick line for the mean, a faint one a seed; named: at the lines' ends."""
    every = [run for runs in models.values() for run in runs]
    # The first validations of a model that knows nothing would take half of the height.
    shown = [loss for run in every for loss in run["losses"][1:] or run["losses"]]
    x = linear([step for run in every for step in run["updates"]], zero=True, most=5)
    y = linear(shown)
    panel = Panel(picture, box, x, y, title="Validation loss while learning")
    panel.axes("updates", "loss, nats per target word")
    ends = []
    for series, (name, runs) in enumerate(models.items()):
        for run in runs if len(runs) > 1 else ():
            panel.line(*_below(run["updates"], run["losses"], y.high), series, width=1, opacity=0.4)
        steps, losses = _below(*average(runs), y.high)
        panel.line(steps, losses, series)
        for step, loss in zip(steps, losses, strict=True):
            panel.dot(step, loss, series, f"{name}: {loss:.3f} after {step:,.0f} updates", size=2.6)
        if losses and name in named:
            ends.append((name, steps[-1], losses[-1], series))
    panel.ends(ends)


def _below(steps: Sequence[float], losses: Sequence[float], most: float) -> tuple[list[float], list[float]]:
    kept = [(step, loss) for step, loss in zip(steps, losses, strict=True) if loss <= most]
    return [step for step, _ in kept], [loss for _, loss in kept]


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 700))


def settings(numbers: Mapping[str, Any]) -> str:
    """For a caption: seeds, and how BLEU was computed."""
    runs = [run for runs in numbers["models"].values() for run in runs]
    seeds = ", ".join(map(str, sorted({run["seed"] for run in runs})))
    return f"{'Seeds' if ',' in seeds else 'Seed'} {seeds}. {runs[0]['signature']}."
