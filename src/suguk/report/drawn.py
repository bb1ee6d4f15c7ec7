"""The pictures of the page: learning curves, lengths, attention."""

import math
from collections.abc import Sequence

import numpy as np

from suguk.evaluation.metrics import LABELS
from suguk.explain.curves import smooth
from suguk.explain.heatmap import heatmap
from suguk.predictor import Attention
from suguk.report import charts
from suguk.report.charts import Line
from suguk.report.contents import Curves, Example, Side, ValidPoint


def curves(found: Curves) -> str:
    """Loss, score and learning rate over the epochs, a card each; empty without a log."""
    losses = [(point.epoch, point.loss) for point in found.train]
    valid = [point for point in found.valid if point.loss is not None]
    scored = [point for point in found.valid if point.score is not None]
    steps, values = np.array([(point.step, point.loss) for point in found.train], float).reshape(-1, 2).T
    over = [
        Line("", "faint", losses),
        Line(
            "training",
            "blue",
            [(x, float(y)) for (x, _), y in zip(losses, smooth(steps, values), strict=True)],
        ),
        Line(
            "validation",
            "rose",
            [(point.epoch, point.loss or 0.0) for point in valid],
            [
                f"epoch {p.epoch:.2f}: loss {p.loss:.3f}, perplexity {math.exp(min(p.loss or 0, 99)):.4g}"
                for p in valid
            ],
        ),
    ]
    best = max((k for k, point in enumerate(scored) if point.best), default=None)
    label = "exact match" if found.metric == "exact" else LABELS.get(found.metric, found.metric)
    score = Line(
        label,
        "green",
        [(point.epoch, point.score or 0.0) for point in scored],
        [
            f"epoch {p.epoch:.2f}: {label} {p.score:.2f}" + ", the model that is kept" * (k == best)
            for k, p in enumerate(scored)
        ],
        best,
    )
    rate = Line("learning rate", "blue", [(point.epoch, point.lr) for point in found.train])
    cards = [
        _card("Loss", over, f"nats a target token, teacher forcing{_lowest(valid)}", _range(losses, valid)),
        _card(
            f"{label}, greedy search on validation data",
            [score],
            f"{'higher' if found.rising else 'lower'} is better; the ring is the model that is kept",
        ),
        _card(
            "Learning rate", [rate], "over the epochs", (0.0, max((y for _, y in rate.points), default=1.0))
        ),
    ]
    held = "".join(card for card in cards if card)
    return f'<div class="grid">{held}</div>' if held else ""


def _lowest(valid: Sequence[ValidPoint]) -> str:
    losses = [loss for loss in (point.loss for point in valid) if loss is not None]
    return f"; lowest in validation {min(losses):.3f}" if losses else ""


def _range(losses: list[tuple[float, float]], valid: Sequence[ValidPoint]) -> tuple[float, float] | None:
    """Without the first steep part of the training's curve, which would press all else to the ground."""
    values = [loss for loss in (point.loss for point in valid) if loss is not None]
    of_train = [loss for _, loss in losses]
    if not values or len(of_train) < 20:
        return None
    top = max(*values, charts.quantile(of_train, 0.95))
    return min(*values, *of_train), top


def _card(title: str, series: list[Line], caption: str, y_range: tuple[float, float] | None = None) -> str:
    chart = charts.lines(series, x_label="epochs", name=title, y_range=y_range)
    if not chart:
        return ""
    named = [one for one in series if one.label and one.points]
    key = (
        "".join(f'<span class="{one.kind}"><i></i>{one.label}</span>' for one in named)
        if len(named) > 1
        else ""
    )
    key = f'<div class="key">{key}</div>' if key else ""
    return f'<div class="card"><h3>{title}</h3>{key}{chart}<p class="caption">{caption}</p></div>'


def histogram(side: Side, kind: str) -> str:
    if not side.lengths:
        return ""
    labels = [str(one.low) for one in side.lengths]
    tips = [
        f"{one.low if one.low == one.high else f'{one.low} to {one.high}'} tokens: {one.count:,} texts"
        for one in side.lengths
    ]
    counts = [one.count for one in side.lengths]
    return charts.bars(
        counts, tips, labels, x_label="tokens a training text", name=f"Lengths of {side.name}", kind=kind
    )


def map_of(example: Example) -> str:
    """The heatmap of an example that has attention."""
    if example.attention is None:
        return ""
    found = example.attention
    weights = np.array(found.weights, np.float32).reshape(len(found.target_tokens), len(found.source_tokens))
    return heatmap(Attention(found.source_tokens, found.target_tokens, weights))
