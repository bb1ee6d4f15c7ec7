"""Which words may be copied, and what they are called."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suguk import config
from suguk.copying import Copied, Copier
from suguk.data.batch import Dataset, Side
from suguk.data.epochs import Epochs, Mix
from suguk.errors import ConfigError
from suguk.fields import EOS, PAD, UNK, TextField
from suguk.fields.text import Kind

SOURCE = TextField.train("word", ["call Ann now", "call now"], 7)  # call, now, Ann
TARGET = TextField.train("word", ["Bob called now", "now called"], 7)  # called, now, Bob
V = TARGET.size


def padded(field: TextField, texts: list[str]) -> np.ndarray:
    return field.collate(field.encode_batch(texts))[0]


def test_every_position_has_the_id_of_its_piece() -> None:
    """In the target's vocabulary, else by the first place where it stands; the raw text counts where it is unknown."""
    copier = Copier(SOURCE, TARGET)
    texts = ["call Zoe now Zoe Ann", "Bob", "Ada Zoe Ann Ann Ada"]
    now, bob = (TARGET.encode(word)[0] for word in ("now", "Bob"))
    assert copier.copies(padded(SOURCE, texts), texts).tolist() == [
        [V, V + 1, now, V + 1, V + 4, EOS],
        [bob, EOS, PAD, PAD, PAD, PAD],  # known to the target only
        [V, V + 1, V + 2, V + 2, V, EOS],
    ]


def test_targets_are_what_only_the_source_has() -> None:
    copier = Copier(SOURCE, TARGET)
    sources, targets = ["call Zoe Ann", "call now", "Zoe"], ["Ann called Zoe Ada", "Zoe", "called now"]
    source, target = padded(SOURCE, sources), padded(TARGET, targets)
    copies, wanted = Copied(copier, sources, targets)(source, target, range(3))
    called, now = (TARGET.encode(word)[0] for word in ("called", "now"))
    assert wanted.tolist() == [
        [V + 2, called, V + 1, UNK, EOS],
        [UNK, EOS, 0, 0, 0],
        [called, now, EOS, 0, 0],
    ]
    assert target[0, 0] == UNK  # what was given stays as it was
    assert copier.pieces(wanted[0], SOURCE.encode(sources[0]).tolist(), sources[0]) == [
        "▁Ann", "▁called", "▁Zoe", "<unk>", "<eos>",
    ]  # fmt: skip
    assert copies.shape == source.shape


@pytest.mark.parametrize("kind", ["word", "char", "symbols", "bpe", "unigram", "byte"])
@given(text=st.text(st.sampled_from("abé xyz,"), max_size=20), known=st.booleans())
def test_copied_from_end_to_end_is_the_text(kind: Kind, text: str, known: bool) -> None:
    """Copying every position gives the field's own pieces; of an unknown one the raw text, where that is told."""
    sizes = {"byte": 260, "bpe": 13, "unigram": 13}
    lines = ["abz ab zz", "ba xz yx ab", "a b x y z"]
    source = TextField.train(kind, lines, sizes.get(kind, 9))
    target = TextField.train(kind, lines if known else ["ab"] * 9, sizes.get(kind, 9) if known else 260)
    ids = source.encode(text)
    copies = Copier(source, target).copies(ids[None].astype(np.int64), [text])[0]
    assert copies[-1] == EOS
    first = [i for i, one in enumerate(copies) if one >= target.size]
    assert all(copies[i] <= target.size + i for i in first)
    pieces = Copier(source, target).pieces(copies[:-1].tolist(), ids.tolist(), text)
    wanted = source.split(text) if kind in ("word", "char", "symbols") else source.pieces(ids[:-1])
    assert pieces == wanted


def test_a_spelled_special_token_is_a_piece_like_others() -> None:
    field = TextField.train("symbols", ["a b"], 6)
    copier = Copier(field, field)
    texts = ["<eos> a <pad>"]
    copies = copier.copies(padded(field, texts), texts)
    assert copies.tolist() == [[6, field.encode("a")[0], 8, EOS]]
    assert copier.pieces([6, 8], field.encode(texts[0]).tolist(), texts[0]) == ["<eos>", "<pad>"]


def test_epochs_that_repeat_pairs_know_their_texts() -> None:
    sources, targets = ["call Zoe", "call Ada now", "now"], ["Zoe called", "Ada", "now"]
    source, target = Side.of(SOURCE.encode_batch(sources)), Side.of(TARGET.encode_batch(targets))
    copied = Copied(Copier(SOURCE, TARGET), sources, targets)
    dataset = Epochs(source, target, 1, Mix((2, 1), (1.0, 3.0)), copied).epoch(0)
    assert len(dataset) == 5
    batch = dataset.batch(np.array([4, 1, 0]))
    assert batch.copies is not None
    assert batch.copies[1].tolist() == [V, V + 1, TARGET.encode("now")[0], EOS]
    assert batch.target[1, :2].tolist() == [V + 1, EOS]
    assert Dataset.sides(source, target).batch(np.array([0])).copies is None


@given(
    st.lists(st.tuples(st.text("abz ", max_size=9), st.text("abz ", max_size=9)), min_size=1, max_size=5),
    st.randoms(),
)
def test_what_is_kept_of_a_pair_does_not_know_its_batch(
    pairs: list[tuple[str, str]], draw: random.Random
) -> None:
    sources, targets = zip(*pairs, strict=True)
    field = TextField.train("word", ["a b", "ab ba"], 7)
    copied = Copied(Copier(field, field), sources, targets)
    for _ in range(3):
        rows = draw.choices(range(len(pairs)), k=4)
        of_rows = [sources[row] for row in rows], [targets[row] for row in rows]
        source, target = (padded(field, texts) for texts in of_rows)
        fresh = Copied(Copier(field, field), *of_rows)(source, target, range(4))
        for found, wanted in zip(copied(source, target, rows), fresh, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_sides_of_two_kinds_are_refused() -> None:
    model = {"copying": True, "attention": "dot"}
    with pytest.raises(ConfigError, match=r"model\.copying needs one kind of tokens on both sides, found"):
        config.build({"model": model, "source": {"tokenizer": "bpe"}, "target": {"tokenizer": "char"}})
    config.build({"model": model, "target": {"tokenizer": "char"}})  # the other may become char too
