"""How long outputs may become, by the longest targets of training: what the search is given where nobody said it."""

import math
from typing import Any

import numpy as np

from suguk.config import Config
from suguk.config.predict import FREE_TOKENS
from suguk.data.read import Pairs
from suguk.fields import TextField

# Pairs that are encoded: of the longest targets, and of those that are longest beside their source.
LOOKED_AT = 200
ROOM = 1.2  # times the longest target


def room(
    config: Config, train: Pairs, source: TextField, target: TextField
) -> tuple[dict[str, Any], list[str]]:
    """Settings of `predict` that let outputs be as long as the targets of training, and what to tell of them.

    Only what nobody set is raised, and only where it is too small; where somebody did, a warning is told.
    """
    targets = train.targets.sizes()
    beside = targets / np.maximum(train.sources.sizes(), 1)
    chosen = {
        int(row) for sizes in (targets, beside) for row in np.argsort(-sizes, kind="stable")[:LOOKED_AT]
    }
    pairs = [
        (len(source.encode(train.sources[row])), len(target.encode(train.targets[row])))
        for row in sorted(chosen)
    ]
    longest = max(written for _, written in pairs)
    read, written = max(pairs, key=lambda pair: (pair[1] - FREE_TOKENS) / pair[0])
    ratio = (written - FREE_TOKENS) / read
    why = f"a training target of {longest:,} tokens", f"a training target of {written:,} tokens for {read:,}"
    wanted: dict[str, tuple[float, float, str]] = {
        "max_length": (longest, math.ceil(ROOM * longest) + 10, why[0]),
        "length_ratio": (ratio, math.ceil(ROOM * ratio), why[1]),
    }
    settings: dict[str, Any] = {}
    told = []
    for name, (needed, roomy, reason) in wanted.items():
        now = getattr(config.predict, name)
        if name in config.predict.model_fields_set:
            if needed > now:
                told.append(f"warning: outputs end at predict.{name} = {now:g}, but there is {reason}")
        elif roomy > now:
            settings[name] = roomy
            told.append(f"predict.{name} = {roomy:g}, as there is {reason}")
    return settings, told
