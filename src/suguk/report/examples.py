"""The outputs worth looking at: the worst, the best, and some at random."""

import difflib
import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from suguk.config import PredictConfig
from suguk.fields import EOS
from suguk.predictor import Attention, Prediction
from suguk.report.contents import Example, Part, Weights
from suguk.trained import TrainedModel

Kind = Literal["worst", "best", "random"]
PICTURES = 4  # attention maps
FEWEST, MOST = 4, 30  # tokens on each side of what is drawn


def chosen(scores: Sequence[float], sources: Sequence[str], each: int, seed: int) -> list[tuple[Kind, int]]:
    """(kind, row): up to `each` of a kind, no row twice; of equal scores the longer sources tell more."""
    rows = range(len(scores))
    worst = sorted(rows, key=lambda row: (scores[row], -len(sources[row]), row))[
        : min(each, len(scores) // 2)
    ]
    best = sorted(rows, key=lambda row: (-scores[row], -len(sources[row]), row))
    best = [row for row in best if row not in worst][: min(each, len(scores) // 2)]
    left = sorted(set(rows) - {*worst, *best})
    drawn = np.random.default_rng(seed).permutation(len(left))[:each].tolist()
    kinds: list[tuple[Kind, list[int]]] = [
        ("random", [left[k] for k in drawn]),
        ("worst", worst),
        ("best", best),
    ]
    return [(kind, row) for kind, several in kinds for row in several]


def example(
    kind: Kind,
    model: TrainedModel,
    prediction: Prediction,
    references: Sequence[str],
    chrf: float,
    attention: Attention | None,
) -> Example:
    lowercase = model.config.data.lowercase
    references = [unicodedata.normalize("NFC", text) for text in references]  # as outputs are
    nearest = references[0] if len(references) == 1 else max(references, key=_likeness(prediction.output))
    eos = model.target.tokens([EOS]) if prediction.finished else []
    return Example(
        kind=kind,
        source=prediction.source,
        output=prediction.output,
        reference=compared(
            nearest, prediction.output, lowercase=lowercase, words=model.target.kind == "symbols"
        ),
        chrf=chrf,
        exact=_same(prediction.output, references, lowercase=lowercase),
        tokens=(*prediction.tokens, *eos),
        probabilities=tuple(round(math.exp(value), 4) for value in prediction.token_scores),
        finished=prediction.finished,
        attention=None if attention is None else _weights(attention),
    )


def _likeness(output: str) -> Callable[[str], float]:
    return lambda text: difflib.SequenceMatcher(None, text, output, autojunk=False).ratio()


def _same(output: str, references: Sequence[str], *, lowercase: bool) -> bool:
    if lowercase:
        return output.lower() in [text.lower() for text in references]
    return output in references


def compared(
    reference: str, output: str, *, lowercase: bool = False, words: bool = False
) -> tuple[Part, ...]:
    """The reference in pieces that the output has in this order, and others: words, or characters of one word.

    Together they are the reference. words: never characters.
    """
    spaced = words or " " in reference.strip() or " " in output.strip()
    wanted, found = (text.split(" ") if spaced else list(text) for text in (reference, output))
    keys = [[piece.lower() for piece in side] if lowercase else side for side in (wanted, found)]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    parts: list[Part] = []
    at = 0
    for block in matcher.get_matching_blocks():
        for begin, end, matched in ((at, block.a, False), (block.a, block.a + block.size, True)):
            if end > begin:
                before = " " if spaced and begin else ""
                parts.append(Part(before + (" " if spaced else "").join(wanted[begin:end]), matched))
        at = block.a + block.size
    return tuple(parts)


def pictured(
    model: TrainedModel, listed: Sequence[tuple[Kind, Prediction]], options: PredictConfig
) -> dict[str, Attention]:
    """Attention of a few outputs that are neither too short nor too long to be read, by source."""
    if not model.attends:
        return {}
    order = {"random": 0, "worst": 1, "best": 2}
    fit = [
        prediction.source
        for _, prediction in sorted(listed, key=lambda item: order[item[0]])
        if FEWEST <= len(prediction.tokens) <= MOST
        and FEWEST <= len(model.source.encode(prediction.source)) <= MOST
    ]
    found = model.predict(fit[:PICTURES], options, attention=True)
    return {one.source: one.attention for one in found if one.attention is not None}


def _weights(attention: Attention) -> Weights:
    rows = tuple(tuple(round(float(weight), 4) for weight in row) for row in attention.weights)
    return Weights(attention.source_tokens, attention.target_tokens, rows)
