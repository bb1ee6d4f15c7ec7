"""Charts as self-contained SVG files that are legible in light and in dark surroundings.

Colours are classes of a style sheet inside the file, so that `prefers-color-scheme` can choose among them; text
stays text, and what is pointed at says its numbers.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from suguk.explain.curves import BLUE, GREEN, ROSE
from suguk.explain.heatmap import DARK, FONTS, LIGHT, MUTED, text_width

# Two of each colour: on light ground, the first three those of the learning curves; on dark ground.
SERIES = (
    (BLUE, "#a3b3ff"),
    (ROSE, "#f58cc4"),
    (GREEN, "#74d0a4"),
    ("#a8620a", "#f0b45c"),
    ("#1f7a99", "#74cbea"),
    ("#6a4fb3", "#c3acff"),
)
NIGHT, PAPER, FAINT = "#e6e8f2", "#14161f", "#a4abc4"  # ink, ground and lesser ink of dark surroundings
_CODE = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
MARGIN = 24
_TICK, _LABEL, _CAPTION = 12, 13, 12  # pixels


def _style() -> str:
    light = [
        f".ink{{fill:{DARK}}} .muted{{fill:{MUTED}}} .paper{{fill:{LIGHT}}} .halo{{stroke:{LIGHT}}}",
        ".grid{stroke:#e3e6f0} .axis{stroke:#8d94ab} .band{fill:#eceef6}",
        *(f".f{k}{{fill:{one}}} .s{k}{{stroke:{one}}}" for k, (one, _) in enumerate(SERIES)),
    ]
    dark = [
        f".ink{{fill:{NIGHT}}} .muted{{fill:{FAINT}}} .paper{{fill:{PAPER}}} .halo{{stroke:{PAPER}}}",
        ".grid{stroke:#2b2f40} .axis{stroke:#7b829c} .band{fill:#232736}",
        *(f".f{k}{{fill:{one}}} .s{k}{{stroke:{one}}}" for k, (_, one) in enumerate(SERIES)),
    ]
    return f"{' '.join(light)}\n@media (prefers-color-scheme:dark){{{' '.join(dark)}}}"


class Scale(NamedTuple):
    """From data to a share of an axis. ticks: (value, what is written there)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(values: Iterable[float], *, zero: bool = False, most: int = 6) -> Scale:
    """Round ticks around `values`, at most about `most`; zero: from 0 on."""
    known = [*values, *([0.0] if zero else [])] or [0.0, 1.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = (low, low + 1) if zero else (low - 0.5, low + 0.5)
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((k * step, f"{k * step:,.{places}f}".replace("-", "−")) for k in range(first, last + 1))
    return Scale(first * step, last * step, ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """Powers of ten, with 2 and 5 of each where they are few; `values` are positive."""
    known = list(values) or [1.0, 10.0]
    first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known) * 1.0001))
    parts = (1, 2, 5) if last - first <= 2 else (1,)
    marks = [part * 10.0**power for power in range(first, last + 1) for part in parts]
    low = max((mark for mark in marks if mark <= min(known)), default=marks[0])
    high = min((mark for mark in marks if mark >= max(known) and mark > low), default=10.0**last)
    ticks = tuple((mark, f"{mark:,g}") for mark in marks if low <= mark <= high)
    return Scale(low, high, ticks, log=True)


def categories(names: Sequence[str]) -> Scale:
    """Places 0, 1, … with half a place at each end."""
    return Scale(-0.5, len(names) - 0.5, tuple((k, name) for k, name in enumerate(names)))


class Picture:
    """One file: a title, what stands under it, panels, and a caption with the command that made it."""

    def __init__(self, width: int, title: str, subtitle: str = "") -> None:
        self.width, self.title = width, title
        self.parts: list[str] = []
        self.top = MARGIN + 18.0
        self.text(MARGIN, self.top, title, size=18, bold=True)
        for line in wrapped(subtitle, 13, width - 2 * MARGIN):
            self.top += 20
            self.text(MARGIN, self.top, line, size=13, kind="muted")
        self.top += 16

    def add(self, part: str) -> None:
        self.parts.append(part)

    def text(
        self, x: float, y: float, text: str, *, size: float = _LABEL, anchor: str = "start",
        kind: str = "ink", bold: bool = False, more: str = "",
    ) -> None:  # fmt: skip
        """kind: a class of the style sheet; more: further attributes."""
        about = f' class="{kind}"'
        about += ' font-weight="600"' if bold else ""
        about += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"{about}{more}>{escape(text)}</text>')

    def finish(self, caption: str, command: str) -> str:
        """The document; the caption goes under everything that was drawn down to `top`."""
        y, most = self.top + 14, self.width - 2 * MARGIN
        for line in wrapped(caption, _CAPTION, most):
            y += 18
            self.text(MARGIN, y, line, size=_CAPTION, kind="muted")
        # Monospaced, so that a character is as wide as any other: at most 0.62 of the size.
        for k, line in enumerate(textwrap.wrap(command, int((most - 20) / (0.62 * _CAPTION)))):
            y += 18
            self.text(MARGIN + 20 * bool(k), y, line, size=_CAPTION, more=f' font-family="{_CODE}"')
        height = round(y + MARGIN)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{height}" '
            f'viewBox="0 0 {self.width} {height}" role="img" aria-label={quoteattr(self.title)} '
            f'font-family="{FONTS}">'
        )
        paper = f'<rect class="paper" width="{self.width}" height="{height}"/>'
        return "\n".join([head, f"<style>{_style()}</style>", paper, *self.parts, "</svg>"]) + "\n"


class Box(NamedTuple):
    """Pixels: the rectangle inside the axes."""

    x: float
    y: float
    width: float
    height: float


class Panel:
    """A pair of axes in a picture."""

    def __init__(self, picture: Picture, box: Box, x: Scale, y: Scale, *, title: str = "") -> None:
        self.picture, self.box, self.x, self.y = picture, box, x, y
        picture.text(box.x, box.y - 12, title, size=14, bold=True)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = self.x.share(x), self.y.share(y)
        return self.box.x + across * self.box.width, self.box.y + (1 - up) * self.box.height

    def axes(self, x_label: str, y_label: str, *, grid: str = "y", below: Sequence[str] = ()) -> None:
        """grid: lines at the ticks of "x", "y", "xy" or ""; below: a second line under each tick of x."""
        left, top, width, height = self.box
        bottom = top + height
        for value, name in self.y.ticks:
            _, y = self.at(self.x.low, value)
            if "y" in grid:
                self.picture.add(f'<path class="grid" d="M{left:.1f} {y:.1f}h{width:.1f}"/>')
            self.picture.text(left - 8, y + 4, name, size=_TICK, anchor="end", kind="muted")
        for k, (value, name) in enumerate(self.x.ticks):
            x, _ = self.at(value, self.y.low)
            if "x" in grid:
                self.picture.add(f'<path class="grid" d="M{x:.1f} {top:.1f}v{height:.1f}"/>')
            self.picture.text(x, bottom + 18, name, size=_TICK, anchor="middle", kind="muted")
            if below:
                self.picture.text(x, bottom + 34, below[k], size=11, anchor="middle", kind="muted")
        self.picture.add(f'<path class="axis" d="M{left:.1f} {bottom:.1f}h{width:.1f}"/>')
        under = bottom + (56 if below else 40)
        self.picture.text(left + width / 2, under, x_label, anchor="middle")
        widest = max((text_width(name, _TICK) for _, name in self.y.ticks), default=0.0)
        x, y = left - widest - 20, top + height / 2
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"'
        self.picture.text(x, y, y_label, anchor="middle", more=turned)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], series: int, *, width: float = 2.2, opacity: float = 1
    ) -> None:
        points = " ".join("{:.1f},{:.1f}".format(*self.at(x, y)) for x, y in zip(xs, ys, strict=True))
        faint = f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
        self.picture.add(
            f'<polyline class="s{series}" points="{points}" fill="none" stroke-width="{width:g}"{faint} '
            'stroke-linejoin="round"/>'
        )

    def dot(
        self, x: float, y: float, series: int, tip: str, *, size: float = 4.5, opacity: float = 1
    ) -> None:
        """A mark whose shape too tells its series; tip: what pointing at it shows."""
        across, down = self.at(x, y)
        faint = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        self.picture.add(
            f'<path class="f{series}"{faint} transform="translate({across:.1f} {down:.1f}) scale({size:g})" '
            f'd="M0 0{_MARKS[series % len(_MARKS)]}">'
            f"<title>{escape(tip)}</title></path>"
        )

    def ends(self, labels: Sequence[tuple[str, float, float, int]]) -> None:
        """(name, x, y, series): the last points of lines, named right of the axes, apart where names would touch."""
        right = self.box.x + self.box.width
        ordered = sorted(
            ((*self.at(x, y), name, series) for name, x, y, series in labels), key=lambda one: one[1]
        )
        places = apart([y for _, y, _, _ in ordered], 17)
        for (x, y, name, series), place in zip(ordered, places, strict=True):
            path = f"M{x + 5:.1f} {y:.1f}H{max(right - 6, x + 5):.1f}L{right + 14:.1f} {place:.1f}"
            self.picture.add(f'<path class="s{series}" fill="none" stroke-opacity=".5" d="{path}"/>')
            self.picture.text(right + 18, place + 4.5, name, kind=f"f{series}", bold=True)

    def names(
        self, points: Sequence[tuple[str, float, float, int]], size: float = 12, *, all_of_them: bool = False
    ) -> None:
        """(text, x, y, series) beside their dots where there is room; all_of_them: also where there is none."""
        box = self.box
        dots = [self.at(x, y) for _, x, y, _ in points]
        taken: list[Box] = [Box(x - 5, y - 5, 10, 10) for x, y in dots]
        for own, ((text, _, _, series), (x, y)) in enumerate(zip(points, dots, strict=True)):
            width = text_width(text, size)
            places = list(_around(x, y, width, size, far=all_of_them))
            inside = [
                one for one in places if one.x >= box.x and one.x + width <= box.x + box.width
                and one.y >= box.y and one.y + size <= box.y + box.height
            ]  # fmt: skip
            others = [one for k, one in enumerate(taken) if k != own]
            free = [one for one in inside if not any(_overlap(one, other) for other in others)]
            chosen = (free or ((inside or places) if all_of_them else []))[:1]
            for one in chosen:
                taken.append(one)
                if abs(one.y + size / 2 - y) > 2 * size:
                    edge = one.y + size if one.y < y else one.y
                    lead = f"M{x:.1f} {y:.1f}L{x:.1f} {edge:.1f}"
                    self.picture.add(f'<path class="s{series}" stroke-opacity=".5" d="{lead}"/>')
                more = ' paint-order="stroke" stroke-width="3"'
                self.picture.text(one.x, one.y + 0.85 * size, text, size=size, kind="ink halo", more=more)


def _around(x: float, y: float, width: float, size: float, *, far: bool) -> Iterator[Box]:
    """Places for a name of this width, best first: beside, above and below its dot; far: also farther off."""
    yield Box(x + 8, y - size / 2, width, size)
    yield Box(x - 8 - width, y - size / 2, width, size)
    for away in (8.0, 8 + 1.4 * size, 8 + 2.8 * size) if far else (8.0,):
        for left in (x - width / 2, x - 4, x - width + 4):
            yield Box(left, y - away - size, width, size)
            yield Box(left, y + away, width, size)


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


# Circle, square, triangle, diamond, triangle on end, bar; about equal areas. From the centre, in units of the size.
_MARKS = (
    "m-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0z",
    "m-.9 -.9h1.8v1.8h-1.8z",
    "m0 -1.25l1.2 2.1h-2.4z",
    "m0 -1.3l1.3 1.3l-1.3 1.3l-1.3 -1.3z",
    "m0 1.25l1.2 -2.1h-2.4z",
    "m-1.4 -.5h2.8v1h-2.8z",
)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising `places`, moved as little as one pass down and one up allow so that none is nearer than `gap`."""
    groups: list[list[float]] = []  # the places of neighbours that touch
    for place in places:
        groups.append([place])
        while (
            len(groups) > 1
            and _centre(groups[-1]) - _centre(groups[-2]) < gap * (len(groups[-1]) + len(groups[-2])) / 2
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_centre(group) + gap * (k - (len(group) - 1) / 2) for group in groups for k in range(len(group))]


def _centre(group: Sequence[float]) -> float:
    return sum(group) / len(group)


def wrapped(text: str, size: float, most: float) -> Iterator[str]:
    """Lines of at most `most` pixels, broken at spaces."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > most:
            yield line
            longer = word
        line = longer
    if line:
        yield line
