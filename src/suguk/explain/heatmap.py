"""Attention as a heatmap: one self-contained SVG, written by hand so that tokens of any script can be shown.

Columns are source tokens, rows are generated tokens, a cell is the weight on a fixed scale from 0 to 1, so
that pictures can be compared. Pointing at a cell shows its number, which is printed where cells are large.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from suguk.predictor import Attention

# Hydrangea blue, hue 272 in OKLCh, lightness falling evenly from 0.975 to 0.32: order survives colour
# blindness and black-and-white print.
RAMP = ("#f5f7fb", "#d0dbfe", "#adbefc", "#8da2f3", "#7287e2", "#5a6ec8", "#4657a6", "#35427f", "#273055")
DARK, LIGHT, MUTED = "#05081c", "#ffffff", "#5f6680"
FONTS = (
    "'Noto Sans', 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', 'Noto Sans CJK KR', 'Noto Sans KR', "
    "'Apple SD Gothic Neo', 'Malgun Gothic', 'Noto Sans CJK JP', 'Hiragino Sans', 'Microsoft YaHei', "
    "'Noto Sans Arabic', 'Geeza Pro', 'Noto Sans Hebrew', 'Noto Sans Devanagari', 'Apple Color Emoji', "
    "'Segoe UI Emoji', 'Noto Color Emoji', sans-serif"
)
_MARGIN = 16
_LONGEST_LABEL = 170  # pixels; the rest of a longer token is in its tooltip
_LONGEST_TIP = 200  # characters of a token in the tooltip of a cell
_NUMBERED = 24  # smallest cell that a number fits into
_SHOWN = 0.0005  # smaller weights are 0.000
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class _Layout:
    """Pixels. cell: pitch of the grid; left, top: its corner; angles: of the source labels, in degrees."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    title: tuple[str, ...]
    subtitle: str
    cell: int
    font: int
    angles: tuple[int, ...]
    left: int
    top: int
    width: int
    height: int

    @property
    def grid(self) -> tuple[int, int]:
        return len(self.sources) * self.cell, len(self.targets) * self.cell


def heatmap(attention: Attention, title: str = "", score: float | None = None) -> str:
    """The SVG document of `attention` (weights [T, S]); the same input gives the same text.

    title: any text, wrapped to at most three lines; score: of the hypothesis, printed under the title.
    Raises ValueError if the weights do not have one row per target token and one column per source token, or
    are not finite.
    """
    sources = tuple(map(visible, attention.source_tokens))
    targets = tuple(map(visible, attention.target_tokens))
    weights = np.asarray(attention.weights, dtype=np.float64)
    if weights.shape != (len(targets), len(sources)):
        raise ValueError(f"expected weights of shape {(len(targets), len(sources))}, found {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError("expected finite attention weights, found NaN or infinity")
    subtitle = "" if score is None else f"score {score:.3f}".replace("-", "−")
    layout = _lay_out(sources, targets, visible(title) if title else "", subtitle)
    lines = [
        *_head(layout),
        *_labels(layout),
        *_cells(layout, weights.clip(0, 1)),
        *_legend(layout),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def visible(token: str) -> str:
    """A token with everything drawn: spaces around it, control and bidirectional characters, lone marks."""
    if not token:
        return "∅"
    core = token.strip(" ")
    start = len(token) - len(token.lstrip(" "))
    shown = "".join(map(_visible_character, core))
    if core and unicodedata.category(core[0]) in ("Mn", "Me", "Mc"):
        shown = "◌" + shown
    return "␣" * start + shown + "␣" * (len(token) - len(core) - start)


def _visible_character(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI or code & 0xFFFE == 0xFFFE:
        return f"‹{code:04X}›"
    return character


def text_width(text: str, font: float) -> float:
    """About how wide `text` is in a sans-serif font of `font` pixels; rather too wide than too narrow."""
    return font * sum(map(_ems, text))


def _ems(character: str) -> float:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "mwMW@%…␣":
        return 0.95
    if character in "iljI.,:;'|!t f()[]‹›":
        return 0.4
    return 0.72 if character.isupper() else 0.61


def _fit(label: str, font: float, most: float) -> str:
    room = most - text_width("…", font)
    used, kept = 0.0, 0
    for position, character in enumerate(label, start=1):
        used += text_width(character, font)
        if used <= room:
            kept = position
        elif used > most:
            return label[:kept] + "…"
    return label


def _wrap(text: str, font: float, most: float, lines: int) -> tuple[str, ...]:
    """Broken at spaces where there are any; what does not fit on the last line ends in an ellipsis."""
    wrapped: list[str] = []
    while text and len(wrapped) < lines - 1 and text_width(text, font) > most:
        end = len(_fit(text, font, most)) - 1
        space = text.rfind(" ", 1, end + 1)
        cut = space if space > 0 else max(end, 1)
        wrapped.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return (*wrapped, _fit(text, font, most)) if text else tuple(wrapped)


def _lay_out(sources: tuple[str, ...], targets: tuple[str, ...], title: str, subtitle: str) -> _Layout:
    most = max(len(sources), len(targets))
    cell, font = next((cell, font) for limit, cell, font in _SIZES if most <= limit)
    widths = [min(text_width(label, font), _LONGEST_LABEL) for label in sources]
    angles = _angles(widths, cell, font)
    rise, overhang = float(font), 0.0
    for k, (width, angle) in enumerate(zip(widths, angles, strict=True)):
        along, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        rise = max(rise, width * up + font * along)
        overhang = max(overhang, (k + 0.5 - len(widths)) * cell + width * along + font * up if angle else 0.0)
    left = max(min(text_width(label, font), _LONGEST_LABEL) for label in (*targets, "")) + 10
    left = _MARGIN + math.ceil(max(left, 72))
    right = left + len(sources) * cell + math.ceil(overhang) + _MARGIN
    width = max(right, 380)
    heading = _wrap(title, 15, width - 2 * _MARGIN, 3)
    top = _MARGIN + 21 * len(heading) + (20 if subtitle else 0) + math.ceil(max(rise, 26)) + 12
    height = top + len(targets) * cell + 66
    return _Layout(sources, targets, heading, subtitle, cell, font, angles, left, top, width, height)


def _angles(widths: Sequence[float], cell: int, font: int) -> tuple[int, ...]:
    """Upright if most labels fit so (characters), else slanted, or on end where lines would overlap."""
    fits = [width <= cell - 2 for width in widths]
    slant = 45 if cell >= 1.5 * font else 90
    upright = sum(fits) > 0.6 * len(fits)
    return tuple(0 if upright and fit else slant for fit in fits)


_SIZES = ((14, 34, 14), (32, 25, 13), (64, 18, 12), (math.inf, 14, 11))  # up to so many tokens: cell, font


def _head(layout: _Layout) -> Iterator[str]:
    name = " ".join(layout.title) or "Attention weights"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{layout.width}" height="{layout.height}" '
        f'viewBox="0 0 {layout.width} {layout.height}" role="img" aria-label={quoteattr(name)} '
        f'font-family="{FONTS}" font-size="{layout.font}" fill="{DARK}">'
    )
    yield f'<rect width="{layout.width}" height="{layout.height}" fill="{LIGHT}"/>'
    y = _MARGIN + 12
    for line in layout.title:
        yield f'<text x="{_MARGIN}" y="{y}" font-size="15" font-weight="600">{escape(line)}</text>'
        y += 21
    if layout.subtitle:
        yield f'<text x="{_MARGIN}" y="{y - 1}" font-size="12" fill="{MUTED}">{layout.subtitle}</text>'


def _labels(layout: _Layout) -> Iterator[str]:
    x, y = layout.left - 9, layout.top
    yield f'<g font-size="11" fill="{MUTED}" text-anchor="end">'
    yield f'<text x="{x}" y="{y - 22}">source →</text><text x="{x}" y="{y - 7}">target ↓</text></g>'
    yield "<g>"
    for k, (token, angle) in enumerate(zip(layout.sources, layout.angles, strict=True)):
        centre = layout.left + (k + 0.5) * layout.cell
        shift = layout.font * (0.35 if angle == 90 else 0.2)
        turned = f'transform="translate({centre + shift:.1f} {y - 7}) rotate(-{angle})"'
        upright = f'x="{centre:.1f}" y="{y - 8}" text-anchor="middle"'
        yield _label(token, turned if angle else upright, layout.font)
    yield '</g><g text-anchor="end">'
    for k, token in enumerate(layout.targets):
        baseline = y + (k + 0.5) * layout.cell + 0.35 * layout.font
        yield _label(token, f'x="{x}" y="{baseline:.1f}"', layout.font)
    yield "</g>"


def _label(token: str, place: str, font: int) -> str:
    shown = _fit(token, font, _LONGEST_LABEL)
    tip = "" if shown == token else f"<title>{escape(token)}</title>"
    muted = f' fill="{MUTED}"' if token.startswith("<") and token.endswith(">") else ""
    return f"<text {place}{muted}>{escape(shown)}{tip}</text>"


def _cells(layout: _Layout, weights: NDArray[np.float64]) -> Iterator[str]:
    """Weights that round to 0.000 are the background, which keeps large pictures small."""
    width, height = layout.grid
    if not width or not height:
        yield f'<text x="{layout.left}" y="{layout.top + 20}" fill="{MUTED}">no tokens</text>'
        return
    size = layout.cell
    square = f'width="{size}" height="{size}"'
    yield f'<g transform="translate({layout.left} {layout.top})">'
    yield f'<rect width="{width}" height="{height}" fill="{RAMP[0]}"><title>0.000</title></rect>'
    for row, column in np.argwhere(weights >= _SHOWN).tolist():
        weight = float(weights[row, column])
        tip = f"{layout.sources[column][:_LONGEST_TIP]} → {layout.targets[row][:_LONGEST_TIP]}: {weight:.3f}"
        yield (
            f'<rect x="{column * size}" y="{row * size}" {square} fill="{colour(weight)}">'
            f"<title>{escape(tip)}</title></rect>"
        )
    lines = "".join(f"M{k * size} 0V{height}" for k in range(1, len(layout.sources)))
    lines += "".join(f"M0 {k * size}H{width}" for k in range(1, len(layout.targets)))
    if lines:
        yield f'<path d="{lines}" stroke="{LIGHT}" pointer-events="none"/>'
    if size >= _NUMBERED:
        yield from _numbers(weights, size)
    yield "</g>"


def _numbers(weights: NDArray[np.float64], size: int) -> Iterator[str]:
    font = 12 if size > 30 else 10
    yield f'<g text-anchor="middle" font-size="{font}" pointer-events="none">'
    for row, column in np.argwhere(weights >= 0.045).tolist():
        weight = float(weights[row, column])
        shown = "1" if weight >= 0.995 else f"{weight:.2f}"[1:]
        x, y = (column + 0.5) * size, (row + 0.5) * size + 0.36 * font
        yield f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink(weight)}">{shown}</text>'
    yield "</g>"


def _legend(layout: _Layout) -> Iterator[str]:
    steps, step = 32, 6
    x = layout.left
    y = layout.top + layout.grid[1] + 22
    yield f'<g font-size="11" fill="{MUTED}"><text x="{x - 9}" y="{y + 9}" text-anchor="end">weight</text>'
    for k in range(steps):
        fill = colour(k / (steps - 1))
        yield f'<rect x="{x + k * step}" y="{y}" width="{step}" height="10" fill="{fill}"/>'
    yield f'<rect x="{x}" y="{y}" width="{steps * step}" height="10" fill="none" stroke="{RAMP[3]}"/>'
    for tick, shown in ((0, "0"), (0.25, ".25"), (0.5, ".5"), (0.75, ".75"), (1, "1")):
        place = x + tick * steps * step
        yield f'<path d="M{place:.1f} {y + 10}v4" stroke="{MUTED}"/>'
        yield f'<text x="{place:.1f}" y="{y + 26}" text-anchor="middle">{shown}</text>'
    yield "</g>"


def colour(weight: float) -> str:
    """The ramp at `weight` in [0, 1], as #rrggbb."""
    place = weight * (len(RAMP) - 1)
    k = min(int(place), len(RAMP) - 2)
    below, above = _channels(RAMP[k]), _channels(RAMP[k + 1])
    mixed = (round(low + (high - low) * (place - k)) for low, high in zip(below, above, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ink(weight: float) -> str:
    """Dark or light, whichever stands out more from the colour of `weight` (WCAG 2 contrast)."""
    ground = luminance(colour(weight)) + 0.05
    dark, light = ground / (luminance(DARK) + 0.05), (luminance(LIGHT) + 0.05) / ground
    return DARK if dark >= light else LIGHT


def luminance(hex_colour: str) -> float:
    """Relative luminance of an sRGB colour (WCAG 2), in [0, 1]."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(hex_colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(hex_colour: str) -> Sequence[int]:
    return bytes.fromhex(hex_colour[1:])
