"""The estimate of a model's size is the size of the model."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from suguk import config
from suguk.data import size
from suguk.errors import ConfigError
from suguk.model import build

SIZES = (53, 61)
TINY = {"hidden": 14, "embedding": 10, "readout_size": None, "encoder_hidden": None, "attention_size": None}

KINDS: dict[str, list[Any]] = {
    "cell": ["rnn", "lstm", "gru", "gru-reset-before"],
    "layers": [1, 2, 3],
    "hidden": [6, 10],
    "embedding": [6, 7],
    "encoder_layers": [None, 1, 3],
    "encoder_hidden": [None, 3, 5],
    "bidirectional": [False, True],
    "residual": [False, True],
    "bridge": ["copy", "zero", "linear", "backward"],
    "attention": ["none", "dot", "scaled-dot", "general", "additive", "location", "local-m", "local-p"],
    "attend": ["before", "within", "between", "after"],
    "attention_size": [None, 12],
    "attention_positions": [13],
    "local_score": ["dot", "general", "additive"],
    "input_feeding": [False, True],
    "context": ["start", "every-step"],
    "readout": ["linear", "tanh", "maxout"],
    "readout_size": [None, 7, 17],
    "readout_rank": [None, 5],
    "readout_word": [False, True],
    "readout_state": ["current", "previous"],
    "tied": ["none", "target", "all"],
    "layer_norm": [False, True],
    "attention_heads": [1, 1, 2, 3],
    "coverage": [False, True],
    "copying": [False, True],
}
SETTINGS = st.fixed_dictionaries({key: st.sampled_from(values) for key, values in KINDS.items()})


def counted(made: config.ModelConfig, sizes: tuple[int, int]) -> int:
    return sum(parameter.numel() for parameter in build(made, *sizes, seed=1).parameters())


@pytest.mark.parametrize("name", config.recipes())
@pytest.mark.parametrize("over", [{}, {"layers": 3}, {"cell": "gru"}, {"readout_word": True}])
def test_parameters_are_those_of_the_model(name: str, over: dict[str, object]) -> None:
    recipe = config.load(name).model.model_dump()
    wide = {"encoder_hidden": 7 if recipe["bidirectional"] and recipe["bridge"] == "copy" else 14}
    made = config.build({"model": recipe | TINY | wide | over | {"tied": "none"}}).model
    assert size.parameters(made, *SIZES) == counted(made, SIZES)


@settings(suppress_health_check=[HealthCheck.filter_too_much], max_examples=61)
@given(SETTINGS)
def test_of_any_model_that_can_be(drawn: dict[str, Any]) -> None:
    shared = drawn["tied"] == "all"
    try:
        made = config.build({"model": drawn, "target": {"shared": shared}}).model
    except ConfigError:
        assume(False)
    sizes = (SIZES[1], SIZES[1]) if shared else SIZES
    assert size.parameters(made, *sizes) == counted(made, sizes)


def test_memory_grows_with_the_model_the_batch_the_vocabulary_and_an_average() -> None:
    def memory(target: int = 8009, length: float = 15.0, **changes: object) -> int:
        given = config.assignments(f"{name.replace('_', '.', 1)}={value}" for name, value in changes.items())
        return size.memory(config.load("small", given), 8009, target, length)

    made = config.load("small").model
    weights = size.parameters(made, 8009, 8009)
    base = memory()
    assert base > 16 * weights
    assert memory(train_batch_tokens=2048) > base
    assert memory(target=16001) > base
    wide, narrow = (
        memory(target=target, train_batch_tokens=10**6) - 22 * size.parameters(made, 8009, target)
        for target in (16001, 8009)
    )
    assert wide == narrow  # a large batch holds no more logits for a larger vocabulary
    assert memory(length=150.0) > base
    assert memory(model_hidden=640) > base
    assert memory(train_ema=0) == base - 4 * weights
