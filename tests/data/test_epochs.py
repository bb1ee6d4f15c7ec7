"""Epochs that differ: words cut anew, corpora mixed by weights. Each a function of (seed, epoch)."""

from collections import Counter

import numpy as np
import pytest

from suguk.data import epochs as epochs_module
from suguk.data.batch import Dataset, Side
from suguk.data.epochs import Cut, Epochs, Mix
from suguk.fields import EOS, TextField

TEXTS = ["the lowest newest snow", "", "low low lower", "newer <eos> ☃", "the slow snow is low"]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def field(request: pytest.FixtureRequest) -> TextField:
    return TextField.train(request.param, TEXTS * 3, 41)


def rows(dataset: Dataset, side: str = "source") -> list[list[int]]:
    batch = dataset.batch(np.arange(len(dataset)))
    lengths = getattr(batch, f"{side}_lengths")
    return [row[:length].tolist() for row, length in zip(getattr(batch, side), lengths, strict=True)]


def side(*numbers: int) -> Side:
    return Side.of([np.array([number, EOS], dtype=np.int32) for number in numbers])


class TestCutting:
    def test_every_epoch_has_the_texts_cut_in_another_way(self, field: TextField) -> None:
        epochs = Epochs(Cut(field, TEXTS, 0.3), side(*range(10, 15)), seed=1)
        found = [rows(epochs.epoch(number)) for number in range(7)]
        for epoch in found:
            for text, ids in zip(TEXTS, epoch, strict=True):
                assert ids[-1] == EOS
                assert EOS not in ids[:-1]
                if "☃" not in text:
                    assert field.decode(ids) == text
        assert len({str(epoch) for epoch in found}) == 7
        assert rows(epochs.epoch(3), "target") == [[number, EOS] for number in range(10, 15)]

    def test_an_epoch_is_a_function_of_seed_and_number(self, field: TextField) -> None:
        cut = Cut(field, TEXTS, 0.3)
        one, same, other = (Epochs(cut, cut, seed) for seed in (1, 1, 2))
        one.epoch(0)
        assert rows(one.epoch(5)) == rows(same.epoch(5))
        assert rows(one.epoch(5)) != rows(other.epoch(5))

    def test_both_sides_are_cut_by_their_own_chance(self, field: TextField) -> None:
        cut = Cut(field, TEXTS * 5, 0.3)
        found = Epochs(cut, cut, seed=1).epoch(0)
        assert rows(found) != rows(found, "target")

    def test_many_rows_are_cut_block_by_block(
        self, field: TextField, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(epochs_module, "BLOCK", 3)
        cut = Cut(field, TEXTS * 4, 0.3)
        for ids, text in zip(rows(Epochs(cut, cut, 1).epoch(0)), TEXTS * 4, strict=True):
            assert ids[-1] == EOS
            if "☃" not in text:
                assert field.decode(ids) == text

    def test_lengths_are_those_of_the_epoch(self, field: TextField) -> None:
        epochs = Epochs(Cut(field, TEXTS * 5, 0.5), side(*range(25)), seed=1)
        totals = set()
        for number in range(5):
            dataset = epochs.epoch(number)
            assert dataset.source_lengths.tolist() == [len(row) for row in rows(dataset)]
            totals.add(int(dataset.source_lengths.sum()))
        assert len(totals) > 1


class TestMixing:
    def mixed(self, *weights: float, sizes: tuple[int, ...] = (5, 7, 11)) -> Epochs:
        numbers = side(*range(100, 100 + sum(sizes)))
        return Epochs(numbers, numbers, seed=1, mix=Mix(sizes, weights))

    def seen(self, epochs: Epochs, number: int) -> Counter[int]:
        return Counter(ids[0] - 100 for ids in rows(epochs.epoch(number)))

    def test_whole_weights_repeat_every_pair(self) -> None:
        seen = self.seen(self.mixed(1, 2, 3), 4)
        assert [seen[row] for row in range(23)] == [1] * 5 + [2] * 7 + [3] * 11

    def test_fractions_are_drawn_without_replacement(self) -> None:
        epochs = self.mixed(0.4, 1, 1.5)
        found = [self.seen(epochs, number) for number in range(40)]
        for seen in found:
            assert sum(seen[row] for row in range(5)) == 2
            assert max(seen[row] for row in range(5)) == 1
            assert [seen[row] for row in range(5, 12)] == [1] * 7
            assert sum(seen[row] for row in range(12, 23)) == 16  # 11 × 1.5 = 16.5, to the even one
            assert {seen[row] for row in range(12, 23)} == {1, 2}
        assert len({str(sorted(seen.items())) for seen in found}) > 30
        assert set().union(*found) == set(range(23))  # in the long run every pair comes

    def test_pairs_stay_together(self) -> None:
        dataset = self.mixed(0.4, 2, 1.5).epoch(0)
        assert rows(dataset) == rows(dataset, "target")

    def test_a_little_of_something_is_not_nothing(self) -> None:
        assert Mix((5, 7), (1, 0.01)).counts == [5, 1]

    def test_a_pair_that_comes_twice_is_cut_twice(self, field: TextField) -> None:
        cut = Cut(field, ["the lowest newest snow"] * 3, 0.5)
        dataset = Epochs(cut, side(10, 11, 12), seed=1, mix=Mix((3,), (20.0,))).epoch(0)
        found = [str(row) for row in rows(dataset)]
        assert len(found) == 60
        assert len(set(found)) > 3
        assert all(field.decode(row) == "the lowest newest snow" for row in rows(dataset))

    def test_rows_that_are_cut_are_the_rows_that_were_drawn(self, field: TextField) -> None:
        cut = Cut(field, TEXTS, 0.3)
        epochs = Epochs(cut, side(*range(10, 15)), seed=1, mix=Mix((2, 3), (1.5, 0.7)))
        for number in range(5):
            dataset = epochs.epoch(number)
            for ids, (row, _) in zip(rows(dataset), rows(dataset, "target"), strict=True):
                if "☃" not in TEXTS[row - 10]:
                    assert field.decode(ids) == TEXTS[row - 10]
            assert (dataset.pairs(np.arange(len(dataset))) + 10).tolist() == [
                row for row, _ in rows(dataset, "target")
            ]
