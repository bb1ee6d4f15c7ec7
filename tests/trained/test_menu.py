"""What may be asked of a trained model: constraints, samples, groups, agreement, ensembles, vectors."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise, repeat
from typing import Any

import numpy as np
import pytest
import torch

from suguk.config import PredictConfig
from suguk.errors import UserError
from suguk.model import build
from suguk.predictor import Constraint, Prediction
from suguk.trained import TrainedEnsemble, TrainedModel
from tests.trained.test_answers import LINES, drawn, same


def asked(model: TrainedModel, **given: Any) -> PredictConfig:
    return PredictConfig.model_validate(model.config.predict.model_dump() | given)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    model = drawn(beam=4)
    torch.nn.init.constant_(model.model.head.bias[3:4].detach(), 1.5)  # outputs end, but not at once
    return model


def found(predictions: list[Prediction]) -> list[tuple[str, ...]]:
    return [one.tokens for prediction in predictions for one in prediction.n_best]


def test_lengths_and_repetitions(model: TrainedModel) -> None:
    options = asked(model, n_best=4, min_length=6, max_length=8, no_repeat_ngram=2)
    for tokens in found(model.predict(LINES, options)):
        assert 5 <= len(tokens) <= 8
        pairs = list(pairwise(tokens))
        assert len(set(pairs)) == len(pairs)


SPOKEN = [
    "the cat sat, on the mat .",
    '"Hello," said the well-known cat',
    "Hello (the known mat)",
    "on , the",
]


@pytest.mark.parametrize("word", [",", "Hello", "known", "the"])
def test_a_word_is_banned_wherever_it_stands(word: str) -> None:
    """After a space and without one, and in the place of an unknown word."""
    model = drawn(beam=1, lines=SPOKEN)
    options = asked(model, beam=64, n_best=64, sample=True, max_length=20)
    free = model.predict(SPOKEN, options)
    assert sum(word in one.output for prediction in free for one in prediction.n_best) > 9
    held = model.predict(SPOKEN, options, constraints=Constraint(banned=(word,)))
    assert not any(word in one.output for prediction in held for one in prediction.n_best)


@pytest.mark.parametrize("word", [",", "Hello", "known"])
def test_a_required_word_has_the_form_that_it_mostly_has(word: str) -> None:
    model = drawn(beam=4, lines=SPOKEN)
    torch.nn.init.constant_(model.model.head.bias[3:4].detach(), 3.0)
    prediction = model.predict(["the cat"], asked(model, beam=8), constraints=Constraint(required=(word,)))[0]
    assert word in prediction.output
    assert prediction.finished


def test_a_prefix_of_many_rows(model: TrainedModel) -> None:
    """Rows that have ended are put aside while the others go on."""
    lines = [*LINES, *(" ".join(LINES[at : at + 3]) for at in range(5))]
    options = asked(model, n_best=4, max_length=30)
    constraint = Constraint("the")
    for line, prediction in zip(lines, model.predict(lines, options, constraints=constraint), strict=True):
        assert prediction.output.startswith("the")
        same(model.predict([line], options, constraints=constraint)[0], prediction)


def test_what_nothing_meets_is_said(model: TrainedModel) -> None:
    for beam in (1, 4):
        options = asked(model, beam=beam, no_repeat_ngram=1, min_length=90, max_length=100)
        with pytest.raises(UserError, match="no output meets all that is asked for"):
            model.predict(["on"], options)


@pytest.mark.parametrize(
    "given", [{"prefix": "the " * 80}, {"required": (" ".join(["the"] * 80),), "beam": 90}]
)
def test_what_is_asked_for_may_be_longer_than_ten_times_the_source(
    model: TrainedModel, given: dict[str, Any]
) -> None:
    options = asked(model, beam=given.pop("beam", 2), max_length=100)
    prediction = model.predict(["on"], options, constraints=Constraint(**given))[0]
    assert prediction.output.split().count("the") >= 80


def test_an_output_may_have_to_be_longer_than_ten_times_the_source(model: TrainedModel) -> None:
    assert len(model.predict([""], asked(model, min_length=150, max_length=200))[0].token_scores) >= 150


@pytest.fixture
def unmet(model: TrainedModel) -> tuple[PredictConfig, list[Constraint]]:
    """Options and constraints of three sources; the second may write no word, and has to write three."""
    words = tuple(model.target.pieces(range(4, model.target.size)))
    options = asked(model, no_repeat_ngram=1, min_length=4, max_length=20)
    return options, [Constraint(), Constraint(banned=words), Constraint()]


def test_sources_before_the_one_that_nothing_meets_are_answered(
    model: TrainedModel, unmet: tuple[PredictConfig, list[Constraint]]
) -> None:
    lines = ["on", "the cat", "a"]
    answers = model.stream(lines, unmet[0], constraints=unmet[1])
    same(next(answers), model.predict(["on"], unmet[0])[0])
    with pytest.raises(UserError, match="source 2: no output meets"):
        next(answers)
    with pytest.raises(UserError, match="source 2: no output meets"):
        model.predict(lines, unmet[0], constraints=unmet[1])


def test_a_source_that_nothing_meets_can_be_skipped(
    model: TrainedModel, unmet: tuple[PredictConfig, list[Constraint]]
) -> None:
    lines = ["on", "the cat", "a"]
    for found in (
        model.predict(lines, unmet[0], constraints=unmet[1], skip_unmet=True),
        list(model.stream(lines, unmet[0], constraints=unmet[1], skip_unmet=True)),
    ):
        assert [bool(one.problem) for one in found] == [False, True, False]
        assert (found[1].source, found[1].output, found[1].n_best) == ("the cat", "", ())
        for at in (0, 2):
            same(found[at], model.predict([lines[at]], unmet[0])[0])


def test_what_is_no_list_of_texts(model: Any) -> None:
    wrong: Any = Constraint
    calls: list[tuple[Any, str]] = [
        (lambda: model.predict("cat"), "expected a list of texts, found 'cat'"),
        (lambda: model.stream("cat"), "expected a list of texts, found 'cat'"),
        (lambda: model.encode("cat"), "expected a list of texts, found 'cat'"),
        (lambda: model.encode(None), "expected a list of texts, found 'None'"),
        (lambda: model.score("ab", "xy"), "expected a list of texts, found 'ab'"),
        (lambda: model.attend(["ab"], "xy"), "expected a list of texts, found 'xy'"),
        (lambda: model.predict(["a", None]), "source 2: expected a text, found None"),
        (lambda: model.predict([b"a"]), "source 1: expected a text, found b'a'"),
        (lambda: model.predict(["a\ud800"]), "source 1: half a surrogate pair"),
        (lambda: model.score(["a"], ["a\ud800"]), "target 1: half a surrogate pair"),
        (lambda: model.predict(["a"], {"beam": 3}), "expected the options of a search"),
        (lambda: model.predict(["a"], constraints="cat"), "expected a Constraint, found 'c'"),
        (lambda: model.predict(["a"], constraints=Constraint("\ud800")), "half a surrogate pair"),
        (lambda: wrong(banned="cat"), "expected several texts as banned, found 'cat'"),
        (lambda: wrong(prefix=None), "expected a text as prefix, found None"),
    ]
    for call, message in calls:
        with pytest.raises(UserError, match=re.escape(message)):
            list(call())
    np.testing.assert_array_equal(model.encode(iter(LINES)), model.encode(LINES))
    assert model.encode(np.array(LINES)).shape == model.encode(LINES).shape


def test_a_sample_does_not_know_how_many_come_after_it(model: TrainedModel) -> None:
    few, many = (
        found(model.predict(LINES[3:4], asked(model, sample=True, beam=count, n_best=count)))
        for count in (3, 9)
    )
    assert not Counter(few) - Counter(many)


def test_a_beam_finds_what_is_at_least_as_likely_as_greedy_outputs(model: TrainedModel) -> None:
    """No theorem of a narrow beam, which may lose the greedy output on its way: so of all lines together."""
    plain = {"length_penalty": 0.0, "max_length": 9, "n_best": 1}
    greedy, narrow, wide = (
        sum(one.log_prob for one in model.predict(LINES, asked(model, beam=beam, **plain)))
        for beam in (1, 4, 12)
    )
    assert greedy <= narrow <= wide


def test_threads_may_share_a_model(model: TrainedModel) -> None:
    model.model.eval()  # as a loaded one is; one that is being trained is put into this state and back by each answer
    wanted = model.predict(LINES)

    def answer(_: int) -> list[Prediction]:
        return model.predict(LINES)

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(answer, range(12)):
            for one, other in zip(answers, wanted, strict=True):
                same(one, other)


def test_constraints_hold_for_every_output(model: TrainedModel) -> None:
    options = asked(model, beam=12, n_best=12)
    for one in model.predict(
        LINES, options, constraints=Constraint("the cat", ("mat", "a b"), ("on", "c d"))
    ):
        for output in one.n_best:
            text = f" {output.output} "
            assert output.output.startswith("the cat")
            assert " on " not in text
            assert "c d" not in text
            assert not output.finished or (" mat " in text and " a b " in text)
        assert any(output.finished for output in one.n_best)


def test_each_source_may_have_its_own(model: TrainedModel) -> None:
    each = [Constraint(prefix=word) for word in ["a", "b", "", "the cat", "on", "mat", "d"]]
    together = model.predict(LINES[:7], constraints=each)
    for line, one, prediction in zip(LINES, each, together, strict=False):
        assert prediction.output.startswith(one.prefix)
        same(model.predict([line], constraints=one)[0], prediction)
    assert [one.output for one in islice(model.stream(repeat("a"), constraints=repeat(each[3])), 3)] == [
        model.predict(["a"], constraints=each[3])[0].output
    ] * 3
    for wrong in (each[:3], [*each, each[0]]):
        with pytest.raises(UserError, match="a constraint for each source is needed"):
            model.predict(LINES[:7], constraints=wrong)


@pytest.mark.parametrize(
    ("constraint", "given", "message"),
    [
        (
            Constraint(required=("zebra",)),
            {},
            "'zebra': it can be neither asked for nor banned: not all of it is in the target's vocabulary",
        ),
        (Constraint(banned=("",)), {}, "it is empty"),
        (Constraint(required=("a b c d",)), {}, "4 tokens, so a beam of 5 is the least, found 4"),
        (Constraint(required=("a b",)), {"groups": 2}, "a beam of 3 is the least, found 2 in a group"),
        (Constraint(required=("a",)), {"sample": True}, "samples cannot be made to hold words"),
        (Constraint("a b c"), {"max_length": 3}, "a prefix of 3 tokens in outputs of at most 3"),
    ],
)
def test_what_cannot_be_is_said_before_the_search(
    model: TrainedModel, constraint: Constraint, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as fault:
        model.predict(["a"], asked(model, **given), constraints=constraint)
    assert message in str(fault.value)


def test_samples_depend_on_source_and_seed_alone(model: TrainedModel) -> None:
    options = asked(model, beam=3, n_best=3, sample=True)
    together = model.predict(LINES, options)
    for line, prediction in zip(LINES, together, strict=True):
        same(model.predict([line], options)[0], prediction)
    assert together[0].n_best == together[6].n_best  # the same source
    other = model.predict(LINES, asked(model, beam=3, n_best=3, sample=True, seed=2))
    assert found(other) != found(together)
    assert [len(one.n_best) for one in together] == [3] * len(LINES)  # equal samples are kept
    sure = model.predict(LINES, asked(model, beam=3, n_best=3, sample=True, top_k=1))
    greedy = model.predict(LINES, asked(model, beam=1))
    assert [one.tokens for one in sure] == [one.tokens for one in greedy]


def test_groups_differ_more_than_a_beam(model: TrainedModel) -> None:
    def different(**given: Any) -> int:
        options = asked(model, beam=6, n_best=6, **given)
        return sum(
            len({one.tokens[0] for one in each.n_best if one.tokens})
            for each in model.predict(LINES, options)
        )

    assert different(groups=6, diversity=2.0) > different(groups=1)
    for one in model.predict(LINES, asked(model, beam=6, n_best=6, groups=3)):
        order = [(not hypothesis.finished, -hypothesis.score) for hypothesis in one.n_best]
        assert order == sorted(order)


def test_the_output_that_agrees_most(model: TrainedModel) -> None:
    from sacrebleu.metrics.chrf import CHRF

    options = asked(model, beam=8, n_best=8, sample=True)
    plain = model.predict(LINES, options)
    chosen = model.predict(LINES, options.model_copy(update={"mbr": "chrf", "n_best": 1}), attention=True)
    for before, after in zip(plain, chosen, strict=True):
        outputs = [one.output for one in before.n_best]
        mean = [
            np.mean([CHRF().sentence_score(a, [b]).score if a or b else 100 for b in outputs])
            for a in outputs
        ]
        assert after.score == pytest.approx(max(mean))
        assert mean[outputs.index(after.output)] == pytest.approx(max(mean))
        assert after.attention is not None
        assert len(after.attention.weights) == len(after.token_scores)
    by_bleu = model.predict(LINES, asked(model, mbr="bleu"))
    assert all(one.output for one in by_bleu)


def test_coverage_needs_attention(model: TrainedModel) -> None:
    assert model.predict(LINES, asked(model, coverage_penalty=0.5))
    blind = drawn(recipe="sutskever2014")
    with pytest.raises(UserError, match="no attention"):
        blind.predict(["a"], asked(blind, coverage_penalty=0.5))


def test_an_ensemble_is_the_mean_of_probabilities(model: TrainedModel) -> None:
    other = drawn(recipe="small", beam=4)
    both = TrainedEnsemble.of([model, other])
    alone = [one.score(LINES, LINES[::-1]) for one in (model, other)]
    for whole, a, b in zip(both.score(LINES, LINES[::-1]), *alone, strict=True):
        wanted = np.logaddexp(a.token_scores, b.token_scores) - np.log(2)
        assert whole.token_scores == pytest.approx(wanted.tolist(), abs=1e-5)
    same_twice = TrainedEnsemble.of([model, model])
    for one, wanted_one in zip(same_twice.predict(LINES), model.predict(LINES), strict=True):
        same(one, wanted_one)
    for prediction in both.predict(LINES, attention=True):
        score = both.score([prediction.source], [prediction.output])[0]
        if score.tokens == (*prediction.tokens, "<eos>"):
            assert score.token_scores == pytest.approx(prediction.token_scores, abs=1e-4)
        assert prediction.attention is not None
        np.testing.assert_allclose(prediction.attention.weights.sum(1), 1, atol=1e-5)
    assert both.encode(LINES).shape[1] == model.encode(["a"]).shape[1] + other.encode(["a"]).shape[1]
    assert not TrainedEnsemble.of([model, drawn(recipe="sutskever2014")]).attends


def test_members_share_their_vocabularies(model: TrainedModel) -> None:
    other = drawn("char")
    with pytest.raises(UserError, match="models 1 and 2 have other source vocabularies"):
        TrainedEnsemble.of([model, other])


def test_members_copy_all_or_none(model: TrainedModel) -> None:
    config = model.config.model_copy(
        update={"model": model.config.model.model_copy(update={"copying": True})}
    )
    copying = build(config.model, model.source.size, model.target.size, seed=1)
    other = TrainedModel(config, model.source, model.target, copying)
    with pytest.raises(UserError, match="some of the models copy"):
        TrainedEnsemble.of([model, other])
    shown = other.predict(["a zebra c"], attention=True)[0].attention
    assert shown is not None
    assert shown.source_tokens == ("▁a", "▁zebra", "▁c", "<eos>")  # what can be copied, not `<unk>`
    both = TrainedEnsemble.of([other, other])
    for one, wanted in zip(
        both.predict(["a zebra c", "on"]), other.predict(["a zebra c", "on"]), strict=True
    ):
        same(one, wanted)
    for mean in (False, True):
        assert other.encode(["a zebra c"], mean=mean).shape[0] == 1


def test_vectors_do_not_know_their_batch(model: TrainedModel) -> None:
    for mean in (False, True):
        together = model.encode(LINES, mean=mean)
        assert together.shape == (len(LINES), model.config.model.annotation_size)
        for line, vector in zip(LINES, together, strict=True):
            np.testing.assert_allclose(model.encode([line], mean=mean)[0], vector, atol=1e-6)
    assert model.encode([]).shape == (0, model.config.model.annotation_size)
    ids = torch.from_numpy(model.source.encode("a b c")).long()[None]
    encoded = model.model.encoder.forward(ids, torch.tensor([4]))
    np.testing.assert_allclose(model.encode(["a b c"])[0], encoded.last[-1][0][0].detach(), atol=1e-6)
    np.testing.assert_allclose(
        model.encode(["a b c"], mean=True)[0], encoded.states[0].mean(0).detach(), atol=1e-6
    )


def test_attention_of_given_targets(model: TrainedModel) -> None:
    for source, target, shown in zip(LINES, LINES[::-1], model.attend(LINES, LINES[::-1]), strict=True):
        assert shown.source_tokens == tuple(model.source.tokens(model.source.encode(source)))
        assert shown.target_tokens == tuple(model.target.tokens(model.target.encode(target)))
        np.testing.assert_allclose(shown.weights.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(model.attend([source], [target])[0].weights, shown.weights, atol=1e-5)
