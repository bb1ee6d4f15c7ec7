"""Small pieces of the page: figures, texts, one example, one setting."""

import unicodedata
from html import escape

from suguk.explain.heatmap import visible
from suguk.report.contents import Example, Part, Setting

SPACE = "▁"  # how tokens write one


def text(value: str) -> str:
    """Escaped, with characters that a page cannot hold or that turn its direction made visible."""
    return escape("".join(_shown(character) for character in value))


def _shown(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs", "Cf") and character not in "\n\t\u200c\u200d":
        return visible(character)
    return character


def count(value: float | None) -> str:
    """Three digits: 9.34 M."""
    if value is None:
        return "–"
    # What is rounded up to a thousand of a unit is one of the next.
    for unit, power, least in (("G", 1e9, 999.5e6), ("M", 1e6, 999.5e3), ("k", 1e3, 1e4)):
        if value >= least:
            return f"{value / power:.3g} {unit}"
    return f"{value:,.0f}"


def size(value: int) -> str:
    return f"{value / 1e6:,.1f} MB" if value >= 1e5 else f"{value / 1e3:,.1f} kB"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def meter(value: float, kind: str = "") -> str:
    """A bar from 0 to 100 with its number."""
    return f'<div class="meter {kind}" style="--v:{value:.1f}"><i></i><span>{value:.1f}</span></div>'


def example(one: Example, tokenizer: str) -> str:
    chips = f'<span class="chip {one.kind}">{one.kind}</span>'
    chips += '<span class="chip exact">exact</span>' if one.exact else ""
    chips += "" if one.finished else '<span class="chip cut">cut at the maximum length</span>'
    wanted = "".join(map(_part, one.reference))
    rows = [
        ("source", text(one.source) or _NOTHING),
        ("output", _output(one, tokenizer)),
        ("reference", wanted or _NOTHING),
    ]
    listed = "".join(f'<dt>{name}</dt><dd dir="auto">{content}</dd>' for name, content in rows)
    return (
        f'<article class="card example" data-kind="{one.kind}"><div class="top">{chips}<span>chrF {one.chrf:.1f}'
        f"</span></div><dl>{listed}</dl></article>"
    )


def _part(part: Part) -> str:
    if part.matched:
        return text(part.text)
    inside = part.text.lstrip(" ")
    return " " * (len(part.text) - len(inside)) + f'<span class="miss">{text(inside)}</span>'


_NOTHING = '<span class="nothing">empty</span>'


def _output(one: Example, tokenizer: str) -> str:
    """Tokens shaded by their probability; the plain text where tokens are bytes, which nobody can read."""
    if tokenizer == "byte":
        return text(one.output) or _NOTHING
    tokens = list(zip(one.tokens, one.probabilities, strict=True))
    ended = tokens[-1:] if one.finished else []
    words = tokens[: len(tokens) - len(ended)]
    shaded = [_token(token, p, tokenizer, first=k == 0) for k, (token, p) in enumerate(words)]
    end = "".join(
        f' <span class="t end u{_shade(p)}" data-p="{p:.3f} for the end">end</span>' for _, p in ended
    )
    return ((" " if tokenizer == "symbols" else "").join(shaded) or _NOTHING) + end


def _token(token: str, probability: float, tokenizer: str, *, first: bool) -> str:
    shown = token if tokenizer == "symbols" else token.replace(SPACE, " ")
    shown = shown.removeprefix(" ") if first else shown
    return f'<span class="t u{_shade(probability)}" data-p="{probability:.3f}">{text(shown)}</span>'


def _shade(probability: float) -> int:
    return min(int(10 * (1 - probability)), 9)


def setting(one: Setting) -> str:
    kind = ' class="changed"' if one.changed else ""
    cells = [
        f'<td class="mono">{escape(one.name)}</td>',
        f'<td class="mono">{text(one.value)}</td>',
        f'<td class="small">{text(one.default)}</td>',
        f'<td class="small">{escape(one.about)}</td>',
    ]
    return f"<tr{kind}>{''.join(cells)}</tr>"
