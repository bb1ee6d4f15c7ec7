"""Predictions and scores of a model with drawn weights: order, batches, empty and overlong sources, unknown words."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from suguk import config
from suguk.config import PredictConfig
from suguk.errors import UserError
from suguk.fields import TextField
from suguk.model import build
from suguk.predictor import LONGEST_TEXT, Prediction, Predictor
from suguk.trained import TrainedModel

LINES = ["a b c", "b c d e a", "", "the cat sat on the mat .", "on", "the mat", "a b c", "cat d"]


def drawn(
    kind: Any = "word", recipe: str = "luong2015", lines: Sequence[str] = LINES, **predict: Any
) -> TrainedModel:
    sizes = {"hidden": 8, "embedding": 5, "readout_size": 7, "layers": 2}
    if recipe == "small":
        sizes["encoder_hidden"] = 4
    shown = {"beam": 4, "max_length": 9, **predict}
    settings = config.load(recipe, {"model": sizes, "predict": shown})
    field = TextField.train(kind, lines, 40)
    model = build(settings.model, field.size, field.size, seed=1)
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -1.0, 1.0)
    torch.nn.init.constant_(model.head.bias[:4].detach(), 0.0)
    return TrainedModel(settings, field, field, model)


def same(found: Prediction, wanted: Prediction) -> None:
    assert (found.source, found.tokens, found.output) == (wanted.source, wanted.tokens, wanted.output)
    assert found.score == pytest.approx(wanted.score, abs=1e-4)
    assert [h.output for h in found.n_best] == [h.output for h in wanted.n_best]


def test_it_is_a_predictor() -> None:
    assert isinstance(drawn(), Predictor)


@pytest.mark.parametrize("recipe", ["luong2015", "small", "bahdanau2014", "cho2014", "sutskever2014"])
def test_batches_do_not_matter_and_order_is_kept(recipe: str) -> None:
    model = drawn(recipe=recipe, n_best=3)
    together = model.predict(LINES)
    assert [prediction.source for prediction in together] == LINES
    small = model.config.predict.model_copy(update={"batch_tokens": 1})
    for line, prediction, apart in zip(LINES, together, model.predict(LINES, small), strict=True):
        same(model.predict([line])[0], prediction)
        same(apart, prediction)
    for found, wanted in zip(model.predict(LINES[::-1])[::-1], together, strict=True):
        same(found, wanted)
    assert model.predict([]) == []


def test_a_stream_is_read_as_it_is_needed() -> None:
    read = []

    def endless() -> Any:
        while True:
            read.append(1)
            yield LINES[len(read) % len(LINES)]

    stream = drawn().stream(endless())
    assert [next(stream).source for _ in range(3)] == [LINES[1], LINES[2], LINES[3]]
    assert len(read) == 16


def test_more_sources_than_a_chunk() -> None:
    model = drawn(beam=1)
    sources = [f"a {LINES[i % 7]} b" for i in range(61)]
    assert [prediction.source for prediction in model.predict(sources)] == sources


def test_the_n_best_list() -> None:
    for prediction in drawn(n_best=4).predict(LINES):
        outputs = [hypothesis.output for hypothesis in prediction.n_best]
        assert 1 <= len(outputs) <= 4
        assert len(set(outputs)) == len(outputs)
        assert prediction.n_best[0].output == prediction.output
        order = [(not hypothesis.finished, -hypothesis.score) for hypothesis in prediction.n_best]
        assert order == sorted(order)
        for hypothesis in prediction.n_best:
            assert len(hypothesis.token_scores) == len(hypothesis.tokens) + hypothesis.finished
            assert sum(hypothesis.token_scores) == pytest.approx(hypothesis.log_prob, abs=1e-4)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_the_score_of_an_output_is_its_log_probability(kind: str) -> None:
    model = drawn(kind, replace_unknown=False, max_length=40)
    torch.nn.init.constant_(model.model.head.bias[3:4].detach(), 3.0)  # outputs end soon
    compared = 0
    for prediction in model.predict(LINES):
        again = model.target.tokens(model.target.encode(prediction.output))[:-1]
        if prediction.finished and tuple(again) == prediction.tokens:
            score = model.score([prediction.source], [prediction.output])[0]
            assert score.log_prob == pytest.approx(prediction.log_prob, abs=1e-4)
            assert score.token_scores == pytest.approx(prediction.token_scores, abs=1e-4)
            assert score.tokens == (*prediction.tokens, "<eos>")
            compared += 1
    assert compared > 0


def test_scores_keep_their_order_and_do_not_know_their_batch() -> None:
    model = drawn()
    together = model.score(LINES, LINES[::-1])
    for source, target, score in zip(LINES, LINES[::-1], together, strict=True):
        alone = model.score([source], [target])[0]
        assert score.tokens == alone.tokens
        assert score.token_scores == pytest.approx(alone.token_scores, abs=1e-5)
    with pytest.raises(UserError, match="as many"):
        model.score(["a"], [])


def test_attention_has_a_row_a_token_and_a_column_a_source_token() -> None:
    for prediction in drawn().predict(LINES, attention=True):
        assert prediction.attention is not None
        shown = prediction.attention
        assert shown.weights.shape == (len(shown.target_tokens), len(shown.source_tokens))
        assert shown.source_tokens[-1] == "<eos>"
        assert len(shown.target_tokens) == len(prediction.token_scores)
        assert shown.weights.sum(-1) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(UserError, match="no attention"):
        drawn(recipe="cho2014").predict(["a"], attention=True)


def test_an_overlong_source_is_named_by_its_place_in_the_stream() -> None:
    sources = ["a"] * 20 + ["b" * (LONGEST_TEXT + 1)]
    with pytest.raises(UserError, match=r"source 21: 20,001 characters"):
        drawn().predict(sources)


def test_an_output_is_at_most_ten_times_its_source_and_fifty() -> None:
    model = drawn(max_length=1000, beam=1)
    torch.nn.init.constant_(model.model.head.bias[3:4].detach(), -1e9)
    for prediction in model.predict(LINES):
        assert not prediction.finished
        assert len(prediction.tokens) == 10 * len(model.source.encode(prediction.source)) + 50


def test_unknown_words_are_replaced_by_the_most_attended_word() -> None:
    model = drawn(beam=3, n_best=2)
    torch.nn.init.constant_(model.model.head.bias[1:2].detach(), 1e4)
    source = "on the moon"
    prediction = model.predict([source], attention=True)[0]
    assert set(prediction.tokens) == {"<unk>"}
    assert prediction.attention is not None
    words = source.split()
    weights = prediction.attention.weights[:, : len(words)]
    assert prediction.output.split() == [words[at] for at in weights[: len(prediction.tokens)].argmax(-1)]
    for hypothesis in prediction.n_best:
        assert "<unk>" not in hypothesis.output
    plain = model.predict([source], PredictConfig(beam=1, max_length=9, replace_unknown=False))[0]
    assert "<unk>" in plain.output


def test_answering_leaves_the_model_in_training_mode() -> None:
    model = drawn()
    model.model.train()
    stream = model.stream(LINES)
    next(stream)
    assert model.model.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
