"""The estimate of a model's size is the size of the model."""

import pytest

from suguk import config
from suguk.data import size
from suguk.model import build

SIZES = (53, 61)
TINY = {"hidden": 14, "embedding": 10, "readout_size": None, "encoder_hidden": None, "attention_size": None}


@pytest.mark.parametrize("name", config.recipes())
@pytest.mark.parametrize("over", [{}, {"layers": 3}, {"cell": "gru"}, {"readout_word": True}])
def test_parameters_are_those_of_the_model(name: str, over: dict[str, object]) -> None:
    made = config.load(name).model.model_dump()
    wide = {"encoder_hidden": 7 if made["bidirectional"] and made["bridge"] == "copy" else 14}
    settings = config.build({"model": made | TINY | wide | over | {"tied": "none"}}).model
    model = build(settings, *SIZES, seed=1)
    assert size.parameters(settings, *SIZES) == sum(parameter.numel() for parameter in model.parameters())
