"""Which words of a source a model may copy, as ids of a target vocabulary that grows with the source. Imports no torch.

Shapes: B rows, S source length, T target length, V words of the target's vocabulary.

Ids from V on are of one source: V + i is the piece that stands there at position i for the first time. `copies` [B, S]
has the id of every position: that of the same piece in the target's vocabulary, else V + i. `<eos>` is `<eos>` on both
sides, so that the probability of copying is all given to something; padding is padding.

A piece that the source's vocabulary lacks is told by its text where an id is a piece of the raw text: words, characters
and symbols. Of other kinds what is unknown stays `<unk>`; those are built so that next to nothing is.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from suguk.config import Config
from suguk.fields import PAD, SPECIALS, UNK, TextField

Ids = NDArray[np.int64]
SPLIT = ("word", "char", "symbols")  # kinds whose `split` gives one piece an id
KEPT = 100_000  # pairs, of at most a kilobyte or so each
NONE = -1  # no such piece in the target's vocabulary


class Copier:
    """Both sides' fields, seen as one vocabulary."""

    def __init__(self, source: TextField, target: TextField) -> None:
        """Both of one kind, so that equal pieces mean the same."""
        self.source, self.target = source, target
        self.raw = source.kind in SPLIT
        words = range(len(SPECIALS), target.size)
        self.ids = dict(zip(target.pieces(words), words, strict=True))
        own = source.pieces(range(len(SPECIALS), source.size))
        specials = list(range(len(SPECIALS)))
        self.table = np.array([*specials, *(self.ids.get(piece, NONE) for piece in own)])

    def copies(self, source: Ids, texts: Sequence[str]) -> Ids:
        """[B, S] of the ids [B, S], padded, of these texts."""
        numbers, found = source, self.table[source]
        if self.raw and (source == UNK).any():
            numbers, found = source.copy(), found.copy()
            for row in np.flatnonzero((source == UNK).any(1)).tolist():
                pieces, places = self.source.split(texts[row]), np.flatnonzero(source[row] == UNK)
                known: dict[str, int] = {}
                for at in places.tolist():
                    piece = pieces[at]
                    numbers[row, at] = self.source.size + known.setdefault(piece, len(known))
                    found[row, at] = self.ids.get(piece, NONE)
        if (found >= 0).all():
            return found
        return np.where(found >= 0, found, self.target.size + _first(numbers))

    def wanted(self, target: Ids, targets: Sequence[str], copies: Ids, sources: Sequence[str]) -> Ids:
        """Target ids [B, T], padded, of these texts, with what only the source has in the place of `<unk>`."""
        rows = np.flatnonzero((target == UNK).any(1) & (copies >= self.target.size).any(1))
        if not self.raw or not len(rows):
            return target
        found = target.copy()
        for row in rows.tolist():
            held = dict(zip(self.source.split(sources[row]), copies[row].tolist(), strict=False))
            pieces, places = self.target.split(targets[row]), np.flatnonzero(target[row] == UNK)
            found[row, places] = [held.get(pieces[at], UNK) for at in places.tolist()]
        return found

    def pieces(self, ids: Sequence[int], source: Iterable[int], text: str) -> list[str]:
        """Vocabulary entries of output ids without `<eos>`, and the source's own pieces. source: its ids; text: raw."""
        size = self.target.size
        if max(ids, default=0) < size:
            return self.target.pieces(ids)
        own = [*self.source.split(text)] if self.raw else self.source.pieces(source)
        return [own[i - size] if i >= size else self.target.pieces([i])[0] for i in ids]


def _first(numbers: Ids) -> Ids:
    """[B, S]: where the number of each position stands for the first time in its row."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ranked = np.take_along_axis(numbers, order, 1)
    begins = np.ones(numbers.shape, bool)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    starts = np.maximum.accumulate(np.where(begins, np.arange(numbers.shape[1]), 0), axis=1)
    first = np.empty(numbers.shape, np.int64)
    np.put_along_axis(first, order, np.take_along_axis(order, starts, 1), 1)
    return first


class Copied:
    """The pairs of a data set, for the batches of a model that copies."""

    def __init__(self, copier: Copier, sources: Sequence[str], targets: Sequence[str]) -> None:
        self.copier, self.sources, self.targets = copier, sources, targets
        # Of pairs, whose texts are not split again in the next epoch.
        self._kept: dict[int, tuple[Ids, Ids]] = {}

    def __call__(self, source: Ids, target: Ids, pairs: Iterable[int]) -> tuple[Ids, Ids]:
        """`copies` and targets with what only the source has, of ids [B, S] and [B, T]. pairs: [B] which they are."""
        rows = list(pairs)
        if not self.copier.raw:  # ids may be others in every epoch, and nothing is split
            return self._made(source, target, rows)
        new = [at for at, pair in enumerate(rows) if pair not in self._kept]
        made = self._made(source[new], target[new], [rows[at] for at in new])
        copies, wanted = np.full_like(source, PAD), np.full_like(target, PAD)
        copies[new], wanted[new] = made
        for at in set(range(len(rows))) - set(new):
            for found, kept in zip((copies, wanted), self._kept[rows[at]], strict=True):
                found[at, : len(kept)] = kept
        for at in new if len(self._kept) < KEPT else ():
            ends = ((ids[at] != PAD).sum() for ids in (source, target))
            one, other = (found[at, :end].copy() for found, end in zip((copies, wanted), ends, strict=True))
            self._kept[rows[at]] = one, other
        return copies, wanted

    def _made(self, source: Ids, target: Ids, rows: list[int]) -> tuple[Ids, Ids]:
        sources, targets = ([texts[pair] for pair in rows] for texts in (self.sources, self.targets))
        copies = self.copier.copies(source, sources)
        return copies, self.copier.wanted(target, targets, copies, sources)


def copier(config: Config, source: TextField, target: TextField) -> Copier | None:
    """None where the model does not copy."""
    return Copier(source, target) if config.model.copying else None


def copied(
    config: Config, source: TextField, target: TextField, sources: Sequence[str], targets: Sequence[str]
) -> Copied | None:
    """Of these pairs; None where the model does not copy."""
    found = copier(config, source, target)
    return None if found is None else Copied(found, sources, targets)


def as_copied(field: TextField, made: Copier | None, ids: Iterable[int], text: str) -> tuple[str, ...]:
    """One readable string for each id of a source; where the model copies, what it may copy in the place of `<unk>`."""
    ids = list(ids)
    if made is None or not made.raw or UNK not in ids:
        return tuple(field.tokens(ids))
    own = [*field.split(text), ""]  # an id each, and `<eos>`
    return tuple(
        field.shown([own[at] if one == UNK else field.pieces([one])[0] for at, one in enumerate(ids)])
    )
