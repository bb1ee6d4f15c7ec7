"""Words cut at random: BPE dropout and sampling from a unigram model, of many words at a time.

The library that makes the tokenizers samples too, but from a generator that cannot be seeded, so that no training could
be repeated or resumed. Words here are what a tokenizer's pre-tokenizer gives: no piece crosses their ends.

Shapes: W different words, N of their occurrences in a text, L symbols of a word.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from suguk.fields.base import SPECIALS, UNK
from suguk.fields.text import TextField

Ids = NDArray[np.int32]
Counts = NDArray[np.int64]
Random = np.random.Generator
UNKNOWN = 10.0  # nats by which an unknown character is less likely than the rarest piece, as in the library
BLOCK = 2**13  # words of a length that are cut together: their arrays stay in the cache
NEVER = np.iinfo(np.int32).max


class Pieces(NamedTuple):
    """flat: ids of all words, one after another; counts: [N] ids of every word."""

    flat: Ids
    counts: Counts


class Cutter(Protocol):
    """Cuts the words it was made for."""

    def cut(self, words: Counts, random: Random) -> Pieces:
        """words: [N] numbers of words."""
        ...


def cutter(field: TextField, words: Sequence[str], sampling: float) -> Cutter:
    """For a field of kind bpe or unigram. sampling: p of BPE dropout, α of unigram sampling."""
    model = json.loads(field.to_json())["tokenizer"]["model"]
    made = Merges if field.kind == "bpe" else Lattices
    return made(model, words, sampling)


class Merges:
    """BPE dropout (Provilkov et al. 2020, alg. 1).

    At every step each merge that is possible somewhere in the word is left out with probability p; of the others the
    one learned first is made, at its first place; where none is left, the word is done. With p = 0 this is BPE
    (Sennrich et al. 2016).
    """

    def __init__(self, model: Any, words: Sequence[str], p: float) -> None:
        self.p = p
        vocab: dict[str, int] = model["vocab"]
        self.size = len(vocab)
        pairs = np.array([[vocab[a], vocab[b]] for a, b in model["merges"]], dtype=np.int64).reshape(-1, 2)
        keys = pairs[:, 0] * self.size + pairs[:, 1]
        self.ranks = np.argsort(keys, kind="stable")  # of the sorted keys
        self.keys = keys[self.ranks]
        self.made = np.array([vocab[a + b] for a, b in model["merges"]], dtype=np.int32)
        self.lengths = np.array([len(word) for word in words], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self.symbols = np.array([vocab.get(char, UNK) for word in words for char in word], dtype=np.int32)

    def cut(self, words: Counts, random: Random) -> Pieces:
        lengths = self.lengths[words]
        room = np.concatenate([[0], np.cumsum(lengths)])
        cut, counts = np.zeros(room[-1], dtype=np.int32), np.zeros(len(words), dtype=np.int64)
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for begin in range(0, len(alike), BLOCK):
                at = alike[begin : begin + BLOCK]
                symbols = self.symbols[self.starts[words[at]][:, None] + np.arange(length)]
                self._merge(symbols, at, random, room, cut, counts)
        real = np.repeat(counts, lengths) > np.arange(room[-1]) - np.repeat(room[:-1], lengths)
        return Pieces(cut[real], counts)

    def _merge(
        self, symbols: Ids, at: Counts, random: Random, room: Counts, cut: Ids, counts: Counts
    ) -> None:
        """symbols: [N, L] of the words number `at`, which are done one after another; their ids go into `cut`."""
        ranks = self._ranks(symbols[:, :-1], symbols[:, 1:])
        while len(at):
            width = symbols.shape[1]
            possible = ranks
            if self.p and width > 1:
                dropped = random.random(ranks.shape, dtype=np.float32) < self.p
                possible = np.where(dropped, NEVER, ranks)
            first = possible.argmin(1) if width > 1 else np.zeros(len(at), dtype=np.int64)
            lines = np.arange(len(at))
            best = possible[lines, first] if width > 1 else np.full(len(at), NEVER)
            done = best == NEVER
            ended = at[done]
            counts[ended] = width
            cut[room[ended][:, None] + np.arange(width)] = symbols[done]
            going = ~done
            at, symbols, ranks, first, best = (part[going] for part in (at, symbols, ranks, first, best))
            symbols, ranks = self._joined(symbols, ranks, first, best)

    def _joined(self, symbols: Ids, ranks: Ids, first: Counts, best: Counts) -> tuple[Ids, Ids]:
        """Every row's symbols first and first + 1 as one, and the ranks of the pairs there are then."""
        lines, width = np.arange(len(first)), symbols.shape[1] - 1
        columns = np.arange(width)
        shifted = columns + (columns > first[:, None])
        symbols = np.take_along_axis(symbols, shifted, axis=1)
        symbols[lines, first] = self.made[best]
        kept = columns[:-1] + (columns[:-1] >= first[:, None])
        ranks = np.take_along_axis(ranks, np.minimum(kept, width - 1), axis=1)
        for left in (first - 1, first):
            inside = (left >= 0) & (left < width - 1)
            row, column = lines[inside], left[inside]
            ranks[row, column] = self._ranks(symbols[row, column], symbols[row, column + 1])
        return symbols, ranks

    def _ranks(self, left: Ids, right: Ids) -> Ids:
        """Of the merge of each pair; NEVER where there is none."""
        if not len(self.keys):
            return np.full(left.shape, NEVER, dtype=np.int32)
        wanted = left.astype(np.int64) * self.size + right
        found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[found] == wanted, self.ranks[found], NEVER).astype(np.int32)


class Lattices:
    """Sampling from a unigram model (Kudo 2018 §3.2): a cut x of a word with probability P(x)^α / Σ P(x')^α.

    Over all cuts of the word (his l = ∞), by forward filtering and backward sampling: f(j) = Σ_i f(i) p(i, j)^α over
    the pieces from place i to place j, then from the end back, piece (i, j) with probability f(i) p(i, j)^α / f(j).
    """

    def __init__(self, model: Any, words: Sequence[str], alpha: float) -> None:
        entries = model["vocab"]
        scores = {  # text that spells a special token is not one
            piece: (UNK if i < len(SPECIALS) else i, alpha * score)
            for i, (piece, score) in enumerate(entries)
        }
        lowest = min(score for _, score in entries)
        self.unknown = alpha * (lowest - UNKNOWN)
        self.longest = max(map(len, scores))
        self.lengths = np.array([len(word) for word in words], dtype=np.int64)
        # Place j of word w is place starts[w] + j of all; its pieces are edges first[…] up to first[… + 1].
        self.starts = np.concatenate([[0], np.cumsum(self.lengths + 1)])
        ids: list[int] = []
        widths: list[int] = []
        upto: list[float] = []  # the number of the place, and the share of its pieces up to this one
        first = [0]
        for word in words:
            for place in self._places(word, scores):
                upto += [len(first) - 1 + share for share, _, _ in place]
                ids += [id_ for _, id_, _ in place]
                widths += [width for _, _, width in place]
                first.append(len(ids))
        self.upto = np.array(upto)
        self.ids, self.widths = np.array(ids, dtype=np.int32), np.array(widths, dtype=np.int64)
        self.last = np.array(first[1:], dtype=np.int64) - 1

    def _places(self, word: str, scores: dict[str, tuple[int, float]]) -> list[list[tuple[float, int, int]]]:
        """Of every place in the word the pieces that end there: share of all up to this one, id, length."""
        forward, places = [0.0], [list[tuple[float, int, int]]()]
        for end in range(1, len(word) + 1):
            pieces = [
                (forward[begin] + scores[piece][1], scores[piece][0], end - begin)
                for begin in range(max(0, end - self.longest), end)
                if (piece := word[begin:end]) in scores
            ]
            if word[end - 1] not in scores:
                pieces.append((forward[-1] + self.unknown, UNK, 1))
            highest = max(weight for weight, _, _ in pieces)
            total, shares = 0.0, []
            for weight, id_, width in pieces:
                total += math.exp(weight - highest)
                shares.append((total, id_, width))
            forward.append(highest + math.log(total))
            places.append([(share / total, id_, width) for share, id_, width in shares])
        return places

    def cut(self, words: Counts, random: Random) -> Pieces:
        begin = self.starts[words]
        place = begin + self.lengths[words]
        going = np.flatnonzero(place > begin)
        counts = np.zeros(len(words), dtype=np.int64)
        rounds: list[tuple[Counts, Ids]] = []
        while len(going):
            here = place[going]
            edge = np.searchsorted(self.upto, here + random.random(len(here)), side="right")
            edge = np.minimum(edge, self.last[here])
            rounds.append((going, self.ids[edge]))
            counts[going] += 1
            place[going] -= self.widths[edge]
            going = going[place[going] > begin[going]]
        ends = np.cumsum(counts)
        flat = np.empty(int(counts.sum()), dtype=np.int32)
        for number, (which, found) in enumerate(rounds, 1):  # from the ends of the words
            flat[ends[which] - number] = found
        return _fused(Pieces(flat, counts))


def _fused(pieces: Pieces) -> Pieces:
    """Neighbouring unknown characters of a word are one piece, as the library has them."""
    flat, counts = pieces
    word = np.repeat(np.arange(len(counts)), counts)
    again = np.zeros(len(flat), dtype=bool)
    again[1:] = (flat[1:] == UNK) & (flat[:-1] == UNK) & (word[1:] == word[:-1])
    return Pieces(flat[~again], counts - np.bincount(word[again], minlength=len(counts)))
