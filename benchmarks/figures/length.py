"""BLEU against source length, one fixed context and attention (Bahdanau 2014 figure 2; Luong 2015 figure 6)."""

import statistics
from typing import Any

from benchmarks.figures import curves
from benchmarks.figures.svg import Box, Panel, Picture, categories, linear
from benchmarks.figures.workshop import MULTI30K, Workshop, scored

SHOWS = "BLEU by source length: one fixed context against attention"
SEEDS = (1, 2, 3)
# Both read in both directions. Without attention the context enters every step and the output (RNNenc of the paper,
# after Cho 2014); with it the previous decoder state asks the annotations (RNNsearch). Scaled embeddings: without them
# attention had 7.1 BLEU after four epochs, one context 14.4 (docs/log.md).
BOTH = ("model.cell=gru", "model.bidirectional=true", "model.bridge=linear", "model.scale_embeddings=true")
MODELS = {
    "fixed context": ("model.context=every-step",),
    "attention": ("model.attention=additive", "model.attend=before", "model.readout=tanh"),
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """Both models, every seed: scores on the test part, as a whole and by length."""
    return {
        "models": {
            name: [
                scored(workshop, f"length-{name.replace(' ', '-')}-{seed}", MULTI30K, *BOTH, *more, seed=seed)
                for seed in workshop.seeds
            ]
            for name, more in MODELS.items()
        }
    }


def draw(numbers: dict[str, Any], command: str) -> str:
    """Lines are means over seeds, faint marks single runs."""
    models = numbers["models"]
    first = next(iter(models.values()))[0]
    groups = first["groups"]
    names = [
        str(group["low"]) if group["low"] == group["high"] else f"{group['low']}–{group['high']}"
        for group in groups
    ]
    picture = Picture(860, "BLEU against source length", "Test sentences in groups of about equal size.")
    scores = [group["bleu"] for runs in models.values() for run in runs for group in run["groups"]]
    box = Box(84, picture.top + 24, 600, 330)
    panel = Panel(picture, box, categories(names), linear(scores, zero=True))
    below = [f"n = {group['count']:,}" for group in groups]
    panel.axes(f"{first['unit']} in the source", "BLEU, percent", below=below)
    ends = []
    for series, (name, runs) in enumerate(models.items()):
        means = [
            statistics.fmean(run["groups"][place]["bleu"] for run in runs) for place in range(len(groups))
        ]
        panel.line(list(map(float, range(len(groups)))), means, series)
        for place, value in enumerate(means):
            for run in runs if len(runs) > 1 else ():
                bleu = run["groups"][place]["bleu"]
                panel.dot(place, bleu, series, f"seed {run['seed']}: {bleu:.2f}", size=3, opacity=0.4)
            panel.dot(place, value, series, f"{name}, {names[place]} {first['unit']}: {value:.2f}", size=5)
        ends.append((f"{name} ({curves.mean(runs, 'bleu'):.1f})", len(means) - 1, means[-1], series))
    panel.ends(ends)
    picture.top = box.y + box.height + 56
    caption = (
        "Each group's BLEU is of its corpus, with effective order; in brackets that of all test sentences. Lines: "
        f"means over seeds; faint marks: single runs. {curves.settings(numbers)}"
    )
    return picture.finish(caption, command)
