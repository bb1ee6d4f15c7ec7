"""Agreement among outputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from suguk import agreement
from suguk.predictor import Hypothesis

texts = st.lists(st.text("ab cdé한", max_size=12), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(texts)
def test_chrf_is_sacrebleus(drawn: list[str]) -> None:
    found = agreement.chrf(drawn)
    for a, row in zip(drawn, found, strict=True):
        for b, score in zip(drawn, row, strict=True):
            if a.split() or b.split():
                assert score == pytest.approx(CHRF().sentence_score(a, [b]).score, abs=1e-9)
            else:
                assert score == 100


@settings(max_examples=30, deadline=None)
@given(texts)
def test_bleu_is_sacrebleus(drawn: list[str]) -> None:
    listed = [(i, hypothesis(text, -1.0)) for i, text in enumerate(drawn)]
    metric = BLEU(effective_order=True)
    for at, one in agreement.ranked(listed, "bleu", alike=True):
        wanted = np.mean([metric.sentence_score(drawn[at], [other]).score for other in drawn])
        assert one.score == pytest.approx(wanted)


def hypothesis(output: str, log_prob: float) -> Hypothesis:
    return Hypothesis(output, 0.0, log_prob, (), (), True)


def test_samples_count_alike_and_a_beam_by_probability() -> None:
    listed = [
        (0, hypothesis("abcdef", -0.1)),
        (1, hypothesis("xyzxyz", -5.0)),
        (2, hypothesis("xyzxyy", -5.0)),
    ]
    assert next(one.output for _, one in agreement.ranked(listed, "chrf", alike=True)) == "xyzxyz"
    by_chance = agreement.ranked(listed, "chrf", alike=False)
    assert by_chance[0][0] == 0
    weights = np.exp([-0.1, -5.0, -5.0])
    wanted = (agreement.chrf([one.output for _, one in listed]) @ weights) / weights.sum()
    assert by_chance[0][1].score == pytest.approx(wanted[0])


def test_equal_samples_weigh_what_they_number() -> None:
    listed = [(i, hypothesis(text, -1.0)) for i, text in enumerate(["abcd", "wxyz", "wxyz"])]
    ranked = agreement.ranked(listed, "chrf", alike=True)
    assert [one.output for _, one in ranked] == ["wxyz", "wxyz", "abcd"]
    assert ranked[0][1].score == pytest.approx(200 / 3)
