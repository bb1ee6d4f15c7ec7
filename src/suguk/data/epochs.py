"""What an epoch is made of, where that is not the same in each: a function of (seed, epoch), so that training resumes.

Words may be cut anew (`fields.subwords`), and corpora mixed by weights.
"""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from suguk.data.batch import Copies, Dataset, Ids, Rows, Side
from suguk.fields import EOS, SPECIALS, UNK, TextField
from suguk.fields.subwords import cutter

BLOCK = 2**14  # rows that are cut at a time
# Which random numbers these are. Never 0: numpy takes (seed, epoch) and (seed, epoch, 0) for the same.
SOURCE, TARGET, MIX = 1, 2, 3


class Cut:
    """One side, whose words are cut anew in every epoch."""

    def __init__(self, field: TextField, texts: Sequence[str], sampling: float) -> None:
        """sampling: see `fields.subwords.cutter`."""
        numbers: dict[str, int] = {}
        words, lengths = array("i"), np.empty(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            found = field.split(text)
            words.extend(numbers.setdefault(word, len(numbers)) for word in found)
            lengths[row] = len(found)
        self.words = Side(np.array(words, dtype=np.int32), lengths)
        self.cutter = cutter(field, list(numbers), sampling)

    def side(self, random: np.random.Generator, rows: Rows | None = None) -> Side:
        """The ids of these rows, or of all; a row that is there twice is cut twice."""
        if rows is None:
            rows = np.arange(len(self.words.lengths))
        blocks = [self._cut(rows[begin : begin + BLOCK], random) for begin in range(0, len(rows), BLOCK)]
        return Side(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))

    def _cut(self, rows: Rows, random: np.random.Generator) -> tuple[Ids, NDArray[np.int64]]:
        """Ids of rows, each ending in `<eos>`, and their numbers."""
        lengths = self.words.lengths[rows]
        before = np.cumsum(lengths) - lengths
        places = np.repeat(self.words.offsets[rows] - before, lengths) + np.arange(lengths.sum())
        flat, counts = self.cutter.cut(self.words.flat[places].astype(np.int64), random)
        flat[flat < len(SPECIALS)] = UNK  # text that spells a special token is not one
        pieces = np.concatenate([[0], counts.cumsum()])
        found = np.diff(pieces[np.concatenate([[0], lengths.cumsum()])])
        ids = np.full(len(flat) + len(rows), EOS, dtype=np.int32)
        ids[np.arange(len(flat)) + np.repeat(np.arange(len(rows)), found)] = flat
        return ids, found + 1


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

    def __init__(
        self,
        source: Side | Cut,
        target: Side | Cut,
        seed: int,
        mix: Mix | None = None,
        copied: Copies | None = None,
    ) -> None:
        """copied: of all pairs, for a model that copies."""
        self.source, self.target, self.seed, self.mix, self.copied = source, target, seed, mix, copied

    def epoch(self, epoch: int) -> Dataset:
        """Pairs of this epoch."""

        def random(use: int) -> np.random.Generator:
            return np.random.Generator(np.random.PCG64([self.seed, epoch, use]))

        rows = None if self.mix is None else self.mix.rows(random(MIX))

        def side(of: Side | Cut, use: int) -> Side:
            if isinstance(of, Cut):
                return of.side(random(use), rows)
            return of if rows is None else of.taken(rows)

        return Dataset.sides(side(self.source, SOURCE), side(self.target, TARGET), rows, self.copied)
