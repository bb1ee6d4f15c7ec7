"""Words cut at random: the distributions of the papers, written out plainly and compared with what is drawn."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from suguk.fields import SPECIALS, UNK, TextField
from suguk.fields.subwords import cutter

TEXTS = ["low lower lowest", "new newer newest wide wider widest", "the slow snow", "low <eos> x"] * 3
ODD = ["", "  ", "x☃☃y ☃", "low<eos>er", "lowestnewest", "l", "a a a"]
PIECES = [*TEXTS, "es est wes er ew lo ow ne te st we"] * 5
DRAWS = 60_000


@pytest.fixture(scope="module")
def fields() -> dict[str, TextField]:
    return {
        "bpe": TextField.train("bpe", TEXTS, 47),
        "unigram": TextField.train("unigram", PIECES, 67),
        "letters": TextField.train("bpe", TEXTS, 13),
    }


def model(field: TextField) -> Any:
    return json.loads(field.to_json())["tokenizer"]["model"]


def drawn(field: TextField, word: str, sampling: float) -> Counter[tuple[int, ...]]:
    words = np.repeat(np.arange(2), [1, DRAWS])
    flat, counts = cutter(field, ["low", word], sampling).cut(words, np.random.default_rng(3))
    assert len(counts) == DRAWS + 1
    return Counter(tuple(ids.tolist()) for ids in np.split(flat, counts.cumsum()[:-1])[1:])


def bpe_dropout(symbols: tuple[str, ...], merges: Sequence[list[str]], p: float) -> Counter[tuple[str, ...]]:
    """Provilkov et al. 2020, algorithm 1, with every outcome of its coins: the distribution of cuts."""
    possible = sorted(
        (merges.index([a, b]), place)
        for place, (a, b) in enumerate(itertools.pairwise(symbols))
        if [a, b] in merges
    )
    found: Counter[tuple[str, ...]] = Counter()
    found[symbols] = p ** len(possible)  # type: ignore[assignment]  # all of them left out
    for before, (_, at) in enumerate(possible):  # those before it left out, this one not
        merged = (*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :])
        for cut, chance in bpe_dropout(merged, merges, p).items():
            found[cut] += p**before * (1 - p) * chance  # type: ignore[assignment]
    return found


def unigram(word: str, scores: dict[str, float], alpha: float) -> dict[tuple[str, ...], float]:
    """Kudo 2018, §3.2: P(x)^α / Σ P(x')^α over every cut of the word."""

    def cuts(rest: str) -> Iterator[tuple[str, ...]]:
        if not rest:
            yield ()
        for end in range(1, len(rest) + 1):
            if rest[:end] in scores:
                yield from ((rest[:end], *more) for more in cuts(rest[end:]))

    weights = {cut: math.exp(alpha * sum(scores[piece] for piece in cut)) for cut in cuts(word)}
    return {cut: weight / sum(weights.values()) for cut, weight in weights.items()}


def compare(found: Counter[tuple[int, ...]], wanted: Any, field: TextField) -> None:
    total = 0.0
    for cut, chance in wanted.items():
        ids = tuple(field.pieces(range(field.size)).index(piece) for piece in cut)
        assert found[ids] / DRAWS == pytest.approx(chance, abs=5 * math.sqrt(chance / DRAWS) + 1e-9)
        total += found[ids]
    assert total == DRAWS
    assert len(wanted) > 5


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("word", ["▁lowest", "▁newer"])
def test_bpe_dropout(fields: dict[str, TextField], word: str, p: float) -> None:
    field = fields["bpe"]
    wanted = bpe_dropout(tuple(word), model(field)["merges"], p)
    assert sum(wanted.values()) == pytest.approx(1)
    compare(drawn(field, word, p), {cut: chance for cut, chance in wanted.items() if chance > 0}, field)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize("word", ["▁lowest", "▁newer"])
def test_unigram_sampling(fields: dict[str, TextField], word: str, alpha: float) -> None:
    field = fields["unigram"]
    scores = dict(model(field)["vocab"][len(SPECIALS) :])
    compare(drawn(field, word, alpha), unigram(word, scores, alpha), field)


@pytest.mark.parametrize(("kind", "certain"), [("bpe", 0.0), ("unigram", 1e7), ("letters", 0.0)])
def test_without_chance_it_is_the_tokenizer(fields: dict[str, TextField], kind: str, certain: float) -> None:
    """Unknown characters and spelled special tokens included."""
    field = fields[kind]
    for text in [*TEXTS, *ODD]:
        words = field.split(text)
        flat, counts = cutter(field, words, certain).cut(np.arange(len(words)), np.random.default_rng(1))
        assert [UNK if i < len(SPECIALS) else i for i in flat.tolist()] == field.encode(text)[:-1].tolist()
        assert len(counts) == len(words)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_words_stay_what_they_are(fields: dict[str, TextField], kind: str) -> None:
    field = fields[kind]
    words = field.split("the lowest newest snow widest")
    order = np.random.default_rng(5).integers(len(words), size=997)
    flat, counts = cutter(field, words, 0.3).cut(order, np.random.default_rng(7))
    for number, ids in zip(order, np.split(flat, counts.cumsum()[:-1]), strict=True):
        assert "".join(field.pieces(ids)) == words[number]


def test_the_same_random_numbers_cut_the_same(fields: dict[str, TextField]) -> None:
    for kind in ("bpe", "unigram"):
        made = cutter(fields[kind], ["▁lowest", "▁newest"], 0.2)
        words = np.arange(401) % 2
        first, second, third = (made.cut(words, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert first.flat.tolist() == second.flat.tolist()
        assert first.flat.tolist() != third.flat.tolist()


def test_nothing_to_cut(fields: dict[str, TextField]) -> None:
    for kind in ("bpe", "unigram"):
        flat, counts = cutter(fields[kind], [], 0.2).cut(np.arange(0), np.random.default_rng(1))
        assert (len(flat), len(counts)) == (0, 0)
