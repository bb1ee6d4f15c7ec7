"""An exported model answers as PyTorch does, whatever is asked and whatever is beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from suguk.predictor import Prediction, Predictor
from suguk.runtime import OnnxModel
from suguk.trained import TrainedModel
from tests.export.conftest import LINES, MODELS

Pairs = Callable[..., tuple[TrainedModel, OnnxModel]]


def same(found: Prediction, wanted: Prediction, within: float = 1e-4) -> None:
    assert (found.source, found.tokens, found.finished) == (wanted.source, wanted.tokens, wanted.finished)
    assert found.score == pytest.approx(wanted.score, abs=within)
    assert found.token_scores == pytest.approx(wanted.token_scores, abs=within)
    assert [one.tokens for one in found.n_best] == [one.tokens for one in wanted.n_best]


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model(name: str, pairs: Pairs) -> None:
    """Both forms in one test: what takes seconds is the tracing, which they share."""
    in_single_precision(*pairs(name, single=True))
    in_eight_bits(*pairs(name, single=False))


def in_single_precision(trained: TrainedModel, exported: OnnxModel) -> None:
    """Outputs, scores and attention are those of PyTorch."""
    assert isinstance(exported, Predictor)
    base = trained.config.predict
    for given in (
        {"beam": 1},
        {"beam": 4, "n_best": 3},
        {"beam": 9, "n_best": 9, "length_penalty": 1.5, "penalty": "average"},
        {"beam": 2, "max_length": 1},
        {"beam": 3, "batch_tokens": 1, "max_length": 30},
    ):
        options = type(base).model_validate(base.model_dump() | given)
        for found, wanted in zip(
            exported.predict(LINES, options), trained.predict(LINES, options), strict=True
        ):
            same(found, wanted)
    targets = LINES[3:] + LINES[:3]
    for one, other in zip(exported.score(LINES, targets), trained.score(LINES, targets), strict=True):
        assert one.tokens == other.tokens
        assert one.token_scores == pytest.approx(other.token_scores, abs=1e-4)
    if trained.attends:
        both = [model.predict(LINES, attention=True) for model in (exported, trained)]
        for found, wanted in zip(*both, strict=True):
            assert found.attention is not None
            assert wanted.attention is not None
            np.testing.assert_allclose(found.attention.weights, wanted.attention.weights, atol=1e-5)


def in_eight_bits(trained: TrainedModel, exported: OnnxModel) -> None:
    """A row's neighbours do not matter, and scores are near those of PyTorch."""
    together = exported.predict(LINES)
    for line, prediction in zip(LINES, together, strict=True):
        same(exported.predict([line])[0], prediction, 1e-5)
    for found, wanted in zip(exported.predict(LINES[::-1])[::-1], together, strict=True):
        same(found, wanted, 1e-5)
    scores, before = exported.score(LINES, LINES[::-1]), trained.score(LINES, LINES[::-1])
    for one, source, target in zip(scores, LINES, LINES[::-1], strict=True):
        assert exported.score([source], [target])[0].token_scores == pytest.approx(one.token_scores, abs=1e-5)
    # Weights drawn so large make states chaotic; a trained model loses far less.
    apart = [np.abs(np.subtract(a.token_scores, b.token_scores)) for a, b in zip(scores, before, strict=True)]
    assert 0 < np.concatenate(apart).mean() < 0.2


def test_an_unknown_word_is_replaced_in_both(pairs: Pairs) -> None:
    trained, exported = pairs("small", single=True)
    sources = ["a moon b", "the ☃ on"]
    options = trained.config.predict.model_copy(update={"replace_unknown": True})
    for found, wanted in zip(
        exported.predict(sources, options), trained.predict(sources, options), strict=True
    ):
        assert found.output == wanted.output


def test_threads_may_share_a_model(pairs: Pairs) -> None:
    _, exported = pairs("small", single=True)
    wanted = exported.predict(LINES)

    def answer(_: Any) -> list[Prediction]:
        return exported.predict(LINES)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(answer, range(12)):
            for one, other in zip(found, wanted, strict=True):
                same(one, other, 1e-6)
