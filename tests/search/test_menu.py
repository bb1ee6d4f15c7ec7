"""All that may be asked of a search, against a beam search of lists and loops."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suguk import asking
from suguk.search import Found, Menu, Ranking, search
from suguk.search import menu as module
from tests.search.toys import EOS, PAD, SOS, UNK, Toy, tables

Phrase = tuple[int, ...]


@dataclass
class Wanted:
    """What is asked for one row."""

    limit: int
    prefix: Phrase = ()
    banned: tuple[Phrase, ...] = ()
    required: tuple[Phrase, ...] = ()
    shortest: int = 1
    ngram: int = 0
    others: list[list[int]] = field(default_factory=list)  # words of each step
    diversity: float = 0.0


@dataclass(frozen=True)
class Candidate:
    words: Phrase
    log_prob: float
    key: float = 0.0
    bank: int = 0


def log_p(table: Tensor, row: int, words: Phrase) -> list[float]:
    before, last = ([0, SOS, *words])[-2:]
    found: list[float] = table[row, len(words) % 2, before, last].tolist()
    return found


def holds(words: Phrase, phrase: Phrase) -> bool:
    return any(words[i : i + len(phrase)] == phrase for i in range(len(words) - len(phrase) + 1))


def so_far(words: Phrase, phrase: Phrase) -> int:
    """How many first tokens of the phrase were just said."""
    return max(n for n in range(len(phrase)) if n <= len(words) and words[len(words) - n :] == phrase[:n])


def may_follow(words: Phrase, word: int, wanted: Wanted) -> bool:
    new = (*words, word)
    if len(words) < len(wanted.prefix):
        return word == wanted.prefix[len(words)]
    if word in (PAD, SOS) or (word == EOS and len(new) < wanted.shortest):
        return False
    if word == EOS and not all(holds(words, phrase) for phrase in wanted.required):
        return False
    if any(new[-len(phrase) :] == phrase for phrase in wanted.banned):
        return False
    size = wanted.ngram
    return not size or len(new) < size or not holds(words, new[-size:])


def extensions(table: Tensor, row: int, one: Candidate, wanted: Wanted) -> list[Candidate]:
    met = sum(len(phrase) for phrase in wanted.required if holds(one.words, phrase))
    unmet = [phrase for phrase in wanted.required if not holds(one.words, phrase)]
    follows: dict[int, int] = {}  # of several phrases that a word goes on with, the one that is furthest
    for phrase in unmet:
        done = so_far(one.words, phrase)
        follows[phrase[done]] = max(follows.get(phrase[done], 0), met + done + 1)
    step, found = len(one.words), []
    for word, gain in enumerate(log_p(table, row, one.words)):
        if may_follow(one.words, word, wanted):
            total = one.log_prob + gain
            cost = wanted.diversity * sum(words[step] == word for words in wanted.others)
            found.append(Candidate((*one.words, word), total, total - cost, follows.get(word, met)))
    return found


def reference(table: Tensor, row: int, seats: int, wanted: Wanted) -> list[Candidate]:
    """Beam search of one row; finished hypotheses first, each group by log probability."""
    ended: list[Candidate] = []
    live = [Candidate((), 0.0)]
    for _ in range(wanted.limit):
        candidates = [new for one in live for new in extensions(table, row, one, wanted)]
        candidates.sort(key=lambda new: -new.key)
        ranks: dict[int, int] = {}
        order = []
        for new in candidates:
            ranks[new.bank] = ranks.get(new.bank, 0) + 1
            order.append((ranks[new.bank], -new.bank, new))
        order.sort(key=lambda found: found[:2])
        taken = [new for _, _, new in order][: seats - len(ended)]
        ended += [new for new in taken if new.words[-1] == EOS]
        live = [new for new in taken if new.words[-1] != EOS]
    return [*sorted(ended, key=lambda one: -one.log_prob), *sorted(live, key=lambda one: -one.log_prob)]


def menu(frame: Tensor, rows: list[Wanted], *, keep: bool = False) -> tuple[Menu, Tensor]:
    longest = frame.shape[1]
    others = [one.others for one in rows]
    asked: dict[str, Any] = {
        "shortest": torch.tensor(rows[0].shortest),
        "banned": torch.from_numpy(asking.phrases([one.banned for one in rows], right=True)),
        "required": torch.from_numpy(asking.phrases([one.required for one in rows], right=False)),
        "repeat": torch.zeros(longest if rows[0].ngram else 0, max(rows[0].ngram, 1), dtype=torch.long),
        "diversity": torch.tensor(rows[0].diversity),
    }
    if keep:
        asked["others"] = torch.tensor(others, dtype=torch.long).reshape(len(rows), -1, longest)
    prefix = torch.from_numpy(asking.prefixes([one.prefix for one in rows]))
    return Menu.nothing(frame)._replace(**asked), prefix


def run(table: Tensor, seats: int, rows: list[Wanted], *, keep: bool = False) -> Found:
    longest = max(one.limit for one in rows)
    frame = torch.zeros(seats, longest, dtype=torch.float64)
    wishes, prefix = menu(frame, rows, keep=keep)
    limits = torch.tensor([one.limit for one in rows])
    ranking = Ranking(alpha=0.0)
    return search(Toy(), table, limits, frame, prefix=prefix, wishes=wishes, ranking=ranking)


def listed(found: Found, row: int) -> list[Candidate]:
    hypotheses = []
    for seat in range(found.tokens.shape[1]):
        if found.log_probs[row, seat] > -torch.inf:
            words = found.tokens[row, seat, : int(found.lengths[row, seat])].tolist()
            hypotheses.append(Candidate(tuple(words), float(found.log_probs[row, seat])))
            scores = found.token_scores[row, seat].sum()
            assert float(scores) == pytest.approx(float(found.log_probs[row, seat]), abs=1e-9)
    return hypotheses


def same(found: list[Candidate], wanted: list[Candidate]) -> None:
    assert [one.words for one in found] == [one.words for one in wanted]
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in wanted])


words = st.integers(4, 6)
phrase = st.lists(words, min_size=1, max_size=3).map(tuple)


@st.composite
def wishes(draw: st.DrawFn) -> list[Wanted]:
    shortest, ngram = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    return [
        Wanted(
            limit=draw(st.integers(1, 6)),
            prefix=tuple(draw(st.lists(words, max_size=2))),
            banned=tuple(draw(st.lists(phrase, max_size=2))),
            required=tuple(draw(st.lists(phrase, max_size=2))),
            shortest=shortest,
            ngram=ngram,
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


@settings(max_examples=150, deadline=None)
@given(rows=wishes(), seed=st.integers(0, 10**6), seats=st.integers(1, 9), vocabulary=st.integers(7, 9))
def test_every_wish_is_the_beam_search_of_loops(
    rows: list[Wanted], seed: int, seats: int, vocabulary: int
) -> None:
    table = tables(len(rows), vocabulary, seed)
    found = run(table, seats, rows)
    for row, wanted in enumerate(rows):
        same(listed(found, row), reference(table, row, seats, wanted))
        for one in listed(found, row):
            if one.words[-1] == EOS and len(one.words) > len(wanted.prefix):
                assert all(holds(one.words, phrase) for phrase in wanted.required)


def test_the_order_of_required_phrases_is_no_matter() -> None:
    """A word that goes on with two of them counts for the one that is furthest."""
    phrases = (4, 5), (6, 7, 4, 8)
    for seed in range(20):
        one, other = (
            run(tables(1, 9, seed), 7, [Wanted(8, required=asked)]) for asked in (phrases, phrases[::-1])
        )
        assert listed(one, 0) == listed(other, 0)


def test_a_large_vocabulary_is_searched_as_a_small_one() -> None:
    few = tables(2, 7, seed=13)
    many = few.new_full((2, 2, 7, 7, 1100), -torch.inf)
    many[..., :7] = few
    rows = [
        Wanted(5, required=((4, 5),), ngram=2, shortest=3),
        Wanted(4, banned=((5,), (4, 6)), ngram=2, shortest=3),
    ]
    small, large = (run(table, 4, rows) for table in (few, many))
    assert torch.equal(small.tokens, large.tokens)
    assert torch.equal(small.log_probs, large.log_probs)


def test_groups_avoid_what_groups_before_them_said() -> None:
    """Group after group, each told what those before said at every step, is groups side by side (the paper's order)."""
    table, groups, seats, limit = tables(2, 8, seed=5), 3, 2, 5
    rows = [Wanted(limit, diversity=0.7) for _ in range(2)]
    found = []
    for _ in range(groups):
        found.append(run(table, seats, rows, keep=True))
        for row, wanted in enumerate(rows):
            wanted.others += found[-1].said[row].tolist()
    for row in range(2):
        for group, right in enumerate(side_by_side(table, row, groups, seats, limit, 0.7)):
            same(listed(found[group], row), right)
    assert len({one.words for part in found for one in listed(part, 0)}) > seats


def side_by_side(
    table: Tensor, row: int, groups: int, seats: int, limit: int, diversity: float
) -> list[list[Candidate]]:
    """Vijayakumar et al. 2016, algorithm 1, with the Hamming diversity."""
    live: list[list[Candidate]] = [[Candidate((), 0.0)] for _ in range(groups)]
    ended: list[list[Candidate]] = [[] for _ in range(groups)]
    for _ in range(limit):
        said: list[int] = []
        for group in range(groups):
            plain = Wanted(limit)
            candidates = [new for one in live[group] for new in extensions(table, row, one, plain)]
            candidates.sort(key=lambda new: -(new.log_prob - diversity * said.count(new.words[-1])))
            taken = candidates[: seats - len(ended[group])]
            said += [new.words[-1] for new in taken]
            ended[group] += [new for new in taken if new.words[-1] == EOS]
            live[group] = [new for new in taken if new.words[-1] != EOS]
    return [
        [*sorted(ended[g], key=lambda o: -o.log_prob), *sorted(live[g], key=lambda o: -o.log_prob)]
        for g in range(groups)
    ]


def sampled(table: Tensor, draws: Tensor, limits: list[int], **how: Any) -> Found:
    frame = torch.zeros(draws.shape[1], draws.shape[2], dtype=torch.float64)
    wishes = Menu.nothing(frame)._replace(draws=draws, **how)
    return search(Toy(), table, torch.tensor(limits), frame, wishes=wishes, ranking=Ranking(alpha=0.0))


@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"), [(0, 1.0, 1.0), (2, 1.0, 0.5), (0, 0.6, 2.0), (3, 0.8, 1.0)]
)
def test_samples_are_what_the_draws_choose(top_k: int, top_p: float, temperature: float) -> None:
    table, limits = tables(3, 8, seed=3), [5, 2, 4]
    generator = torch.Generator().manual_seed(1)
    draws = torch.rand(3, 6, 5, generator=generator)
    choices = torch.zeros(top_k or (8 if top_p < 1 else 0), dtype=torch.long)
    how = {"choices": choices, "top_p": torch.tensor(top_p), "temperature": torch.tensor(temperature)}
    found = sampled(table, draws, limits, **how)
    for row in range(3):
        wanted = []
        for seat in range(6):
            words: Phrase = ()
            total = 0.0
            while len(words) < limits[row] and EOS not in words:
                gains = log_p(table, row, words)
                word = chosen(gains, float(draws[row, seat, len(words)]), top_k, top_p, temperature)
                words, total = (*words, word), total + gains[word]
            wanted.append(Candidate(words, total))
        wanted.sort(key=lambda one: (one.words[-1] != EOS, -one.log_prob))
        assert sorted(one.words for one in listed(found, row)) == sorted(one.words for one in wanted)
        assert [one.log_prob for one in listed(found, row)] == pytest.approx([one.log_prob for one in wanted])


def chosen(gains: list[float], draw: float, top_k: int, top_p: float, temperature: float) -> int:
    chances = {w: math.exp(g / temperature) for w, g in enumerate(gains) if w not in (PAD, SOS)}
    total = sum(chances.values())
    kept, mass = [], 0.0
    for word in sorted(chances, key=lambda w: -chances[w])[: top_k or None]:
        if mass / total < top_p:
            kept.append(word)
        mass += chances[word]
    return max(kept, key=lambda word: chances[word] / -math.log(uniform(draw, word)))


def uniform(draw: float, word: int) -> float:
    """What a draw is for a word, in whole numbers of any size."""
    prime, mixed = 2**31 - 1, word + 1
    for _ in range(2):
        mixed = pow(mixed * 1_588_635_695 + 1_013_904_223, 5, prime)
    return (math.floor(draw * 2**24) + 1) * mixed % prime / prime


def test_samples_follow_the_model() -> None:
    """Shares of first words among many samples, within five standard errors."""
    table, seats = tables(1, 7, seed=9), 1024
    sources = np.array([[5, 3]])
    draws = torch.from_numpy(asking.draws(sources, 1, seats, 2))
    first = sampled(table, draws, [2]).tokens[0, :, 0].tolist()
    chances = table[0, 0, 0, SOS].exp()
    chances[[PAD, SOS]] = 0
    chances /= chances.sum()
    for word, chance in enumerate(chances.tolist()):
        assert first.count(word) / seats == pytest.approx(chance, abs=5 * math.sqrt(chance / seats) + 1e-9)


def test_many_words_come_as_often_as_they_should() -> None:
    """χ² of 100,000 draws among 3,000 words, within five standard deviations of its expectation."""
    generator, count = torch.Generator().manual_seed(11), 100_000
    chances = torch.randn(3000, generator=generator).softmax(0)
    found = torch.zeros(3000)
    for draws in torch.rand(50, count // 50, 1, 1, generator=generator):
        races = chances / -module._uniform(draws, chances).log().float()
        found += torch.bincount(races.argmax(2).flatten(), minlength=3000)
    expected = chances * count
    freedom = 2999
    assert float(((found - expected) ** 2 / expected).sum()) == pytest.approx(
        freedom, abs=5 * math.sqrt(2 * freedom)
    )


def test_what_engines_round_otherwise_hardly_matters() -> None:
    """Probabilities that differ in their last digits choose the same words, but for one of 20,000 at most."""
    generator = torch.Generator().manual_seed(2)
    log_p = torch.randn(1, 1, 8000, generator=generator).log_softmax(2)
    near = log_p + 1e-6 * torch.randn(1, 1, 8000, generator=generator)
    draws = torch.rand(1, 1000, 20, generator=generator)
    frame = torch.zeros(1000, 20)
    wishes = Menu.nothing(frame)._replace(draws=draws)
    both = [
        torch.stack(
            [module.sampled(one.expand(1, 1000, 8000), torch.tensor(step), wishes)[0] for step in range(20)]
        )
        for one in (log_p, near)
    ]
    assert int((both[0] != both[1]).sum()) <= 1


def test_draws_do_not_depend_on_neighbours() -> None:
    together = asking.draws(np.array([[5, 3, 0], [4, 4, 3]]), 7, 3, 9)
    alone = asking.draws(np.array([[5, 3]]), 7, 3, 4)
    assert np.array_equal(together[:1, :, :4], alone)
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(asking.draws(np.array([[5, 3]]), 8, 3, 4), alone)
    assert together.max() < 1
    assert asking.GRID == module.GRID


@pytest.mark.parametrize("seats", [1, 4])
def test_coverage_orders_the_end_result(seats: int) -> None:
    """Against Wu et al. 2016, eq. 14, with what stands for attention."""
    table, limits = tables(2, 7, seed=2), [4, 3]
    frame = torch.zeros(seats, 4, dtype=torch.float64)
    real = torch.tensor([[True, True], [True, False]])
    trace = torch.zeros(4, 2, dtype=torch.float64)

    class Looking(Toy):
        def step(self, token: Tensor, state: Any, memory: Tensor) -> tuple[Tensor, Any, Tensor]:
            log_probs, state, looked = super().step(token, state, memory)
            return log_probs, state, looked / 9

    found = search(
        Looking(), table, torch.tensor(limits), frame, trace=trace, ranking=Ranking(1.0, 5.0, 0.4, real)
    )
    for row, seat in itertools.product(range(2), range(seats)):
        covered = found.weights[row, seat].sum(0).clamp(1e-9, 1).log()[real[row]].sum()
        length = int(found.lengths[row, seat])
        wanted = float(found.log_probs[row, seat]) / ((5 + length) / 6) + 0.4 * float(covered)
        assert float(found.scores[row, seat]) == pytest.approx(wanted, rel=1e-6)
    for row in range(2):
        ended = found.scores[row][found.finished[row]].tolist()
        assert ended == sorted(ended, reverse=True)


def test_nothing_asked_for_is_a_plain_search() -> None:
    """The menu's loop, run for a wish that changes nothing, finds what the plain loops find."""
    table = tables(3, 7, seed=8)
    rows = [Wanted(limit, banned=((PAD,),)) for limit in (5, 2, 4)]
    for seats in (1, 4):
        plain = search(
            Toy(),
            table,
            torch.tensor([5, 2, 4]),
            torch.zeros(seats, 5, dtype=torch.float64),
            ranking=Ranking(0.0),
        )
        for part, other in zip(run(table, seats, rows)[:-1], plain[:-1], strict=True):
            torch.testing.assert_close(part, other)
    assert UNK in plain.tokens
