"""Pictures come out whole for no, one and many records, without warnings and without anybody else's state."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suguk.errors import MissingExtra, UserError
from suguk.evaluation.report import Evaluation, Group
from suguk.explain.curves import by_length, learning_curves, smooth

SVG = "{http://www.w3.org/2000/svg}"


def evaluation(unit: str, *groups: Group) -> Evaluation:
    return Evaluation(
        scores={}, perplexity=7.0, groups=groups, unit=unit, examples=(), sources=23, references=23,
        unfinished=0, output_tokens=101, seconds=1.0,
    )  # fmt: skip


def train(step: int, loss: float = 2.5, lr: float = 1e-3) -> dict[str, Any]:
    return {"kind": "train", "step": step, "epoch": step / 7, "loss": loss, "lr": lr, "padding": 0.01}


def valid(step: int, score: float | None, loss: float = 2.0, metric: str = "chrf") -> dict[str, Any]:
    example = {"source": "수국", "output": "😀"}
    return {"kind": "valid", "step": step, "loss": loss, "metric": metric, "score": score, "example": example}


def texts(path: Path) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ET.parse(path).getroot().iter(f"{SVG}text")]


def test_many_records(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    records = [train(step, 5 * math.exp(-step / 40) + 2) for step in range(1, 211)]
    records += [valid(70, 31.5), valid(140, 47.25, loss=math.log(7)), valid(210, 42.0)]
    learning_curves(records, path)
    shown = texts(path)
    assert "training" in shown
    assert "validation (lowest 1.946: perplexity 7)" in shown
    assert "best 47.25 at update 140" in shown
    assert "chrF, percent" in shown
    assert "learning rate (dotted)" in shown
    assert not any("수국" in text for text in shown)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [train(1)],
        [valid(1, 3.0)],
        [train(1), valid(1, 3.0)],
        [train(1), train(2, lr=0.0)],
        [train(1, loss=math.nan), valid(1, math.nan, loss=math.inf)],
        [train(1, loss=900.0), valid(1, None, loss=900.0)],
        [{"kind": "start", "step": 0}, {"kind": "train", "step": 3}],
    ],
)
def test_few_records(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = tmp_path / "curves.svg"
    learning_curves(records, path)
    assert "updates" in texts(path)
    usable = any(math.isfinite(record.get("loss", math.nan)) for record in records)
    assert texts(path).count("no records yet") >= (0 if usable else 1)


@pytest.mark.parametrize(
    ("metric", "label", "best"),
    [
        ("bleu", "BLEU, percent", "best 9.00 at update 2"),
        ("exact", "exact match, percent", "best 9.00 at update 2"),
        ("cer", "CER, percent", "best 4.00 at update 1"),
        ("perplexity", "perplexity", "best 4.00 at update 1"),
    ],
)
def test_the_best_is_the_highest_or_the_lowest(tmp_path: Path, metric: str, label: str, best: str) -> None:
    path = tmp_path / "curves.svg"
    learning_curves([valid(1, 4.0, metric=metric), valid(2, 9.0, metric=metric)], path)
    assert {label, best} <= set(texts(path))
    assert ("Validation, free-running" in texts(path)) == (metric != "perplexity")


def test_a_resumed_run_counts_the_last_record_of_a_step(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    learning_curves([valid(5, 90.0), valid(10, 3.0), valid(5, 2.0)], path)
    assert "best 3.00 at update 10" in texts(path)


@pytest.mark.parametrize(
    ("score", "told"), [(45.0, "best 50.00 at update 20"), (55.0, "best 55.00 at update 20")]
)
def test_an_average_of_weights_counts_where_it_was_kept(tmp_path: Path, score: float, told: str) -> None:
    path, averaged = tmp_path / "curves.svg", {"averaged": 3, "best": score > 50}
    last = valid(20, 50.0) | {"best": True}
    learning_curves([valid(10, 40.0) | {"best": True}, last, valid(20, score) | averaged], path)
    assert told in texts(path)


def test_pictures_are_deterministic_and_leave_no_state(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for name in ("one.svg", "two.svg"):
        learning_curves([train(1), train(2), valid(2, 3.0)], tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert dict(mpl.rcParams) == before
    code = (
        "import sys; from suguk.explain.curves import learning_curves;"
        f"learning_curves([], {str(tmp_path / 'x.svg')!r}); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_scores_by_length(tmp_path: Path) -> None:
    path = tmp_path / "length.svg"
    groups = (
        Group(1, 4, 7, chrf=60.0, bleu=40.0, exact=30.0),
        Group(5, 5, 11, chrf=50.0, bleu=30.0, exact=0.0),
        Group(6, 19, 5, chrf=40.0, bleu=20.0, exact=0.0),
    )
    by_length(evaluation("words", *groups), path)
    assert {"1–4", "5", "6–19", "words in the source", "chrF", "BLEU", "exact match"} <= set(texts(path))
    for few in ((), groups[:1]):
        by_length(evaluation("characters", *few), path)
        assert "characters in the source" in texts(path)


def test_smoothing_keeps_length_mean_and_short_curves() -> None:
    noisy = np.random.default_rng(0).normal(size=601) + 3
    steps = np.arange(20.0, 12040, 20)
    smoothed = smooth(steps, noisy)
    assert smoothed.shape == noisy.shape
    assert smoothed.std() < 0.4 * noisy.std()
    assert smoothed[300] == pytest.approx(noisy[290:311].mean())
    assert smoothed[0] == pytest.approx(noisy[:11].mean())
    np.testing.assert_allclose(smooth(steps[:241], np.full(241, 7.0)), 7.0)
    np.testing.assert_allclose(smooth(steps[:13], noisy[:13]), noisy[:13])
    assert smooth(np.array([]), np.array([])).shape == (0,)


def test_a_record_of_few_updates_counts_as_few() -> None:
    steps, losses = np.append(np.arange(20.0, 1620, 20), 1601.0), np.append(np.full(80, 2.0), 9.0)
    assert smooth(steps, losses)[-1] == pytest.approx((20 * 2.0 + 9.0) / 21)


def test_an_unwritable_path_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing/x\.svg: cannot write the picture: No such file"):
        learning_curves([], tmp_path / "missing" / "x.svg")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'suguk\[train\]'"):
        learning_curves([], tmp_path / "x.svg")
