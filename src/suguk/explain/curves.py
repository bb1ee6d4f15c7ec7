"""Learning curves from the records of `metrics.jsonl`, and scores by source length, as SVG files."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from suguk.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ROSE, GREEN, FAINT, INK = "#4657a6", "#c2478a", "#3f8f6b", "#c9cede", "#2b3048"
_LABELS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "cer": "CER",
    "wer": "WER",
    "per": "PER",
    "exact": "exact match",
}
_RISING = ("bleu", "chrf", "exact")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "suguk",
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa1b8",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.wspace": 0.05,
}


class Group(Protocol):
    """One range of source lengths with its scores in percent."""

    @property
    def label(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def chrf(self) -> float: ...
    @property
    def bleu(self) -> float: ...
    @property
    def exact(self) -> float: ...


class ByLength(Protocol):
    """What `by_length` draws of an evaluation."""

    @property
    def unit(self) -> str: ...
    @property
    def groups(self) -> Sequence[Group]: ...


def learning_curves(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write an SVG: losses and learning rate, and beside them the validation metric of free-running decoding.

    records: those of `metrics.jsonl`, in any number; `loss` is in nats per target token. After a resumed run
    the last record of a step counts. UserError if `path` cannot be written.
    """
    with _figure(path, 11.0) as figure:
        left, right = figure.subplots(1, 2)
        _losses(left, records)
        _metric(right, records)


def by_length(evaluation: ByLength, path: str | Path) -> None:
    """Write an SVG of scores by source length over bars that show how many sources there are; as above."""
    with _figure(path, 6.4) as figure:
        axes = figure.subplots()
        places = np.arange(len(evaluation.groups))
        for name, label, colour, marker in (
            ("chrf", "chrF", BLUE, "o"),
            ("bleu", "BLEU", ROSE, "s"),
            ("exact", "exact match", GREEN, "^"),
        ):
            scores = [getattr(group, name) for group in evaluation.groups]
            axes.plot(places, scores, color=colour, marker=marker, markersize=5, label=label)
        axes.set(ylim=(0, 103), ylabel="percent", xlabel=f"{evaluation.unit} in the source")
        axes.set_xticks(places, [group.label for group in evaluation.groups])
        axes.set_title("Scores by source length")
        _counts(axes, evaluation.groups)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _counts(axes: "Axes", groups: Sequence[Group]) -> None:
    bars = _behind(axes)
    counts = [group.count for group in groups]
    bars.bar(np.arange(len(groups)), counts, width=0.6, color="#eceef6")
    bars.set(ylabel="sources", ylim=(0, 2.2 * max(counts, default=1)))


def _losses(axes: "Axes", records: Sequence[Mapping[str, Any]]) -> None:
    steps, losses = _series(records, "train", "loss")
    valid_steps, valid_losses = _series(records, "valid", "loss")
    axes.set(xlabel="updates", ylabel="loss, nats per target token")
    axes.set_title("Teacher forcing")
    _learning_rate(axes, records)
    if len(losses):
        axes.plot(steps, losses, color=BLUE, linewidth=0.7, alpha=0.3)
        mark = "o" if len(losses) == 1 else None
        axes.plot(steps, smooth(steps, losses), color=BLUE, linewidth=1.8, marker=mark, label="training")
    if len(valid_losses):
        lowest = float(valid_losses.min())
        label = f"validation (lowest {lowest:.3f}: perplexity {math.exp(min(lowest, 700)):.4g})"
        axes.plot(valid_steps, valid_losses, color=ROSE, linewidth=1.8, marker="o", markersize=4, label=label)
    if len(losses) + len(valid_losses):
        axes.legend(loc="upper right")
    _finish(axes, len(losses) + len(valid_losses))


def _learning_rate(axes: "Axes", records: Sequence[Mapping[str, Any]]) -> None:
    steps, rates = _series(records, "train", "lr")
    if len(rates) == 0:
        return
    behind = _behind(axes)
    behind.plot(steps, rates, color=FAINT, linewidth=1.4, linestyle=(0, (1, 1.2)))
    behind.set(ylim=(0, 1.15 * float(rates.max()) or 1.0), ylabel="learning rate (dotted)")
    behind.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _metric(axes: "Axes", records: Sequence[Mapping[str, Any]]) -> None:
    valid = [record for record in records if record.get("kind") == "valid"]
    # An average of weights is validated at the step of the last weights: it takes their place where it was kept.
    valid = [record for record in valid if record.get("best") or not record.get("averaged")]
    name = str(valid[-1].get("metric", "")) if valid else ""
    steps, scores = _series(valid, "valid", "score")
    axes.plot(steps, scores, color=GREEN, linewidth=1.8, marker="o", markersize=4)
    if len(scores):
        best = int(scores.argmax() if name in _RISING else scores.argmin())
        said = np.flatnonzero(np.isin(steps, [one["step"] for one in valid if one.get("best")]))
        best = int(said[-1]) if len(said) else best  # of equal scores the one that was kept
        axes.plot(steps[best], scores[best], "o", color=GREEN, markersize=10, fillstyle="none")
        axes.set_title(
            f"best {scores[best]:.2f} at update {steps[best]:,.0f}", loc="right", fontweight="normal"
        )
    label = f"{_LABELS[name]}, percent" if name in _LABELS else name
    axes.set(xlabel="updates", ylabel=label)
    axes.set_title("Validation" if name == "perplexity" else "Validation, free-running")
    _finish(axes, len(scores))


def _behind(axes: "Axes") -> "Axes":
    """A second y axis on the right whose marks lie under those of `axes`."""
    behind: Axes = axes.twinx()
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    behind.tick_params(axis="y", colors="#8d94ab")
    behind.yaxis.label.set_color("#8d94ab")
    return behind


def _finish(axes: "Axes", points: int) -> None:
    axes.grid(axis="y", color="#eceef6")
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if points:
        axes.set_xlim(left=0)
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no records yet", transform=axes.transAxes, ha="center", color="#8d94ab")


def _series(
    records: Sequence[Mapping[str, Any]], kind: str, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps in order and the finite values of `name` at them, [N] each."""
    points = {}
    for record in records:
        value = record.get(name)
        if record.get("kind") == kind and isinstance(value, int | float) and math.isfinite(value):
            points[float(record["step"])] = float(value)
    ordered = sorted(points.items())
    return np.array([step for step, _ in ordered]), np.array([value for _, value in ordered])


def smooth(steps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of a centred window, about a thirtieth of the curve wide and cut at its ends; two [N] to [N].

    A value is of the updates since the step before, so that the few before a validation count as few.
    """
    half = len(values) // 60
    updates = np.diff(steps, prepend=0.0)
    sums = np.cumsum(np.concatenate([[[0.0], [0.0]], [values * updates, updates]], axis=1), axis=1)
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    total, count = sums[:, last] - sums[:, first]
    smoothed: NDArray[np.float64] = total / count
    return smoothed


@contextmanager
def _figure(path: str | Path, width: float) -> "Iterator[Figure]":
    """A figure that is written to `path` at the end; no pyplot, so no state outlives it."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "train", "a picture of curves") from None
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, 4.2), layout="constrained")
        yield figure
        try:
            figure.savefig(path, format="svg", metadata={"Date": None})
        except OSError as fault:
            raise UserError(f"cannot write the picture: {fault.strerror}", where=path) from None
