"""What every trained model offers, whatever runs it: `predict` and `score`. Imports no torch.

The CLI, the server, the pictures and the evaluation know a model by this protocol only.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from suguk.config import Config, PredictConfig
from suguk.errors import UserError

EXPORTED = "model.onnx"  # in a run directory: the model in one file, which answers without torch
LONGEST_TEXT = (
    20_000  # characters of a source or a target; beyond it a line is surely not what a model was made for
)


@dataclass(frozen=True)
class Constraint:
    """What is asked of the outputs of one source. Words and phrases are looked for as the tokens they are cut into.

    required: every output holds all of them, where the beam finds one that ends; it must be wider than they have
    tokens, and they count for little in a beam that is only just so. banned: no output holds any.
    """

    prefix: str = ""  # outputs begin with it
    required: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """UserError for one text in place of several, and for what is no text."""
        if not isinstance(self.prefix, str):
            raise UserError(f"expected a text as prefix, found {self.prefix!r:.40}")
        for name in ("required", "banned"):
            given = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(text, str) for text in given):
                raise UserError(
                    f"expected several texts as {name}, found {given!r:.40}", hint=f"{name}=('very',)"
                )


Constraints = Constraint | Iterable[Constraint] | None  # one for all sources, or one for each


@dataclass(frozen=True)
class Hypothesis:
    """One output of the search.

    score: what n-best lists are ordered by, log probability over the length penalty (with `predict.mbr` agreement
    with the other outputs, of 100); log_prob: the plain sum of token log probabilities (natural logarithm, `<eos>`
    included when finished).
    """

    output: str
    score: float
    log_prob: float
    tokens: tuple[str, ...]  # without <eos>
    token_scores: tuple[float, ...]  # log p of each token, and of <eos> when finished
    finished: bool  # False: cut at the maximum length before <eos> came


@dataclass(frozen=True)
class Attention:
    """Weights over the source for each generated token. weights: [T, S]; rows sum to 1 (less for local-p)."""

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Prediction(Hypothesis):
    """The best hypothesis for one source, with the n-best list (itself first) and its attention when asked for.

    problem: why there is no hypothesis, where `skip_unmet` allows that: no output of the source meets what is asked
    for. The output is empty then, the score −∞ and the list without members.
    """

    source: str
    n_best: tuple[Hypothesis, ...]
    attention: Attention | None = None
    problem: str = ""

    @classmethod
    def unmet(cls, source: str) -> "Prediction":
        """The prediction that no output of the search could be."""
        told = f"no output meets all that is asked for: {source[:80]!r}"
        return cls("", -math.inf, -math.inf, (), (), False, source, (), problem=told)


@dataclass(frozen=True)
class Score:
    """A given target under the model (forced decoding): natural log probabilities, `<eos>` included."""

    log_prob: float
    tokens: tuple[str, ...]  # with <eos>
    token_scores: tuple[float, ...]


@runtime_checkable
class Predictor(Protocol):
    """A model that answers. `options=None` means the settings it was trained with (`config.predict`)."""

    config: Config

    def predict(
        self,
        sources: Sequence[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> list[Prediction]:
        """Predictions in the order of `sources`; an empty source is answered like any other.

        skip_unmet: whether a source of which no output meets what is asked for has an empty prediction with a
        `problem`, and the others are answered; UserError else, in `stream` once those before it are.
        """
        ...

    def stream(
        self,
        sources: Iterable[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> Iterator[Prediction]:
        """As `predict`, in input order, while later sources are still being read; memory stays bounded."""
        ...

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
        """Forced decoding of given pairs."""
        ...

    def attend(self, sources: Sequence[str], targets: Sequence[str]) -> list[Attention]:
        """Attention of forced decoding of given pairs, `<eos>` included. UserError for a model without attention."""
        ...
