"""Words aligned by attention, and how well they agree with alignments made by people. Imports no torch.

Shapes: T target tokens, S source tokens, J target words, I source words. A word is what `str.split` gives of a raw
text, as in the files of aligners (Pharaoh format): pairs of a source index and a target index.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from suguk.answers import TextPredictor
from suguk.data.lines import KINDS, ONE_PAIR, read_lines
from suguk.data.read import Pairs
from suguk.errors import DataError, Problem

FORM = (
    "one line for each pair that is aligned, of links such as 0-0 (sure) and 1?2 (possible), source word first; none "
    "for a pair that --skip-bad leaves out"
)
_LINK = re.compile(r"([0-9]{1,9})([-?])([0-9]{1,9})")


class Link(NamedTuple):
    """A target word and the source word that it is aligned to, both counted from 0."""

    source: int
    target: int
    weight: float  # attention of the target word to the source word


@dataclass(frozen=True)
class Alignment:
    """One pair: its words, and at most one link for each target word, by source word, then by target word."""

    source_words: tuple[str, ...]
    target_words: tuple[str, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Gold:
    """What people say of one pair: (source, target) indices from 0. possible: P, the sure ones (S) included."""

    sure: frozenset[tuple[int, int]]
    possible: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Quality:
    """Links of all pairs, counted against gold alignments (Och and Ney 2003).

    A share of nothing is 1: no link is wrong where there is none, and none is missing where none is wanted.
    """

    links: int = 0  # |A|
    sure: int = 0  # |S|
    links_sure: int = 0  # |A ∩ S|
    links_possible: int = 0  # |A ∩ P|

    def __add__(self, other: "Quality") -> "Quality":
        return Quality(
            self.links + other.links,
            self.sure + other.sure,
            self.links_sure + other.links_sure,
            self.links_possible + other.links_possible,
        )

    @property
    def precision(self) -> float:
        """|A ∩ P| / |A|."""
        return self.links_possible / self.links if self.links else 1.0

    @property
    def recall(self) -> float:
        """|A ∩ S| / |S|."""
        return self.links_sure / self.sure if self.sure else 1.0

    @property
    def error_rate(self) -> float:
        """AER = 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|); 0 where both are empty."""
        both = self.links + self.sure
        return 1.0 - (self.links_sure + self.links_possible) / both if both else 0.0


def align(model: TextPredictor, sources: Sequence[str], targets: Sequence[str]) -> list[Alignment]:
    """Each target word with the source word of the highest attention in forced decoding (Luong et al. 2015, §5.4).

    A target word whose attention is highest at the source's `<eos>`, or nowhere, has no link. UserError for a model
    without attention.
    """
    pairs = zip(
        sources,
        targets,
        model.source.words(sources),
        model.target.words(targets),
        model.attend(sources, targets),
        strict=True,
    )
    return [
        _alignment(source.split(), target.split(), by_source, by_target, attention.weights)
        for source, target, by_source, by_target, attention in pairs
    ]


def _alignment(
    source: Sequence[str],
    target: Sequence[str],
    by_source: Sequence[range],
    by_target: Sequence[range],
    weights: NDArray[Any],
) -> Alignment:
    """by_source, by_target: the words of each token; weights: [T, S]."""
    nothing = len(source)  # the index after the last word stands for `<eos>`
    over_tokens = _summed(weights.T, [*by_source[:-1], range(nothing, nothing + 1)], nothing + 1, share=True)
    over_words = _summed(over_tokens.T, by_target, len(target), share=False)
    tokens_of = np.bincount(_places(by_target)[1], minlength=len(target))
    means = over_words / np.maximum(tokens_of, 1)[:, None]  # [J, I + 1]
    best = means.argmax(1).tolist() if len(target) else []  # of equal ones the first
    links = (Link(i, j, float(means[j, i])) for j, i in enumerate(best) if i != nothing and means[j, i] > 0)
    return Alignment(tuple(source), tuple(target), tuple(sorted(links)))


def _summed(rows: NDArray[Any], words: Sequence[range], count: int, *, share: bool) -> NDArray[np.float64]:
    """Rows of tokens [tokens, N] added up to rows of words [count, N].

    share: a token of several words gives each of them an equal part, so that weights still add up to what they did.
    """
    tokens, places = _places(words)
    parts = rows[tokens].astype(np.float64)
    if share:
        parts /= np.bincount(tokens)[tokens][:, None]
    total = np.zeros((count, rows.shape[1]))
    np.add.at(total, places, parts)
    return total


def _places(words: Sequence[range]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(tokens, words): all that belong together."""
    found = [(token, word) for token, several in enumerate(words) for word in several]
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def compare(found: Iterable[Alignment], gold: Iterable[Gold]) -> Quality:
    """Alignments against gold ones, pair by pair in the same order."""
    total = Quality()
    for alignment, wanted in zip(found, gold, strict=True):
        made = {(link.source, link.target) for link in alignment.links}
        total += Quality(len(made), len(wanted.sure), len(made & wanted.sure), len(made & wanted.possible))
    return total


def read_gold(path: str | Path, pairs: Pairs, first: int = 0) -> list[Gold]:
    """Gold alignments of these pairs: one line a pair, `i-j` for sure links, `i?j` for possible ones.

    first: what indices count from, 0 or 1. DataError, with every problem, for another number of lines than pairs,
    malformed links and indices that no word has.
    """
    name = str(path)
    problems: list[Problem] = []
    try:
        lines = read_lines(name, problems).texts
    except DataError as fault:  # what is said of pairs there is not true of alignments
        hint = FORM if fault.hint in (KINDS, ONE_PAIR) else fault.hint
        raise DataError(fault.message, fault.problems, where=fault.where, hint=hint) from None
    undecoded = {problem.line for problem in problems}
    gold = []
    for row, (line, source, target) in enumerate(zip(lines, pairs.sources, pairs.targets, strict=False)):
        if row + 1 not in undecoded:
            sizes = (len(source.split()), len(target.split()))
            problems += (Problem(name, row + 1, *fault) for fault in _faults(line, sizes, first))
            gold.append(_gold(line, first))
    problems.sort(key=lambda problem: problem.line or 0)
    if len(lines) != len(pairs):
        problems.insert(0, _unequal(name, len(lines), pairs))
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
        raise DataError(f"{count} in gold alignments", problems, hint=FORM)
    return gold


def _gold(line: str, first: int) -> Gold:
    """The links of a line that are well formed."""
    links = [link for word in line.split() if (link := _LINK.fullmatch(word))]
    every = [((int(link[1]) - first, int(link[3]) - first), link[2] == "-") for link in links]
    return Gold(frozenset(link for link, sure in every if sure), frozenset(link for link, _ in every))


def _faults(line: str, sizes: tuple[int, int], first: int) -> Iterator[tuple[str, str]]:
    """(message, kind) of every link that cannot be. sizes: words of the source and of the target."""
    for word in line.split():
        link = _LINK.fullmatch(word)
        if link is None:
            yield (
                f"expected a link such as {first}-{first} or {first}?{first}, found {word!r}",
                "malformed link",
            )
            continue
        for side, index, size in zip(("source", "target"), (int(link[1]), int(link[3])), sizes, strict=True):
            if not first <= index < first + size:
                message = f"{word}: no {side} word {index}; the {side} has {size}, counted from {first}"
                yield message, "index beyond the words"


def _unequal(name: str, lines: int, pairs: Pairs) -> Problem:
    message = f"a line for each of the {len(pairs):,} pairs is needed, found {lines:,} lines"
    if lines > len(pairs):
        return Problem(name, len(pairs) + 1, f"has no pair: {message}", "different line counts")
    return Problem(*pairs.place(lines), f"has no line in {name}: {message}", "different line counts")
