"""Batches with next to no padding: pairs of like length together, as many as a budget of tokens allows.

Shapes: B rows, S source length, T target length.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int32]
Rows = NDArray[np.int64]
# From ids [B, S] and [B, T] of pairs [B]: `copies` [B, S] and the targets to train on. See `suguk.copying`.
Copies = Callable[[NDArray[np.int64], NDArray[np.int64], Rows], tuple[NDArray[np.int64], NDArray[np.int64]]]


class Batch(NamedTuple):
    """Padded with `<pad>` = 0; every row ends in `<eos>` before its padding."""

    source: NDArray[np.int64]  # [B, S]
    source_lengths: NDArray[np.int64]  # [B]
    target: NDArray[np.int64]  # [B, T]
    target_lengths: NDArray[np.int64]  # [B]
    rows: Rows  # [B] which pairs of the data set these are
    copies: NDArray[np.int64] | None = None  # [B, S] for a model that copies: see `suguk.copying`


class Side:
    """All ids of one side in one flat array, with the offsets of its rows."""

    def __init__(self, flat: Ids, lengths: NDArray[np.int64]) -> None:
        self.flat, self.lengths = flat, lengths
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])

    @classmethod
    def of(cls, ids: Sequence[Ids]) -> "Side":
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        return cls(np.concatenate([*ids, np.empty(0, np.int32)]).astype(np.int32), lengths)

    def taken(self, rows: Rows) -> "Side":
        """These rows, in this order, some perhaps more than once; no ids are copied."""
        made = Side.__new__(Side)
        made.flat, made.lengths, made.offsets = self.flat, self.lengths[rows], self.offsets[rows]
        return made

    def padded(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        lengths = self.lengths[rows]
        columns = np.arange(int(lengths.max(initial=0)))
        real = columns < lengths[:, None]
        values = np.zeros(real.shape, dtype=np.int64)
        values[real] = self.flat[(self.offsets[rows][:, None] + columns)[real]]
        return values, lengths


class Dataset:
    """Pairs as token ids: one array a pair and side, ending in `<eos>`."""

    def __init__(
        self, sources: Sequence[Ids], targets: Sequence[Ids], *, copied: Copies | None = None
    ) -> None:
        self._source, self._target = Side.of(sources), Side.of(targets)
        self._pairs: Rows | None = None
        self._copied = copied

    @classmethod
    def flat(
        cls,
        source: tuple[Ids, NDArray[np.int64]],
        target: tuple[Ids, NDArray[np.int64]],
        copied: Copies | None = None,
    ) -> "Dataset":
        """Of each side all ids in one array, which may be memory-mapped, and the length of every row."""
        return cls.sides(Side(*source), Side(*target), copied=copied)

    @classmethod
    def sides(
        cls, source: Side, target: Side, pairs: Rows | None = None, copied: Copies | None = None
    ) -> "Dataset":
        """Of two sides with as many rows. pairs: which pair of the data every row is; None: they are in order.

        copied: of all pairs, for a model that copies.
        """
        made = cls.__new__(cls)
        made._source, made._target, made._pairs, made._copied = source, target, pairs, copied
        return made

    def pairs(self, rows: Rows) -> Rows:
        """Which pairs of the data these rows are."""
        return rows if self._pairs is None else self._pairs[rows]

    def epoch(self, _: int) -> "Dataset":
        """What an epoch is made of: the same pairs in every one (see `data.epochs` for others)."""
        return self

    def __len__(self) -> int:
        return len(self._source.lengths)

    @property
    def source_lengths(self) -> NDArray[np.int64]:
        """[N] tokens of every source, `<eos>` included."""
        return self._source.lengths

    @property
    def target_lengths(self) -> NDArray[np.int64]:
        """[N] tokens of every target, `<eos>` included."""
        return self._target.lengths

    def batch(self, rows: Rows) -> Batch:
        """These pairs, padded."""
        batch = Batch(*self._source.padded(rows), *self._target.padded(rows), rows)
        if self._copied is None:
            return batch
        copies, target = self._copied(batch.source, batch.target, self.pairs(rows))
        return batch._replace(copies=copies, target=target)


class Sampler:
    """The order of an epoch: a pure function of (seed, epoch), so that training resumes anywhere in it.

    An epoch is shuffled, brought into an order in which neighbours have like lengths on both sides (see `_sorted`; the
    shuffle decides among equals), cut where rows × the longer padded side would exceed `batch_tokens` or rows would
    exceed `batch_sentences`, and the batches are shuffled. A pair longer than the budget is a batch of its own.
    """

    def __init__(
        self,
        source_lengths: ArrayLike,
        target_lengths: ArrayLike,
        batch_tokens: int,
        seed: int,
        *,
        batch_sentences: int | None = None,
    ) -> None:
        self.source_lengths = np.asarray(source_lengths, dtype=np.int64)
        self.target_lengths = np.asarray(target_lengths, dtype=np.int64)
        self.batch_tokens, self.seed = batch_tokens, seed
        self.batch_sentences = batch_sentences or len(self.source_lengths)

    def epoch(self, epoch: int) -> list[Rows]:
        """Rows of every batch of this epoch, in order."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        batches = self._cut(self._sorted(random.permutation(len(self.source_lengths))))
        return [batches[i] for i in random.permutation(len(batches))]

    def _sorted(self, order: Rows) -> Rows:
        """By the longer side, which decides how many rows fit, then by source minus target length.

        The second key runs up for odd longer sides and down for even ones, so that a batch which holds the end of one
        and the beginning of the next does not pair the extremes. On Multi30k (BPE 8,000; batches of 1,024 tokens)
        1.2 % is padding; sorted by target and then source length it was 2.3 %.
        """
        source, target = self.source_lengths[order], self.target_lengths[order]
        longer, difference = np.maximum(source, target), source - target
        return order[np.lexsort((np.where(longer % 2 == 1, difference, -difference), longer))]

    def _cut(self, order: Rows) -> list[Rows]:
        widths = np.maximum(self.source_lengths, self.target_lengths)[
            order
        ]  # ascending: the last row is the widest
        batches: list[Rows] = []
        begin = 0
        while begin < len(order):
            rows = min(self.batch_sentences, max(1, self.batch_tokens // max(1, int(widths[begin]))))
            ahead = widths[begin : begin + rows]
            fitting = np.count_nonzero(ahead * np.arange(1, len(ahead) + 1) <= self.batch_tokens)
            end = begin + max(1, int(fitting))
            batches.append(order[begin:end])
            begin = end
        return batches

    @property
    def padding(self) -> float:
        """Share of padding among all positions of both sides, in [0, 1), in the first epoch."""
        batches = self.epoch(0)
        sides = (self.source_lengths, self.target_lengths)
        real = sum(int(lengths[rows].sum()) for rows in batches for lengths in sides)
        held = sum(len(rows) * int(lengths[rows].max()) for rows in batches for lengths in sides)
        return 1 - real / held if held else 0.0
