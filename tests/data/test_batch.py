"""Batches: every pair once, within the budget, nearly no padding, the same order for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from suguk.data.batch import Dataset, Sampler

Lengths = list[tuple[int, int]]
LENGTHS: st.SearchStrategy[Lengths] = st.lists(
    st.tuples(st.integers(1, 43), st.integers(1, 43)), min_size=1, max_size=101
)
SEEDS = st.integers(0, 2**31 - 1)


def ids(*rows: list[int]) -> list[NDArray[np.int32]]:
    return [np.array(row, dtype=np.int32) for row in rows]


def sampler(lengths: Lengths, budget: int, seed: int = 1) -> Sampler:
    return Sampler([s for s, _ in lengths], [t for _, t in lengths], budget, seed)


def caption_lengths(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths like those of Multi30k in subwords: means near 14, correlation near 0.86."""
    random = np.random.default_rng(3)
    source = np.clip(random.lognormal(2.55, 0.32, count), 4, 45)
    target = np.clip(source * random.normal(1.03, 0.17, count), 3, 47)
    return source.round().astype(np.int64), target.round().astype(np.int64)


class TestDataset:
    data = Dataset(ids([5, 7, 3], [11, 3], [3]), ids([3], [13, 17, 19, 23, 3], [29, 3]))

    def test_lengths_count_the_end_of_sentence(self) -> None:
        assert len(self.data) == 3
        assert self.data.source_lengths.tolist() == [3, 2, 1]
        assert self.data.target_lengths.tolist() == [1, 5, 2]

    def test_a_batch_is_padded_with_zeros_in_the_order_asked_for(self) -> None:
        batch = self.data.batch(np.array([2, 0]))
        assert batch.source.tolist() == [[3, 0, 0], [5, 7, 3]]
        assert batch.source_lengths.tolist() == [1, 3]
        assert batch.target.tolist() == [[29, 3], [3, 0]]
        assert batch.target_lengths.tolist() == [2, 1]
        assert batch.rows.tolist() == [2, 0]
        assert {array.dtype for array in batch[:5]} == {np.dtype(np.int64)}

    def test_no_rows_make_an_empty_batch(self) -> None:
        batch = self.data.batch(np.array([], dtype=np.int64))
        assert batch.source.shape == batch.target.shape == (0, 0)

    @given(st.lists(st.lists(st.integers(4, 97), max_size=11), min_size=1, max_size=13), st.data())
    def test_what_goes_in_comes_out(self, rows: list[list[int]], data: st.DataObject) -> None:
        made = Dataset(ids(*([*row, 3] for row in rows)), ids(*([*row[::-1], 3] for row in rows)))
        wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=7))
        batch = made.batch(np.array(wanted, dtype=np.int64))
        for k, row in enumerate(wanted):
            assert batch.source[k, : batch.source_lengths[k]].tolist() == [*rows[row], 3]
            assert batch.target[k, : batch.target_lengths[k]].tolist() == [*rows[row][::-1], 3]
            assert not batch.source[k, batch.source_lengths[k] :].any()


class TestSampler:
    @given(LENGTHS, st.integers(1, 211), SEEDS, st.integers(0, 5))
    def test_every_row_comes_exactly_once(self, lengths: Lengths, budget: int, seed: int, epoch: int) -> None:
        rows = np.concatenate(sampler(lengths, budget, seed).epoch(epoch))
        assert sorted(rows.tolist()) == list(range(len(lengths)))

    @given(LENGTHS, st.integers(1, 211), SEEDS)
    def test_the_budget_is_kept_but_by_a_single_long_pair(
        self, lengths: Lengths, budget: int, seed: int
    ) -> None:
        for rows in sampler(lengths, budget, seed).epoch(0):
            widest = max(max(lengths[row]) for row in rows)
            assert len(rows) * widest <= budget or len(rows) == 1

    @given(LENGTHS, st.integers(1, 211), st.integers(1, 17), SEEDS)
    def test_no_batch_has_more_rows_than_asked(
        self, lengths: Lengths, budget: int, most: int, seed: int
    ) -> None:
        source, target = ([pair[side] for pair in lengths] for side in range(2))
        batches = Sampler(source, target, budget, seed, batch_sentences=most).epoch(0)
        assert max(map(len, batches)) <= most
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))

    @given(LENGTHS, st.integers(1, 211), SEEDS)
    def test_no_row_of_the_next_width_would_have_fitted(
        self, lengths: Lengths, budget: int, seed: int
    ) -> None:
        batches = sampler(lengths, budget, seed).epoch(0)
        spans = sorted((max(max(lengths[row]) for row in rows), len(rows)) for rows in batches)
        assert all(width * (count + 1) > budget for width, count in spans if width < spans[0][0])

    @given(LENGTHS, SEEDS, st.integers(0, 3))
    def test_the_order_is_a_function_of_seed_and_epoch(self, lengths: Lengths, seed: int, epoch: int) -> None:
        used = sampler(lengths, 53, seed)
        used.epoch(epoch + 1)
        fresh = sampler(lengths, 53, seed)
        assert [r.tolist() for r in used.epoch(epoch)] == [r.tolist() for r in fresh.epoch(epoch)]

    def test_epochs_and_seeds_differ(self) -> None:
        source, target = caption_lengths(307)
        orders = [
            [rows.tolist() for rows in Sampler(source, target, 211, seed).epoch(epoch)]
            for seed, epoch in [(1, 0), (1, 1), (2, 0)]
        ]
        assert orders[0] != orders[1]
        assert orders[0] != orders[2]
        assert sorted(map(sorted, orders[0])) != sorted(map(sorted, orders[1])), "the same batches reshuffled"

    def test_nothing_makes_no_batches(self) -> None:
        assert sampler([], 11).epoch(0) == []
        assert sampler([], 11).padding == 0.0


class TestPadding:
    def test_it_is_counted_over_both_sides(self) -> None:
        # One batch of 3 rows: 3 × (5 + 7) positions, 2 + 3 + 5 + 7 + 5 + 3 of them real.
        assert sampler([(2, 7), (3, 5), (5, 3)], 97).padding == pytest.approx(1 - 25 / 36)

    def test_equal_lengths_need_none(self) -> None:
        assert sampler([(5, 7)] * 13, 23).padding == 0.0

    def test_captions_waste_less_than_two_in_a_hundred(self) -> None:
        source, target = caption_lengths(29_000)
        assert Sampler(source, target, 1024, 1).padding < 0.02

    @given(LENGTHS, st.integers(1, 211))
    def test_it_is_a_share(self, lengths: Lengths, budget: int) -> None:
        assert 0 <= sampler(lengths, budget).padding < 1
