"""The default validation split: disjoint by source, of the right size, a function of texts and seed."""

from array import array
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suguk.data.read import Pairs
from suguk.data.split import as_read, split
from suguk.data.texts import Texts
from suguk.errors import DataError

SOURCES = st.lists(st.text(max_size=3), min_size=2, max_size=53).filter(lambda texts: len(read(texts)) > 1)


def read(texts: Iterable[str]) -> set[str]:
    """What a model reads of them: texts of which it is the same are one source."""
    return {as_read(text, lowercase=False) for text in texts}


def made(sources: list[str]) -> Pairs:
    targets = [f"target {i}" for i in range(len(sources))]
    return Pairs(("t.tsv",), Texts(sources), Texts(targets), array("q", range(2, len(sources) + 2)))


@given(SOURCES, st.floats(0.001, 0.999), st.integers(0, 97), st.integers(1, 13))
def test_the_parts_are_disjoint_by_source_and_complete(
    sources: list[str], share: float, seed: int, most: int
) -> None:
    train, valid = split(made(sources), share, seed, most)
    assert read(train.sources).isdisjoint(read(valid.sources))
    assert sorted([*train.lines, *valid.lines]) == list(range(2, len(sources) + 2))
    assert 1 <= len(read(valid.sources)) <= most
    assert len(train) >= 1


@given(SOURCES, st.integers(0, 97))
def test_it_depends_on_texts_and_seed_alone(sources: list[str], seed: int) -> None:
    forth, back = made(sources), made(sources[::-1])
    assert set(split(forth, 0.3, seed)[1].sources) == set(split(back, 0.3, seed)[1].sources)


def test_another_seed_chooses_others() -> None:
    pairs = made([f"source {i}" for i in range(211)])
    chosen = [frozenset(split(pairs, 0.1, seed)[1].sources) for seed in (1, 2, 3)]
    assert len(set(chosen)) == 3
    assert {len(several) for several in chosen} == {21}


def test_a_source_goes_with_all_its_targets_and_lines() -> None:
    pairs = made([f"source {i % 7}" for i in range(29)])
    train, valid = split(pairs, 0.2, 1)
    assert len(set(valid.sources)) == 1
    for part in (train, valid):
        for index, target in enumerate(part.targets):
            assert part.place(index) == ("t.tsv", int(target.split()[1]) + 2)


def test_adding_pairs_moves_few_others() -> None:
    """A source's rank does not depend on the rest, so that data may grow without shuffling the parts."""
    few, more = made([f"source {i}" for i in range(200)]), made([f"source {i}" for i in range(220)])
    before, after = (set(split(pairs, 0.1, 1)[1].sources) for pairs in (few, more))
    assert len(before & after) >= 16


@pytest.mark.parametrize("sources", [["one"], ["same", "same", "same"]])
def test_one_source_cannot_be_split(sources: list[str]) -> None:
    with pytest.raises(DataError, match="at least two different sources"):
        split(made(sources), 0.1, 1)


@pytest.mark.parametrize("lowercase", [False, True])
def test_what_is_the_same_for_a_model_is_one_source(lowercase: bool) -> None:
    sources = [form for k in range(60) for form in (f"café {k}", f" cafe\u0301 {k} ", f"CAFÉ {k}")]
    train, valid = split(made(sources), 0.3, 1, lowercase=lowercase)
    both = [{as_read(text, lowercase) for text in part.sources} for part in (train, valid)]
    assert not both[0] & both[1]
    assert len(both[0] | both[1]) == (60 if lowercase else 120)
