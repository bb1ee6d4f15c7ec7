"""Outputs may be as long as the targets of training."""

from array import array
from typing import Any

import pytest

from suguk import config as settings
from suguk.data.longest import room
from suguk.data.read import Pairs
from suguk.data.texts import Texts
from suguk.fields import TextField


def found(sources: list[str], targets: list[str], **given: Any) -> tuple[dict[str, Any], list[str]]:
    pairs = Pairs(("t.tsv",), Texts(sources), Texts(targets), array("q", range(len(sources))))
    field = TextField.train("char", ["ab"], 20)
    return room(settings.build({"predict": given}), pairs, field, field)


def test_usual_pairs_change_nothing() -> None:
    assert found(["ab" * 10] * 300, ["ba" * 20] * 300) == ({}, [])


def test_long_targets_have_room() -> None:
    sources, targets = ["ab" * 300] * 300, ["ab"] * 299 + ["b" * 499]
    assert found(sources, targets) == (
        {"max_length": 610},
        ["predict.max_length = 610, as there is a training target of 500 tokens"],
    )
    kept, told = found(sources, targets, max_length=400)
    assert (kept, len(told)) == ({}, 1)
    assert told[0].startswith(
        "warning: outputs end at predict.max_length = 400, but there is a training target"
    )


def test_targets_that_are_long_beside_their_source_have_room() -> None:
    sources, targets = ["abab"] * 299 + ["a"], ["ab"] * 299 + ["b" * 149]
    kept, told = found(sources, targets)
    assert kept == {"length_ratio": 60}  # 1.2 (150 - 50) / 2, with <eos> on both sides
    assert told == ["predict.length_ratio = 60, as there is a training target of 150 tokens for 2"]


@pytest.mark.parametrize("longest", [60, 199])
def test_every_target_of_training_can_be_written(longest: int) -> None:
    from suguk import asking

    kept, _ = found(["a", "ab"], ["b" * longest, "b"])
    options = settings.build({"predict": kept}).predict
    encoded = TextField.train("char", ["ab"], 20).encode_batch(["a"])
    plain = [asking.Tokens([], [], [])]
    import numpy as np

    assert asking.limits(np.array([len(encoded[0])]), plain, options)[0] > longest
