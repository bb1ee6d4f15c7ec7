"""Does the exported file answer as PyTorch does? Asked at the end of every export, on real sentences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from suguk.predictor import Predictor


@dataclass(frozen=True)
class Parity:
    """What two engines make of the same pairs.

    Outputs are those of the model's own search settings; token scores are log p of the given targets' tokens.
    """

    sentences: int
    same_outputs: float  # share of sentences with the same best output, token by token
    mean_difference: float  # of token scores, absolute
    largest_difference: float
    perplexity: float  # of the targets, here
    perplexity_before: float  # and in PyTorch

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        return (
            f"parity on {self.sentences:,} sentences: {self.same_outputs:.1%} of outputs the same; log p of a target's "
            f"token differs by {self.mean_difference:.2g} on average, {self.largest_difference:.2g} at most; "
            f"perplexity {self.perplexity:.4f}, PyTorch {self.perplexity_before:.4f}"
        )


def compare(before: Predictor, after: Predictor, sources: Sequence[str], targets: Sequence[str]) -> Parity:
    """before: the model in PyTorch, after: the file."""
    outputs = [[found.tokens for found in model.predict(sources)] for model in (before, after)]
    scores = [
        np.concatenate([found.token_scores for found in model.score(sources, targets)])
        for model in (before, after)
    ]
    apart = np.abs(scores[1] - scores[0])
    return Parity(
        sentences=len(sources),
        same_outputs=float(np.mean([a == b for a, b in zip(*outputs, strict=True)])),
        mean_difference=float(apart.mean()),
        largest_difference=float(apart.max()),
        perplexity=float(np.exp(-scores[1].mean())),
        perplexity_before=float(np.exp(-scores[0].mean())),
    )
