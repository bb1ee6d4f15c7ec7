"""Fields from training text, and the recipe that goes with them."""

from typing import Any

import pytest

from suguk import config as settings
from suguk.data.read import Pairs
from suguk.data.texts import Texts
from suguk.data.vocabulary import recipe_for, vocabulary
from suguk.errors import ConfigError
from suguk.fields import TextField

PHONES = ["B", "K", "S", "T", "AA1", "IH0", "OW2"]
TRAIN = Pairs(
    ("t.tsv",),
    Texts("abcdefg"[i % 7] + "hijkl"[i % 5] for i in range(107)),
    Texts(f"{PHONES[i % 7]} {PHONES[i % 5]}" for i in range(107)),
)


def test_auto_says_what_and_why() -> None:
    found = vocabulary(TRAIN, settings.build({}))
    assert (found.source.kind, found.target.kind) == ("char", "symbols")
    assert [choice.split(" (")[0] for choice in found.choices] == [
        "source.tokenizer = char",
        "target.tokenizer = symbols",
    ]
    assert "7 distinct space-separated items in 107 lines" in found.choices[1]
    assert found.source.size == 4 + 7 + 5
    assert found.target.size == 4 + 7


def test_what_is_set_is_not_explained() -> None:
    config = settings.build(
        {"source": {"tokenizer": "word", "vocab_size": 11}, "target": {"tokenizer": "byte"}}
    )
    found = vocabulary(TRAIN, config)
    assert (found.source.kind, found.source.size, found.target.kind, found.choices) == (
        "word",
        11,
        "byte",
        [],
    )


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [("auto", "char", "char"), ("word", "auto", "word"), ("char", "char", "char")],
)
def test_one_vocabulary_for_both(source: str, target: str, kind: str) -> None:
    sides: dict[str, Any] = {
        "source": {"tokenizer": source},
        "target": {"tokenizer": target, "shared": True},
    }
    found = vocabulary(TRAIN, settings.build(sides))
    assert found.source is found.target
    assert found.source.kind == kind
    assert found.source.unknown_rate([*TRAIN.sources, *TRAIN.targets]) == 0


def test_one_vocabulary_is_of_one_kind() -> None:
    sides = {"source": {"tokenizer": "char"}, "target": {"tokenizer": "word", "shared": True}}
    with pytest.raises(ConfigError, match="found char and word"):
        vocabulary(TRAIN, settings.build(sides))


@pytest.mark.parametrize(
    ("source", "target", "recipe"),
    [
        ("bpe", "word", "small"),
        ("char", "bpe", "chars"),
        ("word", "symbols", "small"),
        ("symbols", "bpe", "chars"),
        ("bpe", "char", "chars"),
        ("unigram", "byte", "small"),
    ],
)
def test_the_recipe_follows_the_tokens(source: Any, target: Any, recipe: str) -> None:
    lines = [f"a b c {i}" for i in range(53)]
    fields = [TextField.train(kind, lines, 263) for kind in (source, target)]
    assert recipe_for(*fields)[0] == recipe
