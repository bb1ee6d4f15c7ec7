"""The search on toy tables, against brute force and an independent greedy loop."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from suguk.search import Found, Ranking, search, select
from tests.search.toys import EOS, PAD, SOS, UNK, Seen, Toy, tables

ALPHAS = [0.0, 0.6, 1.0, 2.5]


def found(table: Tensor, limits: list[int], beam: int, alpha: float = 0.0, penalty: str = "wu") -> Found:
    frame = torch.zeros(beam, max(limits), dtype=torch.float64)
    ranking = Ranking(alpha, offset=5.0 if penalty == "wu" else 0.0)
    return search(Toy(), table, torch.tensor(limits), frame, ranking=ranking)


def forced(table: Tensor, row: int, words: tuple[int, ...]) -> list[float]:
    """log p of each word, one at a time."""
    toy, memory = Toy(), table[row : row + 1]
    state, token, scores = toy.start(memory), SOS, []
    for word in words:
        log_probs, state, _ = toy.step(torch.tensor([[token]]), state, memory)
        scores.append(float(log_probs[0, 0, word]))
        token = word
    return scores


def penalised(log_prob: float, length: int, alpha: float, penalty: str) -> float:
    """Wu et al. 2016, eq. 14, or a power of the length."""
    return log_prob / math.pow((5 + length) / 6 if penalty == "wu" else length, alpha)


class Output(NamedTuple):
    words: tuple[int, ...]
    score: float
    finished: bool


def brute_force(table: Tensor, row: int, limit: int, alpha: float, penalty: str) -> list[Output]:
    """Every output there is, finished ones by score and then those that the limit cuts."""
    words = [word for word in range(table.shape[-1]) if word not in (PAD, SOS, EOS)]
    outputs = []
    for length in range(1, limit + 1):
        for body in itertools.product(words, repeat=length - 1):
            ends = [(*body, EOS)] + ([(*body, word) for word in words] if length == limit else [])
            for output in ends:
                score = penalised(sum(forced(table, row, output)), length, alpha, penalty)
                outputs.append(Output(output, score, output[-1] == EOS))
    return sorted(outputs, key=lambda output: (not output.finished, -output.score))


def outputs(result: Found, row: int) -> list[Output]:
    """What was found, empty seats left out."""
    hypotheses = []
    for seat in range(result.tokens.shape[1]):
        if result.log_probs[row, seat] > -torch.inf:
            length = int(result.lengths[row, seat])
            words = tuple(result.tokens[row, seat, :length].tolist())
            finished = bool(result.finished[row, seat])
            hypotheses.append(Output(words, float(result.scores[row, seat]), finished))
    return hypotheses


def same(found: list[Output], wanted: list[Output]) -> None:
    """Scores to the float32 of the length penalty."""
    assert [(o.words, o.finished) for o in found] == [(o.words, o.finished) for o in wanted]
    assert [o.score for o in found] == pytest.approx([o.score for o in wanted], rel=1e-6)


def consistent(result: Found, table: Tensor, limits: list[int], alpha: float, penalty: str) -> None:
    """What holds for every search: order, no duplicates, true scores, clean padding."""
    for row, limit in enumerate(limits):
        hypotheses = outputs(result, row)
        assert hypotheses
        assert hypotheses == sorted(hypotheses, key=lambda output: (not output.finished, -output.score))
        assert len({output.words for output in hypotheses}) == len(hypotheses)
        assert (result.log_probs[row, len(hypotheses) :] == -torch.inf).all()  # empty seats come last
        assert not result.finished[row, len(hypotheses) :].any()
        for seat, (words, score, finished) in enumerate(hypotheses):
            length = len(words)
            assert 1 <= length <= limit
            assert finished == (words[-1] == EOS)
            assert finished or length == limit
            assert not {PAD, SOS} & set(words)
            assert EOS not in words[:-1]
            wanted = forced(table, row, words)
            assert result.token_scores[row, seat, :length].tolist() == pytest.approx(wanted, abs=1e-9)
            assert (result.token_scores[row, seat, length:] == 0).all()
            assert (result.tokens[row, seat, length:] == PAD).all()
            assert float(result.log_probs[row, seat]) == pytest.approx(sum(wanted), abs=1e-9)
            assert score == pytest.approx(penalised(sum(wanted), length, alpha, penalty), rel=1e-6)


@pytest.mark.parametrize("penalty", ["wu", "average"])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_beam_as_wide_as_the_space_is_brute_force(alpha: float, penalty: str) -> None:
    limits = [4, 1, 3]
    table = tables(3, 6, seed=1)
    space = [brute_force(table, row, limit, alpha, penalty) for row, limit in enumerate(limits)]
    result = found(table, limits, max(map(len, space)) + 5, alpha, penalty)
    consistent(result, table, limits, alpha, penalty)
    for row, wanted in enumerate(space):
        same(outputs(result, row), wanted)


def greedy(table: Tensor, row: int, limit: int) -> tuple[int, ...]:
    words: list[int] = []
    while len(words) < limit and EOS not in words:
        last, before = ([SOS, *words])[-1], ([0, SOS, *words])[-2]
        chances = table[row, len(words) % 2, before, last].tolist()
        chances[PAD] = chances[SOS] = -math.inf
        words.append(max(range(len(chances)), key=chances.__getitem__))
    return tuple(words)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(5))
def test_beam_one_is_greedy(seed: int, alpha: float) -> None:
    limits = [11, 1, 7, 2]
    table = tables(4, 7, seed)
    result = found(table, limits, 1, alpha)
    consistent(result, table, limits, alpha, "wu")
    for row, limit in enumerate(limits):
        assert outputs(result, row)[0].words == greedy(table, row, limit)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.integers(5, 9),
    beam=st.integers(1, 13),
    limits=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    alpha=st.sampled_from(ALPHAS),
    penalty=st.sampled_from(["wu", "average"]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_every_search_is_consistent_and_rows_are_alone(
    seed: int, vocabulary: int, beam: int, limits: list[int], alpha: float, penalty: str, scale: float
) -> None:
    table = tables(len(limits), vocabulary, seed, scale)
    result = found(table, limits, beam, alpha, penalty)
    consistent(result, table, limits, alpha, penalty)
    for row, limit in enumerate(limits):
        alone = found(table[row : row + 1], [limit], beam, alpha, penalty)
        same(outputs(alone, 0), outputs(result, row))
    turned = found(table.flip(0), limits[::-1], beam, alpha, penalty)
    for row in range(len(limits)):
        same(outputs(turned, len(limits) - 1 - row), outputs(result, row))


def test_an_empty_seat_is_last_whatever_it_came_from() -> None:
    """Seven seats for six words, in a row that has ended while another goes on."""
    table, limits = tables(2, 8, 0, 0.1), [1, 2]
    result = found(table, limits, 7)
    consistent(result, table, limits, 0.0, "wu")
    assert len(outputs(result, 0)) == 6
    assert not result.tokens[0, 6].any()
    assert not result.lengths[0, 6]


@pytest.mark.parametrize("beam", [1, 2, 7, 50])
def test_limits_of_one(beam: int) -> None:
    """Fewer outputs than seats: empty seats stay behind real ones, finished or not."""
    table = tables(2, 6, seed=3)
    result = found(table, [1, 1], beam, 1.0)
    consistent(result, table, [1, 1], 1.0, "wu")
    assert len(outputs(result, 0)) == min(beam, 4)


@pytest.mark.parametrize("beam", [1, 3])
def test_rows_that_are_done_are_put_aside(beam: int) -> None:
    """Many rows that end at different steps, each as it is alone; later steps see fewer of them."""
    seen = []

    class Counting(Toy):
        def step(self, token: Tensor, state: Seen, memory: Tensor) -> tuple[Tensor, Seen, Tensor]:
            seen.append(len(token))
            return super().step(token, state, memory)

    limits = [1 + row % 11 for row in range(29)]
    table = tables(29, 6, seed=21, scale=2.0)
    frame = torch.zeros(beam, 11, dtype=torch.float64)
    result = search(Counting(), table, torch.tensor(limits), frame, ranking=Ranking(0.0))
    consistent(result, table, limits, 0.0, "wu")
    for row, limit in enumerate(limits):
        same(outputs(found(table[row : row + 1], [limit], beam), 0), outputs(result, row))
    assert seen[0] == 29
    assert seen[-1] < 15


def test_a_word_that_cannot_be_is_never_found() -> None:
    table = tables(1, 6, seed=4)
    table[..., 4:] = -torch.inf
    table[..., EOS] = -torch.inf
    result = found(table, [3], 5)
    assert [output.words for output in outputs(result, 0)] == [(UNK, UNK, UNK)]
    consistent(result, table, [3], 0.0, "wu")


def test_a_better_output_may_be_longer() -> None:
    """With alpha = 0 the short one wins, with a penalty the long one."""
    table = torch.full((1, 2, 6, 6, 6), -20.0, dtype=torch.float64)
    table[0, 0, 0, SOS, EOS], table[0, 0, 0, SOS, 4] = -1.0, -0.6
    table[0, 1, SOS, 4, 4] = -0.3
    table[0, 0, 4, 4, EOS] = -0.3
    assert outputs(found(table, [5], 3), 0)[0].words == (EOS,)
    assert outputs(found(table, [5], 3, 1.0), 0)[0].words == (4, 4, EOS)


def test_the_search_stops_when_everything_is_finished() -> None:
    calls = 0

    class Counting(Toy):
        def step(self, token: Tensor, state: Seen, memory: Tensor) -> tuple[Tensor, Seen, Tensor]:
            nonlocal calls
            calls += 1
            return super().step(token, state, memory)

    table = torch.full((2, 2, 6, 6, 6), -50.0, dtype=torch.float64)
    table[..., EOS] = 0.0
    search(Counting(), table, torch.tensor([999, 999]), torch.zeros(1, 999, dtype=torch.float64))
    assert calls == 1


@pytest.mark.parametrize("beam", [1, 4])
def test_the_trace_follows_its_hypothesis(beam: int) -> None:
    limits = [5, 2, 4]
    table = tables(3, 6, seed=9)
    frame = torch.zeros(beam, 5, dtype=torch.float64)
    trace = torch.zeros(3, 2, dtype=torch.float64)
    result = search(Toy(), table, torch.tensor(limits), frame, trace=trace)
    plain = found(table, limits, beam)
    assert torch.equal(result.tokens, plain.tokens)
    assert result.weights.shape == (3, beam, 3, 2)
    assert plain.weights.shape[2] == 0
    for row, seat in itertools.product(range(3), range(beam)):
        length = int(result.lengths[row, seat])
        fed = [SOS, *result.tokens[row, seat].tolist()]
        wanted = [[fed[t], t] if t < length else [0, 0] for t in range(3)]
        assert result.weights[row, seat].tolist() == wanted


@pytest.mark.parametrize("beam", [1, 3])
def test_outputs_begin_with_what_is_asked_for(beam: int) -> None:
    limits = [4, 3, 4]
    table = tables(3, 6, seed=11)
    prefix = torch.tensor([[5, 4, -1], [4, EOS, -1], [-1, -1, -1]])
    frame = torch.zeros(beam, 4, dtype=torch.float64)
    result = search(Toy(), table, torch.tensor(limits), frame, prefix=prefix)
    consistent(result, table, limits, 0.0, "wu")
    assert all(output.words[:2] == (5, 4) for output in outputs(result, 0))
    assert [output.words for output in outputs(result, 1)] == [(4, EOS)]
    same(outputs(result, 2), outputs(found(table, limits, beam), 2))
    if beam > 1:  # of the hypotheses that begin so, the best ones
        space = [o for o in brute_force(table, 0, 4, 0.0, "wu") if o.words[:2] == (5, 4)]
        wide = search(Toy(), table[:1], torch.tensor([4]), frame.new_zeros(len(space), 4), prefix=prefix[:1])
        same(outputs(wide, 0), space)


def test_a_large_vocabulary_is_searched_as_a_small_one() -> None:
    """More words than `WIDEST`, where only the best few of each hypothesis are looked at."""
    few = tables(2, 6, seed=13)
    many = few.new_full((2, 2, 6, 6, 1100), -60.0)
    many[..., :6] = few
    for beam in (1, 4):
        limits, frame = torch.tensor([4, 3]), torch.zeros(beam, 4, dtype=torch.float64)
        small, large = (search(Toy(), table, limits, frame) for table in (few, many))
        assert torch.equal(small.tokens, large.tokens)
        assert torch.equal(small.log_probs, large.log_probs)


def test_select_takes_rows_of_every_tensor() -> None:
    deep, flat = torch.arange(12).view(2, 3, 2), torch.arange(6).view(2, 3)
    state = {"a": deep, "b": (flat,)}
    rows = torch.tensor([[2, 0, 0, 1], [1, 1, 2, 0]])
    picked = select(state, rows)
    for b, k in itertools.product(range(2), range(4)):
        assert torch.equal(picked["a"][b, k], deep[b, rows[b, k]])
        assert picked["b"][0][b, k] == flat[b, rows[b, k]]
