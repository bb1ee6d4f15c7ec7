"""The picture is valid, complete, self-contained, laid out without overlap, and readable in any script."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suguk.explain.heatmap import DARK, LIGHT, RAMP, colour, heatmap, ink, luminance, text_width, visible
from suguk.predictor import Attention

SVG = "{http://www.w3.org/2000/svg}"


def attention(sources: Sequence[str], targets: Sequence[str], seed: int = 0) -> Attention:
    weights = np.random.default_rng(seed).dirichlet(np.full(max(len(sources), 1), 0.3), size=len(targets))
    return Attention(tuple(sources), tuple(targets), weights[:, : len(sources)].astype(np.float32))


def tips(svg: str) -> list[str]:
    """The tooltips of the cells, row by row."""
    return [
        title.text or ""
        for rect in ET.fromstring(svg).iter(f"{SVG}rect")
        for title in rect.iter(f"{SVG}title")
    ]


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_weight_is_a_cell_at_its_place() -> None:
    weights = np.array([[0.875, 0.125, 0.0], [0.0004, 0.2496, 0.75]], dtype=np.float32)
    svg = heatmap(Attention(("나", "는", "<eos>"), ("I", "<eos>"), weights), "나는", -1.25)
    assert tips(svg) == [
        "0.000",
        "나 → I: 0.875",
        "는 → I: 0.125",
        "는 → <eos>: 0.250",
        "<eos> → <eos>: 0.750",
    ]
    cells = [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if len(rect)][1:]
    size = int(cells[0].attrib["width"])
    places = [(int(cell.attrib["x"]) // size, int(cell.attrib["y"]) // size) for cell in cells]
    assert places == [(0, 0), (1, 0), (1, 1), (2, 1)]
    assert [cell.attrib["fill"] for cell in cells] == [colour(w) for w in weights[weights >= 0.0005].tolist()]
    assert {"나는", "score −1.250", ".88", ".12", ".25", ".75", "0", "1"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("sources", "targets"), [(1, 1), (3, 2), (2, 31), (37, 5), (61, 67), (200, 100), (0, 3), (3, 0), (0, 0)]
)
def test_any_size(sources: int, targets: int) -> None:
    svg = heatmap(attention([f"s{k}" for k in range(sources)], [f"t{k}" for k in range(targets)]))
    root = ET.fromstring(svg)
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    shown = texts(svg)
    assert [text for text in shown if re.fullmatch(r"s\d+", text)] == [f"s{k}" for k in range(sources)]
    assert [text for text in shown if re.fullmatch(r"t\d+", text)] == [f"t{k}" for k in range(targets)]
    assert root.attrib["viewBox"] == f"0 0 {width} {height}"
    assert (width >= sources * 14, height >= targets * 14) == (True, True)
    assert ("no tokens" in shown) == (sources * targets == 0)
    fonts = {float(element.attrib["font-size"]) for element in root.iter() if "font-size" in element.attrib}
    assert min(fonts) >= 10
    assert len(svg) < 3_000_000


def test_labels_stay_inside_and_apart() -> None:
    words = ["Donaudampfschifffahrtsgesellschaft", "ein", "orangefarbener", "Hut", "지하철을", "المترو"]
    for count in (3, 11, 29, 59, 127):
        sources = (words * 30)[:count]
        root = ET.fromstring(heatmap(attention(sources, sources[:7])))
        width = int(root.attrib["width"])
        turned = []
        for text in root.iter(f"{SVG}text"):
            place = re.match(
                r"translate\(([\d.]+) ([\d.]+)\) rotate\(-(\d+)\)", text.attrib.get("transform", "")
            )
            if place is None:
                continue
            x, y, angle = (float(part) for part in place.groups())
            font = float(root.attrib["font-size"])
            length = text_width(text.text or "", font)
            assert y - length * np.sin(np.radians(angle)) >= 0
            assert x + length * np.cos(np.radians(angle)) <= width
            turned.append((x, angle, font))
        assert len(turned) == count
        for (one, angle, font), (two, _, _) in pairwise(turned):
            assert (two - one) * np.sin(np.radians(angle)) >= font


def test_characters_stand_upright_and_only_what_is_wide_is_turned() -> None:
    svg = heatmap(attention([*"hydrangea", "<eos>"], "수국꽃"))
    root = ET.fromstring(svg)
    turned = [text.text for text in root.iter(f"{SVG}text") if "transform" in text.attrib]
    assert turned == ["<eos>"]


def test_long_tokens_are_cut_and_whole_in_the_tooltip() -> None:
    long = "x" * 50_000
    svg = heatmap(attention([long, "b"], [long]), title="word " * 20_000)
    root = ET.fromstring(svg)
    labels = [text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("xx")]
    assert len(labels) == 2
    for label in labels:
        assert len(label.text or "") < 40
        assert (label.text or "").endswith("…")
        assert label[0].text == long
    assert int(root.attrib["width"]) < 700
    assert len(svg) < 200_000
    title = [text.text or "" for text in root.iter(f"{SVG}text") if text.attrib.get("font-size") == "15"]
    assert len(title) == 3
    assert title[2].endswith("…")


def test_markup_in_tokens_is_text() -> None:
    svg = heatmap(attention(['<a href="x">&amp;', "]]>"], ["'\"<script>"]), title="\"<&>'")
    assert {"]]>", "'\"<script>", "\"<&>'"} <= set(texts(svg))
    assert ET.fromstring(svg).attrib["aria-label"] == "\"<&>'"
    assert "<script>" not in svg


def test_self_contained_and_deterministic() -> None:
    svg = heatmap(attention(["a", "b"], ["c"]), "t", 0.5)
    assert svg == heatmap(attention(["a", "b"], ["c"]), "t", 0.5)
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert "href" not in svg
    assert "url(" not in svg
    assert "score 0.500" in svg
    assert "score" not in heatmap(attention(["a"], ["c"]))


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("a", "a"),
        ("수국", "수국"),
        ("المترو", "المترو"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("", "∅"),
        (" ", "␣"),
        ("  a b ", "␣␣a b␣"),
        ("a\tb\n", "a␉b␊"),
        ("\x00\x7f\x85", "␀␡‹0085›"),
        ("\u202eabc\u2066", "‹202E›abc‹2066›"),
        ("\u0301", "◌\u0301"),
        ("\ud800", "‹D800›"),
        ("\uffff", "‹FFFF›"),
        ("\u2028", "‹2028›"),
    ],
)
def test_everything_is_visible(token: str, shown: str) -> None:
    assert visible(token) == shown


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=7), min_size=1, max_size=5),
    st.lists(st.text(max_size=7), min_size=1, max_size=5),
    st.text(max_size=90),
)
def test_any_text_makes_valid_xml(sources: list[str], targets: list[str], title: str) -> None:
    svg = heatmap(attention(sources, targets), title)
    ET.fromstring(svg.encode("utf-8"))
    assert all(visible(token) in svg or not visible(token).isalnum() for token in sources)


def test_the_scale_is_fixed_even_and_readable() -> None:
    assert (colour(0), colour(1), colour(0.5)) == (RAMP[0], RAMP[-1], RAMP[4])
    steps = [luminance(colour(weight)) for weight in np.linspace(0, 1, 21).tolist()]
    lightness = np.array([116 * step ** (1 / 3) - 16 for step in steps])  # CIE L*
    falls = -np.diff(lightness)
    assert (falls > 0).all()
    assert falls.max() < 1.3 * falls.min()
    for weight in np.linspace(0, 1, 101).tolist():
        light, dark = sorted((luminance(ink(weight)), luminance(colour(weight))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4, weight
    assert (ink(0), ink(1)) == (DARK, LIGHT)


def test_weights_beyond_one_by_rounding_are_one() -> None:
    svg = heatmap(Attention(("a",), ("b",), np.array([[1.0000002]], dtype=np.float32)))
    assert tips(svg) == ["0.000", "a → b: 1.000"]


def test_impossible_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\), found \(2, 1\)"):
        heatmap(Attention(("a", "b"), ("c",), np.zeros((2, 1), np.float32)))
    with pytest.raises(ValueError, match="finite"):
        heatmap(Attention(("a",), ("c",), np.full((1, 1), np.nan, np.float32)))


def test_width_of_text() -> None:
    assert text_width("", 10) == 0
    assert text_width("수국", 10) == pytest.approx(21)
    assert text_width("e\u0301", 10) == text_width("e", 10)
    assert text_width("ill", 10) < text_width("aaa", 10) < text_width("MWM", 10)
