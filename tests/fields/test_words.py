"""Which word of the raw text every id is from: compared with the words encoded one by one."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suguk.fields import TextField
from suguk.fields.text import KINDS, Kind

LINES = ["the cat sat, on  the mat.", "Élan café déjà 안녕하세요, 세계!"] * 5
# What normalisation puts together, takes apart, reorders or leaves; spaces that are one for `str.split`.
LETTERS = [
    *"ab.,!eI한",
    *("\u0301", "\u0308", "\u0323", "\u1112", "\u1161", "\u11ab", "\u0958", "\u0344", "\u2126", "\U0001d15e"),
    *("ﬁ", "ß", "İ", "Σ", "👍", "🏽", "\u200d"),
]
SPACES = [" ", " ", " ", "\t", "\u00a0", "\u3000", "\u2000", "\u2028", "\u0085"]
TEXTS = st.lists(st.sampled_from([*LETTERS, *SPACES]), max_size=19).map("".join)
WORDS = st.lists(st.sampled_from([*"ab.,!é나", "e\u0301"]), min_size=1, max_size=5).map("".join)


@pytest.fixture(scope="module")
def fields() -> dict[str, TextField]:
    return {kind: TextField.train(kind, LINES, 300) for kind in KINDS}


def test_a_word_has_a_form_after_a_space_and_one_without(fields: dict[str, TextField]) -> None:
    tokens = {
        kind: [field.tokens(ids) for ids in field.forms(text)]
        for kind, field in fields.items()
        for text in ("sat, on",)
    }
    assert tokens.pop("word") == [["▁sat", ",", "▁on"], ["<unk>", ",", "▁on"]]
    assert all(len(forms) == 1 for forms in tokens.values())
    assert fields["word"].tokens(fields["word"].forms(",")[0]) == [","]
    assert fields["word"].forms(" ") == [[]]


def shown(field: TextField, raw: str) -> list[tuple[str, list[int]]]:
    """Every token with its words."""
    (words,) = field.words([raw])
    return [(token, list(of)) for token, of in zip(field.tokens(field.encode(raw)), words, strict=True)]


def normal(text: str, lowercase: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    if lowercase:
        text = unicodedata.normalize("NFC", "".join(letter.lower() for letter in text))
    return text


def test_words_with_their_punctuation(fields: dict[str, TextField]) -> None:
    assert shown(fields["word"], "  the cat,  sat!") == [
        ("▁the", [0]),
        ("▁cat", [1]),
        (",", [1]),
        ("<unk>", [2]),
        ("!", [2]),
        ("<eos>", []),
    ]


def test_subwords_and_the_space_between(fields: dict[str, TextField]) -> None:
    assert shown(fields["bpe"], "the cat,  sat!") == [
        ("▁the", [0]),
        ("▁cat", [1]),
        (",", [1]),
        ("▁", []),
        ("▁sat", [2]),
        ("!", [2]),
        ("<eos>", []),
    ]


def test_the_mark_before_a_text_is_no_part_of_its_first_word() -> None:
    field = TextField.train("bpe", ["ab"], 7)  # characters alone
    assert shown(field, "ab b") == [("▁", []), ("a", [0]), ("b", [0]), ("▁", []), ("b", [1]), ("<eos>", [])]


def test_a_mark_in_the_text_is_a_space_to_the_model(fields: dict[str, TextField]) -> None:
    assert [of for _, of in shown(fields["bpe"], "a ▁ c")][-2:] == [[2], []]
    assert [1] not in [of for _, of in shown(fields["bpe"], "a ▁ c")]
    assert [of for _, of in shown(fields["symbols"], "a ▁ c")] == [[0], [1], [2], []]
    assert [of for _, of in shown(fields["char"], "a ▁ c")] == [[0], [], [1], [], [2], []]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "raw", ["\u00a0the\u00a0cat\u3000sat \t on", "  the  cat sat\ton  ", "the cat sat on"]
)
def test_every_kind_of_space_parts_words(fields: dict[str, TextField], kind: Kind, raw: str) -> None:
    words = [list(of) for _, of in shown(fields[kind], raw) if of]
    assert words == sorted(words)
    assert {number for of in words for number in of} == {0, 1, 2, 3}
    assert all(len(of) == 1 for of in words)


def test_a_piece_with_a_space_inside_is_from_several_words() -> None:
    field = TextField.train("bpe", ["10\u00a0000 of"] * 7, 43)
    assert shown(field, "10\u00a0000 of") == [("▁10\u00a0000", [0, 1]), ("▁of", [2]), ("<eos>", [])]
    symbols = TextField.train("symbols", ["a"], 43)
    assert shown(symbols, "b\x1cc a") == [("<unk>", [0, 1]), ("a", [2]), ("<eos>", [])]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_without_words_and_no_texts(fields: dict[str, TextField], kind: Kind) -> None:
    assert fields[kind].words(["", " \t "]) == [[range(0)], [range(0)]]
    assert fields[kind].words([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_texts_do_not_change_their_neighbours(fields: dict[str, TextField], kind: Kind) -> None:
    assert fields[kind].words(LINES) == [fields[kind].words([line])[0] for line in LINES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
@settings(max_examples=150, deadline=None)
@given(raw=TEXTS)
def test_there_is_an_entry_an_id_and_words_come_in_order(kind: Kind, lowercase: bool, raw: str) -> None:
    field = _trained(kind, lowercase)
    ids, (words,) = field.encode(raw), field.words([raw])
    assert len(words) == len(ids)
    assert words[-1] == range(0)
    in_order = [number for of in words for number in of]
    assert in_order == sorted(in_order)
    assert set(in_order) == set(range(len(raw.split())))


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("lowercase", [False, True])
@settings(max_examples=150, deadline=None)
@given(raw=TEXTS)
def test_the_ids_of_a_word_spell_it(kind: Kind, lowercase: bool, raw: str) -> None:
    field = TextField.train(kind, [raw], 300, lowercase)
    (words,) = field.words([raw])
    spelled = [
        field.decode(token for token, of in zip(field.encode(raw), words, strict=True) if number in of)
        for number in range(len(raw.split()))
    ]
    assert spelled == [normal(word, lowercase) for word in raw.split()]


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram", "symbols"])
@settings(max_examples=60, deadline=None)
@given(expected=st.lists(WORDS, max_size=5))
def test_the_pieces_of_a_word_join_to_it(kind: Kind, expected: list[str]) -> None:
    raw = "  ".join(expected)
    field = TextField.train(kind, [f"{a}{b} {b}" for a in "ab.,!é나" for b in "ab.,!é나"] + [raw], 211)
    (words,) = field.words([f" {raw} "])
    ids = field.encode(f" {raw} ")
    for number, word in enumerate(expected):
        mine = [token for token, of in zip(ids, words, strict=True) if number in of]
        assert field.decode(mine) == unicodedata.normalize("NFC", word)


_FIELDS: dict[tuple[Kind, bool], TextField] = {}


def _trained(kind: Kind, lowercase: bool) -> TextField:
    """A field that knows every letter, made once."""
    if (kind, lowercase) not in _FIELDS:
        lines = [
            "".join(LETTERS),
            *(f"{letter} {letter}" for letter in LETTERS),
            "".join(SPACES),
            "a\u00a0b\tc\u3000d",
        ]
        _FIELDS[kind, lowercase] = TextField.train(kind, lines, 300, lowercase)
    return _FIELDS[kind, lowercase]
