"""An exported model answers as PyTorch does, whatever is asked and whatever is beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suguk.config import PredictConfig
from suguk.export.graph import traced
from suguk.export.write import finished, with_metadata
from suguk.predictor import Constraint, Prediction, Predictor
from suguk.runtime import OnnxModel
from suguk.trained import TrainedEnsemble, TrainedModel
from tests.export.conftest import LINES, MODELS, drawn
from tests.model.compositions import CHOICES

Pairs = Callable[..., tuple[TrainedModel, OnnxModel]]


# One of each that may be asked for, and several together.
MENU: tuple[dict[str, Any], ...] = (
    {"beam": 1, "min_length": 5},
    {"beam": 4, "n_best": 4, "min_length": 4, "no_repeat_ngram": 2},
    {"beam": 5, "n_best": 5, "no_repeat_ngram": 1, "max_length": 6},
    {"beam": 3, "n_best": 3, "coverage_penalty": 0.4, "length_penalty": 1.0},
    {"beam": 6, "n_best": 6, "groups": 3, "diversity": 1.5},
    {"beam": 5, "n_best": 5, "sample": True},
    {"beam": 4, "n_best": 4, "sample": True, "top_k": 3, "temperature": 0.7, "seed": 9},
    {"beam": 4, "n_best": 4, "sample": True, "top_p": 0.6, "min_length": 3},
    {"beam": 6, "n_best": 2, "sample": True, "mbr": "chrf"},
    {"beam": 6, "n_best": 6, "constraints": Constraint("the cat", ("mat",), ("on the", "sat"))},
    {
        "beam": 8,
        "n_best": 8,
        "constraints": [Constraint(required=(word,)) for word in ["a", "b", "c", "d", "e", "on", "sat", "a"]],
    },
    {"beam": 1, "constraints": Constraint(banned=("a", "b c", "the"))},
    {
        "beam": 4,
        "n_best": 4,
        "constraints": [Constraint(), Constraint("a b")] * 3 + [Constraint(banned=("a",))] * 2,
    },
)


def options_of(model: TrainedModel | TrainedEnsemble, given: dict[str, Any]) -> tuple[PredictConfig, Any]:
    """Search settings and constraints of a line of the menu."""
    settings = {key: value for key, value in given.items() if key != "constraints"}
    base = model.config.predict
    return type(base).model_validate(base.model_dump() | settings), given.get("constraints")


def same(found: Prediction, wanted: Prediction, within: float = 1e-4) -> None:
    assert (found.source, found.tokens, found.finished) == (wanted.source, wanted.tokens, wanted.finished)
    assert found.score == pytest.approx(wanted.score, abs=within)
    assert found.token_scores == pytest.approx(wanted.token_scores, abs=within)
    assert [one.tokens for one in found.n_best] == [one.tokens for one in wanted.n_best]


def test_every_choice_is_exported() -> None:
    """By one of the models below."""
    chosen = {
        (key, value)
        for name in (*MODELS, "code")
        for key, value in drawn(name).config.model.model_dump().items()
        if isinstance(value, str | bool)
    }
    for key, values in CHOICES.items():
        assert {(key, value) for value in values if isinstance(value, str | bool)} <= chosen


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model(name: str, pairs: Pairs) -> None:
    """Both forms in one test: what takes seconds is the tracing, which they share."""
    in_single_precision(*pairs(name, single=True))
    in_eight_bits(*pairs(name, single=False))


def in_single_precision(
    trained: TrainedModel | TrainedEnsemble, exported: OnnxModel, lines: list[str] = LINES
) -> None:
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
            exported.predict(lines, options), trained.predict(lines, options), strict=True
        ):
            same(found, wanted)
    options = type(base).model_validate(base.model_dump() | {"beam": 2, "batch_tokens": 100_000})
    long = [" ".join(["the cat sat on"] * count) for count in (40, 500)]
    for several in (lines[:2], lines[:7], [*(lines * 8)[:63], long[0]], long[1:]):
        both = [model.predict(several, options) for model in (exported, trained)]
        for found, wanted in zip(*both, strict=True):
            same(found, wanted)
    for given in MENU:
        options, asked = options_of(trained, given)
        if options.coverage_penalty and not trained.attends:
            continue
        both = [model.predict(lines, options, constraints=asked) for model in (exported, trained)]
        for found, wanted in zip(*both, strict=True):
            same(found, wanted)
    for mean in (False, True):
        np.testing.assert_allclose(
            exported.encode(lines, mean=mean), trained.encode(lines, mean=mean), atol=1e-5
        )
        assert exported.encode([], mean=mean).shape == (0, trained.encode(lines).shape[1])
    targets = lines[3:] + lines[:3]
    for one, other in zip(exported.score(lines, targets), trained.score(lines, targets), strict=True):
        assert one.tokens == other.tokens
        assert one.token_scores == pytest.approx(other.token_scores, abs=1e-4)
    if trained.attends:
        both = [model.predict(lines, attention=True) for model in (exported, trained)]
        for found, wanted in zip(*both, strict=True):
            assert found.attention is not None
            assert wanted.attention is not None
            np.testing.assert_allclose(found.attention.weights, wanted.attention.weights, atol=1e-5)


def in_eight_bits(trained: TrainedModel, exported: OnnxModel, lines: list[str] = LINES) -> None:
    """A row's neighbours do not matter, search and forced decoding agree, and scores are near those of PyTorch."""
    together = exported.predict(lines)
    for line, prediction in zip(lines, together, strict=True):
        same(exported.predict([line])[0], prediction, 1e-5)
    for found, wanted in zip(exported.predict(lines[::-1])[::-1], together, strict=True):
        same(found, wanted, 1e-5)
    for given in MENU:
        options, asked = options_of(trained, given)
        if options.coverage_penalty and not trained.attends:
            continue
        several = exported.predict(lines, options, constraints=asked)
        for at, (line, prediction) in enumerate(zip(lines, several, strict=True)):
            alone = asked[at : at + 1] if isinstance(asked, list) else asked
            same(exported.predict([line], options, constraints=alone)[0], prediction, 1e-5)
        scored = [one for one in several if one.finished and "<unk>" not in one.tokens]
        told = exported.score([one.source for one in scored], [one.output for one in scored])
        for forced, searched in zip(told, scored, strict=True):
            assert forced.tokens[:-1] == searched.tokens
            assert forced.token_scores == pytest.approx(searched.token_scores, abs=1e-5)
    scores, before = exported.score(lines, lines[::-1]), trained.score(lines, lines[::-1])
    for one, source, target in zip(scores, lines, lines[::-1], strict=True):
        assert exported.score([source], [target])[0].token_scores == pytest.approx(one.token_scores, abs=1e-5)
    # Weights drawn so large make states chaotic; a trained model loses far less.
    apart = [np.abs(np.subtract(a.token_scores, b.token_scores)) for a, b in zip(scores, before, strict=True)]
    assert 0 < np.concatenate(apart).mean() < 0.2


def test_a_model_that_copies(pairs: Pairs) -> None:
    """Words that no vocabulary has come through, the same ones in both."""
    lines = ["a zebra c", *LINES[1:3], "the zebra sat by zebra and quux .", *LINES[4:7], "zebra"]
    trained, exported = pairs("code", single=True)
    in_single_precision(trained, exported, lines)
    outputs = [prediction.output for prediction in exported.predict(lines)]
    assert any("zebra" in output for output in outputs)
    in_eight_bits(*pairs("code", single=False), lines)


def test_an_unknown_word_is_replaced_in_both(pairs: Pairs) -> None:
    trained, exported = pairs("small", single=True)
    sources = ["a moon b", "the ☃ on"]
    options = trained.config.predict.model_copy(update={"replace_unknown": True})
    for found, wanted in zip(
        exported.predict(sources, options), trained.predict(sources, options), strict=True
    ):
        assert found.output == wanted.output


def test_an_ensemble_in_one_file() -> None:
    """Members of other cells and attentions; one graph answers as PyTorch's mean of probabilities does."""
    members = [drawn("small"), drawn("luong2015-local-p"), drawn("chars")]
    trained = TrainedEnsemble.of(members)
    content = with_metadata(finished(traced(trained.model), single=True), trained, {"ensemble": [{}] * 3})
    in_single_precision(trained, OnnxModel.of(content, Path("ensemble.onnx"), threads=1))


def test_threads_may_share_a_model(pairs: Pairs) -> None:
    _, exported = pairs("small", single=True)
    wanted = exported.predict(LINES)

    def answer(_: Any) -> list[Prediction]:
        return exported.predict(LINES)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(answer, range(12)):
            for one, other in zip(found, wanted, strict=True):
                same(one, other, 1e-6)
