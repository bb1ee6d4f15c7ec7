"""Exported models with drawn weights; an export takes seconds, so each is made once."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from pydantic import ValidationError
from torch.onnx._internal.exporter import _fx_passes

from suguk import config
from suguk.export import int8
from suguk.export.graph import traced
from suguk.export.write import finished, with_metadata
from suguk.fields import EOS, TextField
from suguk.model import build
from suguk.runtime import OnnxModel
from suguk.trained import TrainedModel
from tests.model.compositions import CHOICES

LINES = ["a b c", "b c d e a", "", "the cat sat on the mat .", "on", "the mat", "a b c", "cat d"]
# Every named or true-or-false choice of a composition is in one of them: see test_every_choice_is_exported.
MODELS: dict[str, dict[str, Any]] = {
    "small": {},
    "bahdanau2014": {},
    "luong2015-local-p": {"layers": 2},
    "cho2014": {},
    "sutskever2014": {"layers": 2},
    "chars": {},
    "tiny": {},
    "medium": {},
    "luong2015": {"cell": "rnn", "bridge": "linear", "attention": "location", "bidirectional": True},
}


def composed(seed: int) -> dict[str, Any]:
    """Any composition of a model's parts that is possible."""
    draw = random.Random(seed)
    while True:
        settings = {key: draw.choice(values) for key, values in CHOICES.items()}
        settings |= {"hidden": 8, "embedding": 8, "attention_window": 2, "attention_positions": 9}
        try:
            config.ModelConfig.model_validate(settings)
        except ValidationError:
            continue
        return settings


MODELS |= {f"composed-{seed}": composed(seed) for seed in (12, 33)}
# What changes a step, in the encoder too.
MODELS["composed-cells"] = {
    "cell": "gru",
    "layers": 1,
    "layer_norm": True,
    "zoneout": 0.15,
    "attention": "scaled-dot",
    "attention_heads": 2,
    "attend": "after",
}
MODELS["composed-conditional"] = {"cell": "gru", "layers": 2, "attend": "within"}
MODELS["composed-coverage"] = {
    "cell": "lstm",
    "layers": 1,
    "zoneout": 0.15,
    "zoneout_cell": 0.4,
    "coverage": True,
    "copying": True,
    "attend": "before",
}


def drawn(name: str) -> TrainedModel:
    """With weights that make outputs end, and differ."""
    more = {} if name == "code" else MODELS[name]
    sizes: dict[str, Any] = {"hidden": 8, "embedding": 6, "readout_size": 7, **more}
    recipe = "small" if name.startswith("composed") else name
    plain = config.load(recipe, {"predict": {"beam": 4, "max_length": 9}})
    if plain.model.readout_rank is not None:
        sizes.setdefault("readout_rank", 5)
    if plain.model.attention_size is not None:
        sizes.setdefault("attention_size", 5)
    if plain.model.encoder_hidden is not None:
        sizes.setdefault("encoder_hidden", 4)
    both = {"model": sizes, "target": {"shared": True}}
    settings = config.build(config.merge(plain.model_dump(exclude_none=True), both))
    field = TextField.train("word", LINES, 40)
    model = build(settings.model, field.size, field.size, seed=1)
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -1.0, 1.0)
    with torch.no_grad():
        model.head.bias[:4] = 0
        model.head.bias[EOS] = 1
        if model.decoder.switch is not None:  # else it copies `<eos>` at once
            model.decoder.switch.w_p.bias.fill_(-1)
            model.decoder.attention.score.w_a.weight.mul_(0.2)  # type: ignore[union-attr, operator]
            model.head.bias[EOS] = -2
    return TrainedModel(settings, field, field, model)


@cache
def graph(name: str) -> tuple[TrainedModel, onnx.ModelProto]:
    trained = drawn(name)
    with pytest.MonkeyPatch.context() as patch:  # what no translation knows would cost twice the time, unseen
        patch.setattr(_fx_passes, "decompose_with_registry", _taken_apart)
        return trained, traced(trained.model)


def _taken_apart(*_: object) -> torch.export.ExportedProgram:
    raise AssertionError("an operator has no translation of its own, see suguk.export.translate")


@cache
def pair(name: str, *, single: bool) -> tuple[TrainedModel, OnnxModel]:
    """The model in PyTorch, and exported."""
    trained, made = graph(name)
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "SMALLEST", 1)  # else nothing of so small a model would be packed
        content = with_metadata(finished(copy, single=single), trained, {})
    return trained, OnnxModel.of(content, Path("drawn.onnx"), threads=1)


@pytest.fixture(scope="session")
def pairs() -> Callable[..., tuple[TrainedModel, OnnxModel]]:
    return pair
