"""Which tokenizer fits a side: decided from the text, and explained with figures."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from suguk.fields.text import Kind

SYMBOLS = 300  # most distinct items of a closed set of symbols
SYLLABLES = 3000  # … where every item is a single character
OFTEN = 10  # times an item of a closed set is seen on average, at least
LATE = 0.01  # share of running items that occur in every other line only, at most
DIGITS = 0.2  # share of digits from which a side is numbers, not sentences
WORDS = 2.2  # mean words a line up to which a side is words or names
MOST = 300_000  # lines that are looked at
SHORT = 24  # mean characters a line up to which a side is words or names
UNSPACED = 6  # mean characters a line above which unspaced script is sentences


class Choice(NamedTuple):
    """kind: bpe, char or symbols; reason: one sentence with the figures it rests on."""

    kind: Kind
    reason: str


class _Text(NamedTuple):
    lines: int
    items: Counter[str]
    late: float  # share of running items that were in no line of even number
    characters: float  # mean a line
    digits: float  # share of characters
    unspaced: float  # share of characters of scripts written without spaces

    @property
    def words(self) -> float:
        return sum(self.items.values()) / self.lines

    @property
    def counted(self) -> str:
        return f"{self.words:.1f} words and {self.characters:.1f} characters a line"


def choose(lines: Sequence[str], vocab_size: int, *, target: bool = False) -> Choice:
    """The tokenizer for these lines (the training side). vocab_size: most entries a closed set may have.

    target: what is written, which may be labels: one item of a closed set a line.
    """
    text = _measure(lines[:: -(-len(lines) // MOST) or 1])
    if _closed(text, vocab_size, labels=target and text.digits < DIGITS):
        rarest = min(text.items.values())
        often = "once" if rarest == 1 else f"{rarest:,} times"
        of = f"{text.lines:,} lines" + (f" of {len(lines):,}" if len(lines) > MOST else "")
        return Choice(
            "symbols",
            f"{len(text.items):,} distinct space-separated items in {of}, the rarest seen {often}",
        )
    if text.digits >= DIGITS:
        return Choice("char", f"{text.digits:.0%} of the characters are digits")
    if text.unspaced >= 0.3 and text.words < WORDS:
        if text.characters > UNSPACED:
            return Choice(
                "bpe", f"sentences of a script without spaces, {text.characters:.1f} characters a line"
            )
        return Choice("char", f"words or names: {text.characters:.1f} characters a line")
    if text.words <= WORDS and text.characters <= SHORT:
        return Choice("char", f"words or names: {text.counted}")
    return Choice("bpe", f"sentences: {text.counted}")


def _measure(lines: Sequence[str]) -> _Text:
    filled = [line.split() for line in lines if line.strip()]
    early = {item for line in filled[::2] for item in line}
    items = Counter(item for line in filled for item in line)
    characters: Counter[str] = Counter()
    for item, count in items.items():
        for character in item:
            characters[character] += count
    total = max(sum(characters.values()), 1)
    return _Text(
        lines=max(len(filled), 1),
        items=items,
        late=sum(items[item] for item in items.keys() - early) / max(sum(items.values()), 1),
        characters=sum(len(line.strip()) for line in lines) / max(len(filled), 1),
        digits=sum(count for character, count in characters.items() if character.isdigit()) / total,
        unspaced=sum(count for character, count in characters.items() if _without_spaces(character)) / total,
    )


def _without_spaces(character: str) -> bool:
    name = unicodedata.name(character, "")
    return name.startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))


def _closed(text: _Text, vocab_size: int, *, labels: bool) -> bool:
    """Few distinct items, seen often, half the lines know (next to) all of them; more than one a line, if no labels."""
    distinct = len(text.items)
    single = all(len(item) == 1 for item in text.items)
    most = min(SYLLABLES if single else SYMBOLS, vocab_size - 4)
    if not 1 < distinct <= most or (text.words <= 1.2 and not labels):
        return False
    often = sum(text.items.values()) / distinct >= OFTEN
    return often and text.late <= LATE
