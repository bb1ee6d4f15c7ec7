"""Faults are found where there are some, and only there."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from suguk.predictor import Prediction
from suguk.report.contents import Curves, Finding, Forcing, Quality, Score, Side, ValidPoint
from suguk.report.findings import Seen, findings, repeats

SCORE = Score("chrf", "chrF", 50.0, "", True)
QUALITY = Quality("data", 2, 2, SCORE, (SCORE,), 3.0, "greedy search", "words", (), 1.0)
SIDE = Side("en", "word", 100, 0.0, 5.0, 9, (), 0.9, 0.0)
TEXTS = [f"the {a} sees a {b}" for a in ("cat", "dog", "cow") for b in range(100)]


def curve(scores: Sequence[float], losses: Sequence[float] | None = None) -> Curves:
    losses = losses or [2.0 - 0.01 * k for k in range(len(scores))]
    points = [
        ValidPoint(10 * k, float(k), loss, score, best=False)
        for k, (score, loss) in enumerate(zip(scores, losses, strict=True), 1)
    ]
    return Curves("chrf", True, (), tuple(points))


def seen(outputs: Sequence[str] = TEXTS, references: Sequence[str] = TEXTS, finished: bool = True) -> Seen:
    predictions = [
        Prediction(output, 0.0, 0.0, (), (), finished, f"source {k}", ()) for k, output in enumerate(outputs)
    ]
    return Seen(
        predictions=predictions,
        references=[[text] for text in references],
        quality=QUALITY,
        curves=curve([1, 5, 9, 8, 7, 6]),
        forcing=Forcing(1.0, 1.1, 0.6, 0.58),
        sides=(SIDE, replace(SIDE, name="de")),
        training_sources=frozenset(),
        changed=False,
        missing="",
    )


def titles(given: Seen, level: str = "warning") -> list[str]:
    return [finding.title for finding in findings(given) if finding.level == level]


def one(given: Seen, title: str) -> Finding:
    return next(finding for finding in findings(given) if title in finding.title)


def test_nothing_is_wrong_with_a_good_run() -> None:
    assert titles(seen()) == []
    assert titles(seen(), "note") == []
    assert len(titles(seen(), "good")) == 5


def test_repetition() -> None:
    outputs = ["on the mat on the mat on the mat", *TEXTS[1:]]
    given = seen([*outputs[:1]] * 10 + TEXTS[10:])
    found = one(given, "repeat")
    assert found.level == "warning"
    assert "3.3%" in found.text
    assert found.evidence[0] == outputs[0]
    natural = [*outputs[:1]] * 10 + TEXTS[10:]
    assert "Outputs repeat themselves" not in titles(seen(natural, natural))


@pytest.mark.parametrize(
    ("text", "unit", "found"),
    [
        ("a b c a b c", "words", True),
        ("a b c a b", "words", False),
        ("", "words", False),
        ("abcdeabcde", "characters", True),
        ("abcdeabcd", "characters", False),
        ("가나다라마가나다라마", "characters", True),
    ],
)
def test_what_counts_as_a_repetition(text: str, unit: str, found: bool) -> None:
    assert repeats(text, unit) is found


def test_copies_of_the_source() -> None:
    given = seen()
    copied = [replace(p, output=p.source) if k < 9 else p for k, p in enumerate(given.predictions)]
    assert "Sources are copied" in titles(given._replace(predictions=copied))
    wanted = [
        [p.source] if k < 9 else group
        for k, (p, group) in enumerate(zip(copied, given.references, strict=True))
    ]
    assert "Sources are copied" not in titles(given._replace(predictions=copied, references=wanted))


def test_texts_are_compared_as_the_model_reads_them() -> None:
    given = seen()
    loud = [replace(p, source=f" Caf\u0065\u0301 {k} ") for k, p in enumerate(given.predictions)]
    read = frozenset(f"caf\u00e9 {k}" for k in range(9))
    copied = [replace(p, output=f"caf\u00e9 {k}") if k < 9 else p for k, p in enumerate(loud)]
    lower = given._replace(predictions=copied, lowercase=True, training_sources=read)
    assert {"Sources are copied", "Sources that were in training"} <= set(titles(lower))
    assert titles(lower._replace(lowercase=False)) == []
    wanted = [[p.source] if k < 9 else ["no"] for k, p in enumerate(copied)]
    assert "Sources are copied" not in titles(lower._replace(references=wanted))


def test_one_answer_for_all() -> None:
    assert "The same outputs again and again" in titles(seen(["i do not know"] * len(TEXTS)))


@pytest.mark.parametrize(
    ("output", "title"), [("too short", "too short"), ("word " * 9, "too long"), ("", "Empty")]
)
def test_length_bias(output: str, title: str) -> None:
    assert any(title in found for found in titles(seen([output] * len(TEXTS))))


def test_outputs_that_never_end() -> None:
    assert "Outputs without an end" in titles(seen(finished=False))


def test_overfitting_and_exposure() -> None:
    assert "Overfitting" in titles(seen()._replace(forcing=Forcing(0.1, 2.0, 0.6, 0.6)))
    assert "Some overfitting" in titles(seen()._replace(forcing=Forcing(1.0, 1.3, 0.6, 0.6)), "note")
    assert "Free running falls behind teacher forcing" in titles(
        seen()._replace(forcing=Forcing(1.0, 1.0, 0.9, 0.5))
    )
    assert titles(seen()._replace(forcing=Forcing(None, 1.0, 0.6, 0.6))) == []
    untrained = seen()._replace(forcing=Forcing(1.0, 1.0, 0.23, 0.43))
    assert "Teacher forcing is mostly wrong" in titles(untrained, "note")
    assert not any("Free running" in title for title in titles(untrained, "good"))


@pytest.mark.parametrize(
    ("scores", "losses", "level", "title"),
    [
        ([1, 2, 3, 4], None, "note", "The best model came at the end of training"),
        ([9, *[1] * 9], None, "warning", "The best model is an early one"),
        ([1, 2, 3, 4, 5, 6, 5, 5, 5], [1, 0.5, *[0.9] * 7], "note", "The loss turned before the score did"),
        ([1], None, "note", "Few validations"),
    ],
)
def test_how_training_ended(scores: list[float], losses: list[float] | None, level: str, title: str) -> None:
    if title == "The best model is an early one":
        scores = [5, 9, *[1] * 18]
    assert title in titles(seen()._replace(curves=curve(scores, losses)), level)


def test_of_equal_scores_the_one_that_was_kept_is_the_best() -> None:
    tied = curve([100.0] * 12)
    kept = tuple(replace(point, best=True) for point in tied.valid)
    found = titles(seen()._replace(curves=replace(tied, valid=kept)), "note")
    assert "The best model came at the end of training" in found


def test_a_metric_that_falls_is_best_where_it_is_lowest() -> None:
    falling = replace(curve([9, 5, 1, 2, 3, 4]), rising=False)
    assert "Training ended in time" in titles(seen()._replace(curves=falling), "good")


def test_unknown_tokens_leaks_and_changed_data() -> None:
    given = seen()._replace(
        sides=(replace(SIDE, unknown_rate=0.05), SIDE),
        training_sources=frozenset(f"source {k}" for k in range(30)),
        changed=True,
    )
    assert titles(given) == [
        "Unknown tokens in en",
        "Sources that were in training",
        "The data have changed since the training",
    ]


def test_few_sources_are_told() -> None:
    assert "Few sources" in titles(seen(TEXTS[:30], TEXTS[:30]), "note")
