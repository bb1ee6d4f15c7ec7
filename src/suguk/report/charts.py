"""Charts as SVG inside the page: coloured by its style sheet, so they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40


@dataclass(frozen=True)
class Line:
    """points: (x, y) in order of x; kind: class of the style sheet; dots: each point marked, with its tip."""

    label: str
    kind: str
    points: Sequence[tuple[float, float]]
    tips: Sequence[str] = ()
    marked: int | None = None  # index of a point with a ring


@dataclass(frozen=True)
class _Frame:
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def lines(
    series: Sequence[Line], *, x_label: str, name: str, y_range: tuple[float, float] | None = None
) -> str:
    """A chart of lines over a common x; empty where there is nothing to draw.

    y_range: what is shown, else all points; those outside are left out.
    """
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    xs = [x for one in drawn for x, _ in one.points]
    ys = [y for one in drawn for _, y in one.points]
    ticks_y = ticks(*(y_range or (min(ys), max(ys))))
    low = min(0.0, min(xs)) if min(xs) < 0.3 * max(xs) else min(xs)
    frame = _Frame((low, max(xs)), (ticks_y[0], ticks_y[-1]))
    parts = [_open(name), *_axes(frame, ticks(low, max(xs)), ticks_y, x_label)]
    for one in drawn:
        parts += _line(one, frame)
    return "".join([*parts, "</svg>"])


def _line(one: Line, frame: _Frame) -> list[str]:
    top, bottom = frame.y[1], frame.y[0]
    inside = [k for k, (_, y) in enumerate(one.points) if bottom <= y <= top]
    places = [frame.place(*one.points[k]) for k in inside]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [f'<path class="line {one.kind}" d="{path}"/>']
    for k, (x, y) in zip(inside, places, strict=True):
        if one.tips:
            parts.append(
                f'<circle class="dot {one.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
                f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="9"><title>{escape(one.tips[k])}</title></circle>'
            )
        if k == one.marked:
            parts.append(f'<circle class="ring {one.kind}" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    return parts


def bars(
    values: Sequence[float], tips: Sequence[str], labels: Sequence[str], *, x_label: str, name: str, kind: str
) -> str:
    """Columns side by side, labelled where there is room."""
    if not values:
        return ""
    ticks_y = ticks(0.0, max(values))
    frame = _Frame((0.0, float(len(values))), (0.0, ticks_y[-1]))
    parts = [_open(name), *_axes(frame, [], ticks_y, x_label)]
    every = max(1, math.ceil(len(values) / 8))
    for k, value in enumerate(values):
        left, top = frame.place(k + 0.08, value)
        right, bottom = frame.place(k + 0.92, 0.0)
        parts.append(
            f'<rect class="bar {kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{max(bottom - top, 0):.1f}" rx="1.5"><title>{escape(tips[k])}</title></rect>'
        )
        if k % every == 0:
            centre = (left + right) / 2
            parts.append(
                f'<text class="tick" x="{centre:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">'
                f"{escape(labels[k])}</text>"
            )
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from at most `low` to at least `high`, one, two or five of a power of ten apart."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * k for k in (1, 2, 5, 10) if power * k * about >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """Short, for an axis."""
    if value and abs(value) < 0.001:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}".replace("-", "−")


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


def _open(name: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'


def _axes(frame: _Frame, across: Sequence[float], up: Sequence[float], label: str) -> list[str]:
    parts = []
    for y in up:
        _, place = frame.place(frame.x[0], y)
        parts.append(f'<path class="rule" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{number(y)}</text>'
        )
    for x in across:
        if frame.x[0] <= x <= frame.x[1]:
            place, _ = frame.place(x, frame.y[0])
            parts.append(
                f'<text class="tick" x="{place:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{number(x)}</text>'
            )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="tick" x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>'
    )
    return parts
