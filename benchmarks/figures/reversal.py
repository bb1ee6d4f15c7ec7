"""What reading the source backwards changes (Sutskever 2014 section 3.3)."""

from typing import Any

from benchmarks.figures import curves
from benchmarks.figures.svg import Box, Panel, Picture, categories, linear
from benchmarks.figures.workshop import MULTI30K, Workshop, scored

SHOWS = "loss and BLEU with the source read as written and backwards"
SEEDS = (1, 2, 3)
BOTH = ("model.layers=2", "model.scale_embeddings=true")
MODELS = {"as written": (), "backwards": ("model.reverse_source=true",)}


def measure(workshop: Workshop) -> dict[str, Any]:
    """The same model, two layers and one fixed context, reading in either order; every seed."""
    return {
        "models": {
            name: [
                scored(
                    workshop, f"reversal-{name.replace(' ', '-')}-{seed}", MULTI30K, *BOTH, *more, seed=seed
                )
                for seed in workshop.seeds
            ]
            for name, more in MODELS.items()
        }
    }  # fmt: skip


def draw(numbers: dict[str, Any], command: str) -> str:
    """Learning curves, and BLEU of every seed."""
    models = numbers["models"]
    losses = ", ".join(
        f"{name} {curves.lowest(runs):.3f} (perplexity {curves.perplexity(curves.lowest(runs)):.1f})"
        for name, runs in models.items()
    )
    picture = Picture(
        960, "Reading the source backwards", f"Lowest validation loss, mean over seeds: {losses}."
    )
    top = picture.top + 24
    curves.learning(picture, Box(84, top, 380, 300), models, named=list(models))
    scores = [run["bleu"] for runs in models.values() for run in runs]
    box = Box(660, top, 250, 300)
    panel = Panel(picture, box, categories(list(models)), linear(scores, zero=True), title="Test BLEU")
    panel.axes("order that the encoder reads in", "BLEU, percent")
    for series, (name, runs) in enumerate(models.items()):
        mean = curves.mean(runs, "bleu")
        panel.line([series - 0.22, series + 0.22], [mean, mean], series, width=3)
        x, y = panel.at(series + 0.25, mean)
        picture.text(x, y + 4.5, f"{mean:.1f}", bold=True, kind=f"f{series}")
        for run in runs:
            panel.dot(
                series, run["bleu"], series, f"{name}, seed {run['seed']}: {run['bleu']:.2f}", opacity=0.75
            )
    picture.top = box.y + box.height + 40
    caption = (
        "Thick lines: means over seeds; faint lines and single marks: one seed each. The loss is of teacher forcing, "
        f"in nats per target word with the end of the sentence. {curves.settings(numbers)}"
    )
    return picture.finish(caption, command)
