"""Text fields: exact round trips, specials that cannot be injected, bounded and repeatable vocabularies."""

import json
import os
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suguk.errors import ModelError, UserError
from suguk.fields import EOS, PAD, SOS, SPECIALS, UNK, TextField
from suguk.fields.text import KINDS, Kind

LINES = [
    "안녕하세요, 세계!",
    "Élan café déjà — naïve?",
    "fine 👩‍👩‍👧‍👦 and 👍🏽 too",
    "مرحبا بالعالم",
    "שלום עולם",
    "two  spaces   here , x",
    'don\'t (stop) "now".',
    "a <eos> b",
    "a<eos>b",
]
EXACT: tuple[Kind, ...] = ("word", "char", "byte", "bpe", "unigram")
SUBWORDS: tuple[Kind, ...] = ("bpe", "unigram")


@pytest.fixture(scope="module")
def fields() -> dict[str, TextField]:
    return {kind: TextField.train(kind, LINES * 11, 401) for kind in KINDS}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_known_text_comes_back_exactly(
    fields: dict[str, TextField], kind: Kind, line: str, form: str
) -> None:
    raw = " " + unicodedata.normalize(form, line) + "  "  # type: ignore[arg-type]
    assert fields[kind].decode(fields[kind].encode(raw)) == unicodedata.normalize("NFC", line)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=29))
def test_bytes_bring_any_text_back(raw: str) -> None:
    field = TextField.train("byte", [], 260)
    raw = "x" + raw + "x"
    assert field.decode(field.encode(raw)) == unicodedata.normalize("NFC", raw)


@settings(max_examples=60, deadline=None)
@given(st.text("ab.,!(-' 나", max_size=23))
def test_words_and_punctuation_join_as_they_were(raw: str) -> None:
    everything = [f"{a} {b}{a}" for a in "ab.,!(-'나" for b in "ab.,!(-'나"]
    for kind in ("char", "bpe"):
        field = TextField.train(kind, everything, 101)
        assert field.decode(field.encode(raw)) == raw.strip()
    words = TextField.train("word", [raw], 101)
    assert words.decode(words.encode(raw)) == raw.strip()


def test_symbols_split_at_spaces_and_join_by_one() -> None:
    field = TextField.train("symbols", ["B AW1 T", "T AW1"], 101)
    assert field.pieces(field.encode(" B  T ")) == ["B", "T", "<eos>"]
    assert field.decode(field.encode(" B  T ")) == "B T"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", SPECIALS)
def test_text_cannot_inject_a_special(fields: dict[str, TextField], kind: Kind, special: str) -> None:
    for raw in (special, f"a{special}b", f"a {special} b {special}"):
        ids = fields[kind].encode(raw)
        assert ids[-1] == EOS
        assert not set(ids[:-1].tolist()) & {PAD, SOS, EOS}


@pytest.mark.parametrize("kind", KINDS)
def test_specials_head_every_vocabulary(fields: dict[str, TextField], kind: Kind) -> None:
    assert fields[kind].pieces(range(4)) == ["<pad>", "<unk>", "<sos>", "<eos>"]
    assert fields[kind].encode("").tolist() == [EOS]
    assert fields[kind].encode(" \t ").tolist() == [EOS]


def test_ids_are_int32_and_batches_equal_singles(fields: dict[str, TextField]) -> None:
    for field in fields.values():
        for single, row in zip(map(field.encode, LINES), field.encode_batch(LINES), strict=True):
            assert single.dtype == np.int32
            np.testing.assert_array_equal(single, row)


def test_decoding_ends_at_eos_and_shows_unknowns() -> None:
    field = TextField.train("word", ["one two"], 13)
    one, two = field.encode("one two")[:2]
    assert field.decode([SOS, one, PAD, two, EOS, one]) == "one two"
    assert "<unk>" in field.decode([one, UNK])
    assert field.tokens([one, EOS]) == ["▁one", "<eos>"]


def test_a_space_is_visible_on_an_axis() -> None:
    field = TextField.train("char", ["a b"], 13)
    assert field.tokens(field.encode("a b")) == ["a", "▁", "b", "<eos>"]


def test_split_gives_the_words_behind_the_ids() -> None:
    field = TextField.train("word", ["see the cat"], 13)
    pieces = field.split("see the dog!")
    assert pieces == ["▁see", "▁the", "▁dog", "!"]
    assert len(field.encode("see the dog!")) == len(pieces) + 1
    assert field.join(pieces) == "see the dog!"


def test_lowercase_when_asked() -> None:
    field = TextField.train("char", ["Straße ÉCOLE"], 31, lowercase=True)
    assert field.decode(field.encode("ÉCOLE")) == "école"
    assert TextField.from_json(field.to_json()).lowercase


def test_closed_vocabularies_are_by_frequency_then_code_point() -> None:
    field = TextField.train("char", ["cab", "bc", "da"], 7)
    assert field.pieces(range(4, field.size)) == ["a", "b", "c"]
    assert field.unknown_rate(["abcd", ""]) == 0.25


@pytest.mark.parametrize("kind", ["word", "char", "bpe", "unigram", "symbols"])
@pytest.mark.parametrize("size", [5, 6, 7, 11, 8009])
@pytest.mark.parametrize("lines", [[], [""], ["a"], ["", "hello world", ""], ["aaaa"] * 3, ["<eos>"]])
def test_tiny_text_keeps_within_the_size(kind: Kind, size: int, lines: list[str]) -> None:
    field = TextField.train(kind, iter(lines), size)
    assert 4 <= field.size <= size
    assert all(field.encode(line)[-1] == EOS for line in lines)


def test_a_size_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="at least 5, found 4"):
        TextField.train("char", ["a"], 4)
    with pytest.raises(UserError, match="260"):
        TextField.train("byte", ["a"], 259)


@pytest.mark.parametrize("kind", KINDS)
def test_json_brings_the_field_back(fields: dict[str, TextField], kind: Kind) -> None:
    text = fields[kind].to_json()
    again = TextField.from_json(text)
    assert again.to_json() == text
    about = json.loads(text)
    assert (about["format"], about["version"], about["kind"]) == ("suguk-text-field", 1, kind)
    for line in LINES:
        np.testing.assert_array_equal(again.encode(line), fields[kind].encode(line))
        assert again.decode(again.encode(line)) == fields[kind].decode(fields[kind].encode(line))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"version": True},
        {"version": "1"},
        {"kind": "words"},
        {"kind": []},
        {"tokenizer": None},
        {"tokenizer": {"model": {}}},
    ],
)
def test_foreign_and_newer_fields_are_refused(change: dict[str, object]) -> None:
    about = json.loads(TextField.train("bpe", ["a b"], 23).to_json())
    with pytest.raises(ModelError) as caught:
        TextField.from_json(json.dumps({**about, **change}), where="m/source.json")
    assert caught.value.where == "m/source.json"


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "decoder"])
def test_a_tokenizer_without_a_part_is_refused(part: str) -> None:
    about = json.loads(TextField.train("bpe", ["a b"], 23).to_json())
    about["tokenizer"][part] = None
    with pytest.raises(ModelError, match=part):
        TextField.from_json(json.dumps(about))


@pytest.mark.parametrize("cut", [0, 1, 53, -1])
def test_half_copied_text_is_refused(cut: int) -> None:
    with pytest.raises(ModelError):
        TextField.from_json(TextField.train("char", ["ab"], 13).to_json()[:cut])


def test_deeply_nested_text_is_refused() -> None:
    with pytest.raises(ModelError):
        TextField.from_json("[" * 100_003)


def test_collate_pads_after_the_end() -> None:
    field = TextField.train("char", ["abc"], 13)
    padded, lengths = field.collate(field.encode_batch(["abc", "", "a"]))
    assert padded.dtype == lengths.dtype == np.int64
    assert lengths.tolist() == [4, 1, 2]
    assert padded.tolist()[1:] == [[EOS, PAD, PAD, PAD], [field.encode("a")[0], EOS, PAD, PAD]]
    assert field.collate([])[0].shape == (0, 0)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TOKENIZERS_PARALLELISM"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.parametrize("kind", SUBWORDS)
def test_training_is_silent_and_the_same_in_every_process(kind: str) -> None:
    code = (
        "from suguk.fields import TextField\n"
        "words = [f'{a}{b}ing {b}{a}ed' for a in ('play', 'walk', 'talk') for b in ('un', 're', 'over')]\n"
        f"print(TextField.train({kind!r}, words * 7, 47).to_json())"
    )
    first, second = _python(code), _python(code)
    assert first.returncode == 0
    assert first.stderr == ""
    assert first.stdout == second.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_encodes_without_waiting_or_warning() -> None:
    done = _python(
        "import os\n"
        "from suguk.fields import TextField\n"
        "field = TextField.train('bpe', ['hello world'] * 53, 41)\n"
        "field.encode_batch(['hello world'] * 997)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    field.encode_batch(['hello world'] * 997); os._exit(0)\n"
        "raise SystemExit(os.waitpid(child, 0)[1])\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [100_000, 2**32 - 1])
def test_ids_beyond_the_vocabulary_are_refused(number: int) -> None:
    about = json.loads(TextField.train("word", ["a b"], 13).to_json())
    vocabulary = about["tokenizer"]["model"]["vocab"]
    vocabulary["▁a"] = number
    with pytest.raises(ModelError, match="has ids beyond them"):
        TextField.from_json(json.dumps(about))
