"""Validation: which metric, which sources, and the same loss as forced decoding."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from suguk import config as settings
from suguk.config import Config
from suguk.data.prepare import Prepared, prepare
from suguk.errors import UserError
from suguk.model import build
from suguk.trained import TrainedModel
from suguk.training.run import _nested
from suguk.training.validate import Validator, metric_name, perplexity
from tests.training.tiny_task import TINY


def prepared(data: Path, **changes: Any) -> Prepared:
    given = _nested(TINY | {"data.train": [str(data)]} | changes)
    return prepare(settings.load("small", given))


def trained(ready: Prepared) -> TrainedModel:
    model = build(ready.config.model, ready.source.size, ready.target.size, seed=3)
    return TrainedModel(ready.config, ready.source, ready.target, model)


class Kind:
    def __init__(self, kind: str) -> None:
        self.kind = kind


@pytest.mark.parametrize(
    ("kind", "name"),
    [("char", "exact"), ("symbols", "exact")]
    + [(kind, "chrf") for kind in ("bpe", "unigram", "word", "byte")],
)
def test_auto_goes_by_the_target(kind: Any, name: str) -> None:
    assert metric_name(Config(), Kind(kind)) == name  # type: ignore[arg-type]


def test_a_metric_asked_for_is_used() -> None:
    config = settings.build({"train": {"valid_metric": "wer"}})
    assert metric_name(config, Kind("bpe")) == "wer"  # type: ignore[arg-type]


def test_references_of_a_source_stay_together(tmp_path: Path) -> None:
    valid = tmp_path / "valid.tsv"
    valid.write_text("ab\tba\nabc\tcba\nab\tx\n", encoding="utf-8")
    train = tmp_path / "train.tsv"
    train.write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "abcx" for b in "efg"), encoding="utf-8")
    ready = prepared(train, **{"data.valid": [str(valid)]})
    validator = Validator(ready.config, ready.source, ready.target, ready.valid)
    assert validator.sources == ["ab", "abc"]
    assert validator.references == [["ba", "x"], ["cba"]]
    assert len(validator.dataset) == 3
    # One and a half times the longest reference with its <eos>, and ten more.
    assert validator.options.max_length == 16
    assert (validator.options.beam, validator.options.n_best) == (1, 1)


def test_at_most_valid_samples_always_the_same(data: Path) -> None:
    ready = prepared(data, **{"data.valid_share": 0.3, "train.valid_samples": 11})
    chosen = [Validator(ready.config, ready.source, ready.target, ready.valid).sources for _ in range(2)]
    assert len(chosen[0]) == 11
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) <= set(ready.valid.sources)
    other = ready.config.model_copy(update={"train": ready.config.train.model_copy(update={"seed": 2})})
    assert Validator(other, ready.source, ready.target, ready.valid).sources != chosen[0]


def test_the_loss_is_that_of_forced_decoding(data: Path) -> None:
    ready = prepared(data, **{"data.valid_share": 0.2})
    validator, model = Validator(ready.config, ready.source, ready.target, ready.valid), trained(ready)
    scores = model.score(ready.valid.sources, ready.valid.targets)
    tokens = sum(len(score.token_scores) for score in scores)
    expected = -math.fsum(score.log_prob for score in scores) / tokens
    model.model.train()  # dropout must be off inside, and on again after
    assert validator.loss(model) == pytest.approx(expected, rel=1e-6)
    assert model.model.training


def test_a_validation_leaves_the_random_state_alone(data: Path) -> None:
    ready = prepared(data)
    validator, model = Validator(ready.config, ready.source, ready.target, ready.valid), trained(ready)
    model.model.train()
    before = torch.get_rng_state()
    first = validator(model)
    assert torch.equal(before, torch.get_rng_state())
    assert first._replace(seconds=0) == validator(model)._replace(seconds=0)
    assert first.example.source in validator.sources
    assert validator.guess_seconds(model) > 0


def test_perplexity_decodes_only_the_example(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepared(data, **{"train.valid_metric": "perplexity"})
    validator, model = Validator(ready.config, ready.source, ready.target, ready.valid), trained(ready)
    asked = []
    predict = model.predict

    def listen(sources: Any, *options: Any) -> Any:
        asked.extend(sources)
        return predict(sources, *options)

    monkeypatch.setattr(model, "predict", listen)
    result = validator(model)
    assert result.score == result.perplexity == pytest.approx(math.exp(result.loss))
    assert asked == [result.example.source]


def test_a_hopeless_perplexity_is_infinite() -> None:
    assert perplexity(1e6) == math.inf


def test_it_is_greedy_whatever_the_search_is_set_to(data: Path) -> None:
    plain = prepared(data)
    wild = prepared(
        data,
        **{"predict.beam": 6, "predict.groups": 3, "predict.n_best": 2, "predict.min_length": 4}
        | {"predict.no_repeat_ngram": 1, "predict.coverage_penalty": 0.3, "predict.mbr": "chrf"},
    )
    drawn = prepared(data, **{"predict.sample": True})
    results = []
    for ready in (plain, wild, drawn):
        found = Validator(ready.config, ready.source, ready.target, ready.valid)(trained(ready))
        results.append(found._replace(seconds=0))
    assert results[0] == results[1] == results[2]


def test_a_full_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a batch in halves, and outputs of fewer sources at once, are the same."""
    ready = prepared(data)
    model = trained(ready)
    whole = Validator(ready.config, ready.source, ready.target, ready.valid)(model)
    encode, most = model.model.encode, 2

    def tight(source: Any, *rest: Any) -> Any:
        if len(source) > most:
            raise torch.OutOfMemoryError("out of memory")
        return encode(source, *rest)

    monkeypatch.setattr(model.model, "encode", tight)
    found = Validator(ready.config, ready.source, ready.target, ready.valid)(model)
    assert found.score == whole.score
    assert found.loss == pytest.approx(whole.loss)
    most = 0
    with pytest.raises(UserError, match="a single validation pair does not fit"):
        Validator(ready.config, ready.source, ready.target, ready.valid)(model)
