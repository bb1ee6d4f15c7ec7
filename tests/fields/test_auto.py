"""What auto chooses, from figures alone."""

import random

import pytest

from suguk.fields.auto import choose

WORDS = [
    "the",
    "a",
    "my",
    "dog",
    "cat",
    "house",
    "garden",
    "runs",
    "sleeps",
    "sees",
    "finds",
    "old",
    "small",
    "green",
    "near",
    "under",
    "with",
    "and",
    "river",
    "boat",
]
SYLLABLES = [chr(0xAC00 + 29 * i) for i in range(211)]
PHONES = [
    "AA1",
    "AE0",
    "AH1",
    "B",
    "CH",
    "D",
    "EH2",
    "F",
    "G",
    "HH",
    "IH0",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "T",
]


def _lines(items: list[str], least: int, most: int, count: int = 1009, join: str = " ") -> list[str]:
    draw = random.Random(7)
    return [join.join(draw.choices(items, k=draw.randint(least, most))) for _ in range(count)]


def _sentences() -> list[str]:
    draw = random.Random(11)
    words = WORDS + ["".join(draw.choices("abdegiklmnorstu", k=draw.randint(3, 9))) for _ in range(1013)]
    return [line + "." for line in _lines(words, 4, 13)]


def _names() -> list[str]:
    return _lines(list("abdegiklmnorstu"), 4, 11, join="")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("bpe", _sentences()),
        ("char", _names()),
        ("char", [f"{a}+{b * 37}" for a in range(31) for b in range(29)]),
        ("char", [f"{1900 + i % 101}-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(997)]),
        ("char", _lines(SYLLABLES, 2, 4, join="")),
        ("symbols", _lines(PHONES, 3, 9)),
        ("symbols", _lines(["I_TURN_RIGHT", "I_TURN_LEFT", "I_JUMP", "I_WALK", "I_RUN"], 1, 29)),
        ("symbols", _lines(["t", "ʃ", "ɑ̃", "b", "eː", "ŋ", "ʁ"], 2, 11)),
        ("bpe", _lines([chr(0x4E00 + 13 * i) for i in range(503)], 9, 23, join="")),
        ("bpe", _lines([chr(0x3042 + i) for i in range(80)], 11, 19, join="")),
    ],
    ids=[
        "sentences",
        "names",
        "sums",
        "dates",
        "syllables",
        "phonemes",
        "actions",
        "ipa",
        "chinese",
        "japanese",
    ],
)
def test_auto_fits_the_data(kind: str, lines: list[str]) -> None:
    assert choose(lines, 8009).kind == kind


def test_a_reason_has_the_figures() -> None:
    choice = choose(["B T K"] * 100, 8009)
    assert choice.kind == "symbols"
    assert "3 distinct space-separated items in 100 lines" in choice.reason
    assert "100 times" in choice.reason


def test_frequent_words_count_as_often_as_they_stand_there() -> None:
    assert choose([f"the dog {i} runs on" for i in range(101)], 8009).kind == "bpe"


def test_a_closed_set_larger_than_the_vocabulary_is_not_symbols() -> None:
    assert choose(_lines(PHONES, 3, 9), len(PHONES) + 4).kind == "symbols"
    assert choose(_lines(PHONES, 3, 9), len(PHONES) + 3).kind != "symbols"


def test_new_items_to_the_end_are_not_a_closed_set() -> None:
    lines = [f"ab cd ef gh x{'abcdefghij'[i // 10]}{'abcdefghij'[i % 10]}" for i in range(100)]
    assert choose(lines, 8009).kind != "symbols"


@pytest.mark.parametrize("lines", [[], [""], [" ", ""], ["a"]])
def test_next_to_no_text_still_gets_an_answer(lines: list[str]) -> None:
    choice = choose(lines, 8009)
    assert choice.kind in ("bpe", "char", "symbols")
    assert choice.reason


def test_labels_are_symbols_where_they_are_written() -> None:
    draw = random.Random(1)
    labels = draw.choices(["question", "statement", "order"], k=300)
    assert choose(labels, 8000, target=True).kind == "symbols"
    assert choose(labels, 8000).kind == "char"  # words to be read may be others tomorrow
    sums = [str(draw.randint(1, 20)) for _ in range(300)]
    assert choose(sums, 8000, target=True).kind == "char"
    names = [f"name{k}" for k in range(300)]
    assert choose(names, 8000, target=True).kind == "char"
