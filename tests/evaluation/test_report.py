"""Evaluations of a predictor that knows its answers."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from suguk.config import Config, PredictConfig
from suguk.errors import UserError
from suguk.evaluation import metrics
from suguk.evaluation.metrics import METRICS, corpus
from suguk.evaluation.report import DEFAULT, by_length, evaluate, perplexity
from suguk.predictor import Attention, Constraints, Prediction, Predictor, Score

ANSWERS = {
    "estoy en el metro": "i am on the subway",
    "hola": "hello",
    "no lo sé todavía amigo mío": "i do not know",
    "buenos días señora": "good day madam",
    "수국": "",
}
SOURCES = list(ANSWERS)
REFERENCES = [
    ["i am on the subway", "i'm on the subway"],
    ["hi", "hello", "hey"],
    ["i do not know yet my friend"],
    ["good morning madam"],
    ["hydrangea"],
]


class Dictionary:
    """A predictor that knows its answers; every token has the log probability `log_p`."""

    def __init__(self, answers: dict[str, str], log_p: float = math.log(1 / 7)) -> None:
        self.config = Config()
        self.answers = answers
        self.log_p = log_p
        self.asked: list[PredictConfig | None] = []

    def predict(
        self,
        sources: Sequence[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> list[Prediction]:
        return list(
            self.stream(sources, options, attention=attention, constraints=constraints, skip_unmet=skip_unmet)
        )

    def stream(
        self,
        sources: Iterable[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> Iterator[Prediction]:
        assert not attention
        assert not skip_unmet
        assert constraints is None
        self.asked.append(options)
        for source in sources:
            output = self.answers[source]
            tokens = tuple(output.split())
            token_scores = (self.log_p,) * (len(tokens) + 1)
            log_prob = sum(token_scores)
            yield Prediction(
                output,
                log_prob,
                log_prob,
                tokens,
                token_scores,
                finished=output != "",
                source=source,
                n_best=(),
            )

    def attend(self, sources: Sequence[str], targets: Sequence[str]) -> list[Attention]:
        raise NotImplementedError

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
        assert len(sources) == len(targets)
        scores = []
        for target in targets:
            tokens = (*target.split(), "<eos>")
            scores.append(Score(self.log_p * len(tokens), tokens, (self.log_p,) * len(tokens)))
        return scores


@pytest.fixture
def model() -> Dictionary:
    answering: Predictor = Dictionary(ANSWERS)
    assert isinstance(answering, Dictionary)
    return answering


def test_scores_are_those_of_the_outputs(model: Dictionary) -> None:
    seen: list[Prediction] = []
    options = PredictConfig(beam=1)
    evaluation = evaluate(model, SOURCES, REFERENCES, options, METRICS, on_prediction=seen.append)
    assert evaluation.scores == corpus(list(ANSWERS.values()), REFERENCES, METRICS)
    assert [prediction.source for prediction in seen] == SOURCES
    assert model.asked == [options]
    assert (evaluation.sources, evaluation.references, evaluation.unfinished) == (5, 8, 1)
    assert evaluation.output_tokens == sum(len(output.split()) + 1 for output in ANSWERS.values())
    assert evaluation.seconds > 0
    assert evaluation.sentences_per_second == pytest.approx(5 / evaluation.seconds)
    assert evaluation.tokens_per_second == pytest.approx(evaluation.output_tokens / evaluation.seconds)


def test_default_metrics_and_options_reach_the_metrics(model: Dictionary) -> None:
    evaluation = evaluate(model, SOURCES, REFERENCES, lowercase=True, tokenize="none")
    assert tuple(evaluation.scores) == DEFAULT
    assert "|case:lc|eff:no|tok:none|" in evaluation.scores["bleu"].signature
    assert tuple(evaluate(model, SOURCES, REFERENCES, names=["cer", "cer"]).scores) == ("cer",)


def test_what_groups_and_examples_need_is_asked_for_before_anything_is_decoded(
    model: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(outputs: Any, references: Any, names: Sequence[str], *, tokenize: str) -> None:
        del outputs, references
        assert set(names) == {"exact", "bleu", "chrf"}
        raise UserError(f"{tokenize} needs more packages")

    monkeypatch.setattr(metrics, "corpus", lacking)
    with pytest.raises(UserError, match="ko-mecab needs more"):
        evaluate(model, SOURCES, REFERENCES, names=["exact"], tokenize="ko-mecab")
    assert model.asked == []


def test_perplexity_counts_every_reference_token_and_its_end(model: Dictionary) -> None:
    assert perplexity(model, SOURCES, REFERENCES) == pytest.approx(7)

    class Uneven(Dictionary):
        def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
            assert list(sources) == ["x", "x", "y"]
            return [Score(-len(target) * 1.0, (target,), (-len(target) * 1.0,)) for target in targets]

    assert perplexity(Uneven({}), ["x", "y"], [["a", "bbb"], ["cc"]]) == pytest.approx(math.exp(6 / 3))


@pytest.mark.parametrize("log_p", [-math.inf, -1e4])
def test_a_hopeless_perplexity_is_infinite_and_still_json(log_p: float) -> None:
    evaluation = evaluate(Dictionary(ANSWERS, log_p), SOURCES, REFERENCES)
    assert evaluation.perplexity == math.inf
    assert json.loads(json.dumps(evaluation.to_json(), allow_nan=False))["perplexity"] is None
    assert "inf" in evaluation.text()


def test_groups_by_words_cover_all_sources_once(model: Dictionary) -> None:
    evaluation = evaluate(model, SOURCES, REFERENCES)
    assert evaluation.unit == "words"
    assert [group.label for group in evaluation.groups] == ["1", "3", "4", "6"]
    assert [group.count for group in evaluation.groups] == [2, 1, 1, 1]
    by_label = {group.label: group for group in evaluation.groups}
    assert by_label["4"].chrf == by_label["4"].exact == 100
    assert by_label["4"].bleu == pytest.approx(100)
    assert by_label["1"].exact == 50
    assert by_label["1"].bleu > 0  # effective order: single words are not 0 for want of four


def test_groups_are_quantiles() -> None:
    sources = ["x " * length + "x" for length in range(1, 61)]
    unit, groups = by_length(sources, sources, [[source] for source in sources])
    assert unit == "words"
    assert [(group.low, group.high) for group in groups] == [
        (2, 11), (12, 21), (22, 31), (32, 41), (42, 51), (52, 61)
    ]  # fmt: skip
    assert {group.count for group in groups} == {10}
    assert all(group.chrf == 100 for group in groups)


def test_sources_without_spaces_are_counted_in_characters() -> None:
    unit, groups = by_length(["수국", "꽃", "수국꽃"], ["a", "b", "c"], [["a"], ["b"], ["x"]])
    assert unit == "characters"
    assert [(group.label, group.count, group.exact) for group in groups] == [
        ("1", 1, 100), ("2", 1, 100), ("3", 1, 0)
    ]  # fmt: skip


def test_examples_are_the_ends_of_the_order() -> None:
    sources = [f"s{k}" for k in range(11)]
    target = "abcdefghijk"
    answers = {source: target[:k] + "z" * (11 - k) for k, source in enumerate(sources)}
    evaluation = evaluate(Dictionary(answers), sources, [[target]] * 11)
    assert [example.source for example in evaluation.examples] == ["s0", "s1", "s2", "s8", "s9", "s10"]
    scores = [example.chrf for example in evaluation.examples]
    assert scores == sorted(scores)
    one = evaluate(Dictionary({"a": "b"}), ["a"], [["c"]])
    assert len(one.examples) == 1


def test_json_has_everything_and_only_plain_values(model: Dictionary) -> None:
    plain = evaluate(model, SOURCES, REFERENCES).to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == {
        **plain,
        "examples": [{**example, "references": list(example["references"])} for example in plain["examples"]],
    }
    assert plain["scores"]["bleu"].keys() == {"score", "signature"}
    assert plain["groups"][0]["count"] == 2
    assert plain["perplexity"] == pytest.approx(7)
    assert plain["sentences_per_second"] > 0


def test_text_is_an_aligned_table(model: Dictionary) -> None:
    evaluation = evaluate(model, SOURCES, REFERENCES)
    text = evaluation.text()
    lines = text.splitlines()
    for label in ("BLEU ↑", "chrF ↑", "TER ↓", "exact ↑", "CER ↓", "WER ↓", "perplexity ↓"):
        assert sum(line.startswith(label) for line in lines) == 1, label
    columns = {line.find(value.signature) for value in evaluation.scores.values() for line in lines} - {-1}
    assert len(columns) == 1
    assert "words in source  n" in text
    assert "5 sources, 8 references; outputs cut at the maximum length: 1" in text
    assert "source     수국\n" in text
    assert not any(line != line.rstrip() for line in lines)


def test_control_characters_do_not_reach_the_terminal() -> None:
    evaluation = evaluate(Dictionary({"a": "\x1b[31mred\nline"}), ["a"], [["x" * 300]])
    assert "\x1b" not in evaluation.text()
    assert "�[31mred�line" in evaluation.text()
    assert "x" * 200 + "…" in evaluation.text()


def test_mistakes_are_found_before_decoding(model: Dictionary) -> None:
    with pytest.raises(UserError, match="each of 5 sources, found references for 4"):
        evaluate(model, SOURCES, REFERENCES[:4])
    with pytest.raises(UserError, match="found no sources"):
        evaluate(model, [], [])
    with pytest.raises(UserError, match="unknown metric 'rouge'"):
        evaluate(model, SOURCES, REFERENCES, names=["rouge"])
    with pytest.raises(UserError, match="unknown tokenisation"):
        evaluate(model, SOURCES, REFERENCES, tokenize="moses")
    assert model.asked == []
