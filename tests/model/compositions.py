"""Small models of every composition, and ragged batches for them."""

import random
from itertools import islice, product
from typing import Any, NamedTuple

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from suguk.config import ModelConfig
from suguk.model import Seq2Seq, build

SOURCE_V, TARGET_V = 23, 13
CHOICES: dict[str, tuple[Any, ...]] = {
    "cell": ("rnn", "lstm", "gru", "gru-reset-before"),
    "layers": (1, 2, 3),
    "encoder_layers": (None, 1, 2),
    "encoder_hidden": (None, 3, 4),
    "bidirectional": (False, True),
    "reverse_source": (False, True),
    "residual": (False, True),
    "bridge": ("copy", "zero", "linear", "backward"),
    "attention": ("none", "dot", "scaled-dot", "general", "additive", "location", "local-m", "local-p"),
    "attend": ("before", "within", "between", "after"),
    "local_score": ("dot", "general", "additive"),
    "input_feeding": (False, True),
    "context": ("start", "every-step"),
    "readout": ("linear", "tanh", "maxout"),
    "readout_size": (None, 7),
    "readout_rank": (None, 2),
    "readout_word": (False, True),
    "readout_state": ("current", "previous"),
    "tied": ("none", "target", "all"),
    "zoneout": (0.0, 0.0, 0.2),
    "zoneout_cell": (0.0, 0.0, 0.4),
    "layer_norm": (False, False, True),
    "attention_heads": (1, 1, 2, 3),
    "coverage": (False, False, True),
}


class Pairs(NamedTuple):
    """A ragged batch, <eos> at every end, <pad> after it."""

    source: Tensor
    source_lengths: Tensor
    target: Tensor
    target_lengths: Tensor

    def row(self, b: int) -> "Pairs":
        s, t = int(self.source_lengths[b]), int(self.target_lengths[b])
        one = slice(b, b + 1)
        return Pairs(
            self.source[one, :s], self.source_lengths[one], self.target[one, :t], self.target_lengths[one]
        )


def pairs(source_lengths: tuple[int, ...], target_lengths: tuple[int, ...], *, more: int = 0) -> Pairs:
    """more: columns of padding behind the longest row."""
    generator = torch.Generator().manual_seed(7)
    sides = []
    for lengths in (source_lengths, target_lengths):
        ids = torch.zeros(len(lengths), max(lengths) + more, dtype=torch.long)
        for b, length in enumerate(lengths):
            words = torch.randint(4, TARGET_V, (length - 1,), generator=generator)
            ids[b, :length] = torch.cat([words, torch.tensor([3])])
        sides += [ids, torch.tensor(lengths)]
    return Pairs(*sides)


def tiny(**settings: Any) -> Seq2Seq:
    """In float64, every parameter drawn from U(−0.7, 0.7), no dropout active."""
    config = ModelConfig.model_validate(
        {"hidden": 6, "embedding": 5, "attention_window": 1, "attention_size": 12, **settings}
    )
    size = TARGET_V if config.tied == "all" else SOURCE_V
    model = build(config, size, TARGET_V, seed=1).double().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7, generator=generator)
    return model


PAIRED = [
    ("cell", "attention"),
    ("attention", "input_feeding"),
    ("attention", "readout"),
    ("cell", "readout"),
    ("cell", "input_feeding"),
    ("cell", "attend"),
]


def compositions(count: int) -> list[dict[str, Any]]:
    """Possible settings drawn at random, the same ones every time; then some for each pair of choices not yet met."""
    draw = random.Random(3)

    def drawn(**chosen: Any) -> dict[str, Any] | None:
        settings = {name: draw.choice(values) for name, values in CHOICES.items()} | chosen
        try:
            ModelConfig.model_validate({"hidden": 6, **settings})
        except ValidationError:
            return None
        return settings

    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += filter(None, [drawn()])
    for names in PAIRED:
        for values in product(*(CHOICES[name] for name in names)):
            if all(tuple(settings[name] for name in names) != values for settings in found):
                tries = (drawn(**dict(zip(names, values, strict=True))) for _ in range(1000))
                found += islice(filter(None, tries), 1)
    return found


COMPOSITIONS = compositions(120)
every = pytest.mark.parametrize(
    "composition",
    COMPOSITIONS,
    ids=[
        "-".join(str(s[key]) for key in ("cell", "layers", "bridge", "attention", "attend"))
        for s in COMPOSITIONS
    ],
)
