"""The page: one file, whatever the texts hold."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from suguk.fields import TextField
from suguk.report import charts, pieces
from suguk.report.collect import Choices, collect
from suguk.report.contents import Curves, Report
from suguk.report.examples import _likeness, compared
from suguk.report.page import page
from suguk.report.sides import bins, side

VOID = {"meta", "br", "link"}


class Checker(HTMLParser):
    """Every element is closed in order; addresses and text are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    return collect(run, choices=Choices(limit=100, examples=50))


def checked(text: str) -> Checker:
    found = Checker()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def test_the_page_is_whole_and_needs_no_network(report: Report) -> None:
    text = page(report)
    found = checked(text)
    assert found.addresses
    assert {address.removeprefix("#") for address in found.addresses} <= set(found.ids)
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert text == page(report)
    assert "NaN" not in text


def test_every_part_is_on_the_page(report: Report) -> None:
    text = page(report)
    sections = {part.split('"', 1)[0]: part for part in text.split('<section id="')[1:]}
    assert list(sections) == [
        "findings", "curves", "lengths", "examples", "attention", "data", "settings", "again"
    ]  # fmt: skip
    assert report.findings[0].title in sections["findings"]
    assert sections["curves"].count("<svg") == 3
    group = report.quality.groups[0]
    assert f'<td class="n">{group.low}' in sections["lengths"]
    assert report.quality.scores[0].signature in sections["lengths"]
    assert sections["examples"].count("<article") == len(report.examples)
    assert sections["attention"].count("<svg") == sum(one.attention is not None for one in report.examples)
    assert sections["data"].count("<svg") == 2
    assert f"{report.sides[0].vocabulary:,}" in sections["data"]
    assert all(setting.name in sections["settings"] for setting in report.settings)
    assert "suguk train" in sections["again"]


def test_figures_of_a_side() -> None:
    field = TextField.train("word", ["a b", "a c d"], 50)
    found = side("left", field, ["a b", "a c d", "a"], ["a x", "d"])
    assert (found.tokenizer, found.vocabulary) == ("word", 8)  # four words beside the special entries
    assert (found.mean_length, found.longest) == (2.0, 3)
    assert [(one.low, one.count) for one in found.lengths] == [
        (1, 1),
        (2, 2),
    ]  # the longest with its neighbours
    assert found.used == 1.0
    assert found.unseen_words == pytest.approx(1 / 3)  # x, of three words
    assert found.unknown_rate == pytest.approx(1 / 3)
    blind = side("left", field, None, ["a x"])
    assert (blind.mean_length, blind.longest, blind.used, blind.unseen_words) == (None, None, None, None)


def test_texts_are_shown_and_not_obeyed(report: Report) -> None:
    text = page(report)
    found = checked(text)
    shown = "".join(found.text)
    assert text.count("</script>") == 1
    assert "<b>" not in re.sub(r'<div class="tile"><b>|<td class="n"><b>|<li><b>', "", text)
    sources = {example.source for example in report.examples}
    for word in ("<b>", "&amp;", '"so"', "שלום", "مرحبا", "안녕", "</script>", "${y}"):
        assert any(word in source for source in sources)
        assert word in shown
    assert "\u202e" not in text
    assert "‹202E›" in shown
    assert "odd & <tiny>" in shown


def test_an_empty_output_and_one_without_an_end(report: Report) -> None:
    first = replace(report.examples[0], output="", tokens=(), probabilities=(), finished=False, reference=())
    text = page(replace(report, examples=(first,)))
    checked(text)
    assert text.count('class="nothing"') == 2
    assert "cut at the maximum length" in text


def test_what_there_is_not_is_left_out(report: Report) -> None:
    blind = tuple(replace(example, attention=None) for example in report.examples)
    sides = tuple(replace(side, lengths=(), mean_length=None, used=None) for side in report.sides)
    text = page(
        replace(
            report,
            examples=blind,
            curves=Curves("", True, (), ()),
            sides=(sides[0], sides[1]),
            training_pairs=None,
            about=replace(report.about, seconds=None, tokens_per_second=None),
        )
    )
    found = checked(text)
    assert "attention" not in found.ids
    assert "curves" not in found.ids
    assert "attention" in checked(page(report)).ids


def test_the_surer_the_paler() -> None:
    shades = [pieces._shade(value) for value in (1.0, 0.95, 0.5, 0.11, 0.0)]
    assert shades == [0, 0, 5, 8, 9]


@pytest.mark.parametrize(
    ("tokenizer", "tokens", "shown"),
    [
        ("word", ("▁gato", "▁grande", "."), "gato grande."),
        ("bpe", ("▁ga", "to"), "gato"),
        ("char", ("Ġ", "o", "▁", "r"), "Ġo r"),
        ("symbols", ("AH0", "▁"), "AH0 ▁"),
    ],
)
def test_outputs_are_shown_as_they_are_read(
    report: Report, tokenizer: str, tokens: tuple[str, ...], shown: str
) -> None:
    one = replace(report.examples[0], tokens=tokens, probabilities=(1.0,) * len(tokens), finished=False)
    assert re.sub("<[^>]*>", "", pieces._output(one, tokenizer)) == shown


def test_words_that_are_missing_are_marked() -> None:
    parts = compared("the black cat sat", "the cat sat down")
    assert [(part.text, part.matched) for part in parts] == [
        ("the", True),
        (" black", False),
        (" cat sat", True),
    ]
    assert "".join(part.text for part in compared("good morning", "good night")) == "good morning"
    assert [part.text for part in compared("AH0", "AH1", words=True)] == ["AH0"]
    assert all(part.matched for part in compared("Ein Hund", "ein hund", lowercase=True))
    letters = [(part.text, part.matched) for part in compared("abc", "ac")]
    assert letters == [("a", True), ("b", False), ("c", True)]
    assert compared("", "x") == ()


def test_the_nearest_of_long_references_is_found() -> None:
    """Where every letter is common: by default such letters would not count from 200 characters on."""
    text = "hgfe dcba " * 40
    assert _likeness(text[:9] + text[10:])(text) > 0.9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.3, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]), (5, 5, [5, 6]), (0, 0, [0, 0.2])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high)[: len(expected)] == pytest.approx(expected)


def test_ticks_hold_the_range() -> None:
    for low, high in ((0.0013, 0.0021), (-3.2, 7.9), (61.2, 61.3), (1e6, 3e6)):
        found = charts.ticks(low, high)
        assert found[0] <= low
        assert found[-1] >= high
        assert len(found) <= 8


def test_bins_hold_every_value() -> None:
    values = [*range(1, 90), 1000]
    found = bins(values)
    assert sum(one.count for one in found) == len(values)
    assert (found[0].low, found[-1].high) == (1, 1000)
    assert all(a.high + 1 == b.low for a, b in itertools.pairwise(found))
    assert bins([]) == ()
    assert [(one.low, one.count) for one in bins([3, 3])] == [(3, 2)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (12, "12"),
        (5136, "5,136"),
        (9_999, "9,999"),
        (10_000, "10 k"),
        (999_400, "999 k"),
        (999_600, "1 M"),
        (9_338_240, "9.34 M"),
        (999_600_000, "1 G"),
        (1.2e9, "1.2 G"),
    ],
)
def test_counts_have_three_digits(value: float | None, shown: str) -> None:
    assert pieces.count(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "–"), (12.3, "12 s"), (1789.8, "30 min"), (5000, "1 h 23 min")]
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert pieces.duration(seconds) == shown
