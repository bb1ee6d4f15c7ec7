"""Axes, names and components of the figures."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures.phrases import LONGEST, phrases
from benchmarks.figures.plane import correlations, principal, ranks
from benchmarks.figures.svg import Box, Panel, Picture, apart, linear, logarithmic
from suguk.explain.heatmap import text_width

SVG = "{http://www.w3.org/2000/svg}"


@given(st.lists(st.integers(-999, 9999), min_size=1, max_size=7), st.integers(-5, 5), st.booleans())
def test_ticks_are_round_and_hold_all_values(whole: list[int], power: int, zero: bool) -> None:
    values = [number * 10.0**power for number in whole]
    scale = linear(values, zero=zero)
    assert all(-1e-6 <= scale.share(value) <= 1 + 1e-6 for value in values)
    assert 2 <= len(scale.ticks) <= 9
    steps = [b - a for (a, _), (b, _) in pairwise(scale.ticks)]
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert len({name for _, name in scale.ticks}) == len(scale.ticks)


def test_ticks_of_a_known_range() -> None:
    assert [name for _, name in linear([0.3, 37.2], zero=True).ticks] == ["0", "10", "20", "30", "40"]
    assert [name for _, name in linear([-0.12, 0.31]).ticks] == [
        "−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3", "0.4",
    ]  # fmt: skip
    assert [name for _, name in logarithmic([2, 40]).ticks] == ["2", "5", "10", "20", "50"]
    assert [name for _, name in logarithmic([3, 40_000]).ticks] == [
        "1",
        "10",
        "100",
        "1,000",
        "10,000",
        "100,000",
    ]
    assert logarithmic([1, 100]).share(10) == pytest.approx(0.5)


@given(st.lists(st.floats(0, 400), max_size=9).map(sorted))
def test_names_move_apart_and_keep_their_order_and_centre(places: list[float]) -> None:
    moved = apart(places, 17)
    assert all(b - a >= 17 - 1e-6 for a, b in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))
    if all(b - a >= 17 for a, b in pairwise(places)):
        np.testing.assert_allclose(moved, places)


def test_names_overlap_neither_one_another_nor_the_edge() -> None:
    draw = np.random.default_rng(3).uniform(0, 1, (61, 2))
    picture = Picture(700, "Names")
    panel = Panel(picture, Box(50, 50, 600, 300), linear([0, 1]), linear([0, 1]))
    panel.names([(f"name {k}", x, y, 0) for k, (x, y) in enumerate(draw.tolist())])
    boxes = []
    for element in ET.fromstring(picture.finish("", "")).findall(f"{SVG}text"):
        if element.text and element.text.startswith("name "):
            x, y = float(element.attrib["x"]), float(element.attrib["y"])
            boxes.append((x, y, x + text_width(element.text, 12), y + 12))
    assert 20 < len(boxes) < 61
    assert all(left >= 50 and right <= 650.1 for left, _, right, _ in boxes)
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert a[2] <= b[0] + 0.2 or b[2] <= a[0] + 0.2 or a[3] <= b[1] + 0.2 or b[3] <= a[1] + 0.2


def test_text_is_escaped() -> None:
    picture = Picture(300, "a < b & c")
    root = ET.fromstring(picture.finish('say "<x>"', "python"))
    assert root.attrib["aria-label"] == "a < b & c"
    assert 'say "<x>"' in [text.text for text in root.findall(f"{SVG}text")]


def test_components_are_eigenvectors_of_the_covariance() -> None:
    vectors = np.random.default_rng(5).normal(size=(13, 7)) * np.arange(1, 8)
    flat, shares = principal(vectors)
    centred = vectors - vectors.mean(axis=0)
    values, columns = np.linalg.eigh(centred.T @ centred)
    for k in range(2):
        expected = centred @ columns[:, -1 - k]
        expected *= 1 if expected.max() >= -expected.min() else -1
        np.testing.assert_allclose(flat[:, k], expected, atol=1e-9)
    np.testing.assert_allclose(shares, values[[-1, -2]] / values.sum())


def test_correlations_with_ties() -> None:
    np.testing.assert_allclose(ranks(np.array([5.0, 2, 5, 9, 2, 2])), [3.5, 1, 3.5, 5, 1, 1])
    x = np.array([1.0, 2, 3, 4])
    assert correlations(x, np.exp(x))["spearman"] == pytest.approx(1)
    assert correlations(x, np.array([1.0, 3, 2, 5]))["pearson"] == pytest.approx(5.5 / math.sqrt(5 * 8.75))
    assert correlations(x, np.ones(4)) == {"pearson": 0.0, "spearman": 0.0}


def test_phrases_of_a_small_alignment() -> None:
    source, target = ["a", "red", "car", "."], ["un", "coche", "rojo", "."]
    found = set(phrases(source, target, [(0, 0), (1, 2), (2, 1), (3, 3)]))
    assert found == {
        ("a", "un"), ("red", "rojo"), ("car", "coche"), ("red car", "coche rojo"), ("a red car", "un coche rojo"),
    }  # fmt: skip


@given(
    st.integers(1, 7), st.integers(1, 7), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=9)
)
def test_phrases_are_those_of_the_definition(m: int, n: int, drawn: set[tuple[int, int]]) -> None:
    links = sorted((i, j) for i, j in drawn if i < m and j < n)
    source, target = [f"s{i}" for i in range(m)], [f"t{j}" for j in range(n)]
    expected = [
        (" ".join(source[a : b + 1]), " ".join(target[c : d + 1]))
        for a in range(m)
        for b in range(a, min(a + LONGEST, m))
        for c in range(n)
        for d in range(c, min(c + LONGEST, n))
        if all((a <= i <= b) == (c <= j <= d) for i, j in links)  # no link leaves the pair
        and all(any(i == edge for i, _ in links) for edge in (a, b))
        and all(any(j == edge for _, j in links) for edge in (c, d))
    ]
    assert sorted(phrases(source, target, links)) == sorted(expected)
