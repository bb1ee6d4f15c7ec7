"""One improvement after the other (Luong 2015 table 1, and its learning curves, figure 5)."""

from typing import Any

from benchmarks.figures import curves
from benchmarks.figures.svg import Box, Panel, Picture, Scale, linear
from benchmarks.figures.workshop import MULTI30K, Workshop, scored

SHOWS = "base, + reverse, + dropout, + attention, + feeding, local-p: BLEU and learning curves"
SEEDS = (1,)
BASE = ("model.layers=2", "model.dropout=0", "model.scale_embeddings=true")
STEPS = {
    "base": (),
    "+ reverse": ("model.reverse_source=true",),
    "+ dropout": ("model.dropout=0.2",),
    "+ global attention (location)": ("model.attention=location", "model.readout=tanh"),
    "+ feeding": ("model.input_feeding=true",),
    "local-p attention (general)": ("model.attention=local-p", "model.local_score=general"),
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """Every step has the settings of those before it; every seed."""
    models: dict[str, Any] = {}
    settings: tuple[str, ...] = BASE
    for number, (name, more) in enumerate(STEPS.items()):
        settings += more
        models[name] = [
            scored(workshop, f"ladder-{number}-{seed}", MULTI30K, *settings, seed=seed)
            for seed in workshop.seeds
        ]
    return {"models": models}


def draw(numbers: dict[str, Any], command: str) -> str:
    """Bars of BLEU with what each step gains, over the learning curves."""
    models = numbers["models"]
    picture = Picture(
        920,
        "What each improvement is worth",
        "Each step keeps those before it; local-p takes the place of location.",
    )
    bars = Box(270, picture.top + 26, 440, 34.0 * len(models))
    means = {name: curves.mean(runs, "bleu") for name, runs in models.items()}
    every = [run["bleu"] for runs in models.values() for run in runs]
    rows = Scale(-0.5, len(models) - 0.5, ())
    panel = Panel(picture, bars, linear(every, zero=True), rows, title="Test BLEU")
    panel.axes("BLEU, percent", "", grid="x")
    right = bars.x + bars.width + 24
    for x, head in ((right + 40, "BLEU"), (right + 94, "gain"), (right + 166, "perplexity")):
        picture.text(x, bars.y - 12, head, size=12, anchor="end", kind="muted")
    earlier = None
    for series, (name, runs) in enumerate(models.items()):
        place = len(models) - 1 - series
        x, y = panel.at(0, place)
        end, _ = panel.at(means[name], place)
        picture.add(
            f'<rect class="f{series}" fill-opacity=".85" x="{x:.1f}" y="{y - 11:.1f}" '
            f'width="{end - x:.1f}" height="22"/>'
        )
        for run in runs if len(runs) > 1 else ():
            across, _ = panel.at(run["bleu"], place)
            picture.add(
                f'<path class="axis" stroke-width="1.5" d="M{across:.1f} {y - 13:.1f}v26">'
                f"<title>seed {run['seed']}: {run['bleu']:.2f}</title></path>"
            )
        picture.text(bars.x - 10, y + 4.5, name, anchor="end")
        gain = "" if earlier is None else f"{means[name] - earlier:+.1f}".replace("-", "−")
        cells = (right + 40, f"{means[name]:.1f}"), (right + 94, gain)
        for across, shown in (*cells, (right + 166, f"{curves.mean(runs, 'perplexity'):.2f}")):
            picture.text(across, y + 4.5, shown, anchor="end", bold=across == right + 40)
        earlier = means[name]
    picture.top = bars.y + bars.height + 50
    box = Box(84, picture.top + 34, 580, 340)
    curves.learning(picture, box, models, named=list(models))
    picture.top = box.y + box.height + 40
    caption = (
        "Perplexity is of the test references, per target word with the end of the sentence. Bars are means over "
        f"seeds, with a tick for each if there are several. {curves.settings(numbers)}"
    )
    return picture.finish(caption, command)
