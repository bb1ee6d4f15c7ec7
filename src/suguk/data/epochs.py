"""What an epoch is made of, where that is not the same in each: a function of (seed, epoch), so that training resumes.

Words may be cut anew (`fields.subwords`), and corpora mixed by weights.
"""

from collections.abc import Sequence

import numpy as np

from suguk.data.batch import Dataset, Rows, Side
from suguk.fields import EOS, SPECIALS, UNK, TextField
from suguk.fields.subwords import cutter

BLOCK = 2**17  # words that are cut at a time
# Which random numbers these are. Never 0: numpy takes (seed, epoch) and (seed, epoch, 0) for the same.
SOURCE, TARGET, MIX = 1, 2, 3


class Cut:
    """One side, whose words are cut anew in every epoch."""

    def __init__(self, field: TextField, texts: Sequence[str], sampling: float) -> None:
        """sampling: see `fields.subwords.cutter`."""
        numbers: dict[str, int] = {}
        found = [[numbers.setdefault(word, len(numbers)) for word in field.split(text)] for text in texts]
        words = np.array([number for row in found for number in row], dtype=np.int32)
        self.words = Side(words, np.array([len(row) for row in found], dtype=np.int64))
        self.cutter = cutter(field, list(numbers), sampling)

    def side(self, random: np.random.Generator, rows: Rows | None = None) -> Side:
        """The ids of these rows, or of all; a row that is there twice is cut twice."""
        lengths, words = self.words.lengths, self.words.flat
        if rows is not None:
            lengths = lengths[rows]
            before = np.cumsum(lengths) - lengths
            words = words[np.repeat(self.words.offsets[rows] - before, lengths) + np.arange(lengths.sum())]
        cut = [
            self.cutter.cut(words[begin : begin + BLOCK].astype(np.int64), random)
            for begin in range(0, len(words), BLOCK)
        ]
        flat = np.concatenate([np.empty(0, np.int32), *(pieces.flat for pieces in cut)])
        flat[flat < len(SPECIALS)] = UNK  # text that spells a special token is not one
        counts = np.concatenate([[0], *(pieces.counts for pieces in cut)]).cumsum()
        lengths = np.diff(counts[np.concatenate([[0], lengths.cumsum()])])
        ids = np.full(len(flat) + len(lengths), EOS, dtype=np.int32)
        ids[np.arange(len(flat)) + np.repeat(np.arange(len(lengths)), lengths)] = flat
        return Side(ids, lengths + 1)


class Mix:
    """Corpora that stand one after another in the data, and how often an epoch has each of their pairs.

    With weight 2 every pair comes twice; with 2.5 twice, and half of them, drawn anew in every epoch, once more.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float]) -> None:
        self.sizes, self.weights = sizes, weights

    @property
    def counts(self) -> list[int]:
        """Pairs of an epoch that are of each corpus: at least one."""
        return [max(round(size * weight), 1) for size, weight in zip(self.sizes, self.weights, strict=True)]

    def rows(self, random: np.random.Generator) -> Rows:
        """Of an epoch, corpus after corpus."""
        found, begin = [], 0
        for size, count in zip(self.sizes, self.counts, strict=True):
            whole, rest = divmod(count, size)
            found.append(begin + np.tile(np.arange(size), whole))
            found.append(begin + np.sort(random.permutation(size)[:rest]))
            begin += size
        return np.concatenate(found)


class Epochs:
    """The data set of every epoch."""

    def __init__(self, source: Side | Cut, target: Side | Cut, seed: int, mix: Mix | None = None) -> None:
        self.source, self.target, self.seed, self.mix = source, target, seed, mix

    def epoch(self, epoch: int) -> Dataset:
        """Pairs of this epoch."""

        def random(use: int) -> np.random.Generator:
            return np.random.Generator(np.random.PCG64([self.seed, epoch, use]))

        rows = None if self.mix is None else self.mix.rows(random(MIX))

        def side(of: Side | Cut, use: int) -> Side:
            if isinstance(of, Cut):
                return of.side(random(use), rows)
            return of if rows is None else of.taken(rows)

        return Dataset.sides(side(self.source, SOURCE), side(self.target, TARGET))
