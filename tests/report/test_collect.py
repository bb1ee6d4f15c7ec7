"""What a report says of a run."""

import json
import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import suguk
from suguk import config as settings
from suguk.data.prepare import parts
from suguk.data.read import references
from suguk.errors import DataError, ModelError
from suguk.fields import TextField
from suguk.model import build
from suguk.predictor import Prediction
from suguk.report.collect import Choices, architecture, collect
from suguk.report.contents import Report
from suguk.report.forcing import forced, free_accuracy
from suguk.trained import TrainedModel
from tests.cli import calls


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    return collect(run, choices=Choices(limit=100, examples=3))


def test_the_validation_part_is_split_off_again(run: Path, report: Report) -> None:
    model = TrainedModel.load(run)
    sources, _ = references(parts(model.config).valid)
    assert (report.quality.sources, report.quality.sampled_from) == (len(sources), len(sources))
    assert {example.source for example in report.examples} <= set(sources)
    assert "split off" in report.quality.data
    assert (report.about.source, report.about.target) == ("en", "he")
    assert report.training_pairs == len(parts(model.config).train)
    assert not any("changed" in finding.title for finding in report.findings)


def test_the_command_makes_a_fine_tuned_run_again(run: Path, tmp_path: Path) -> None:
    """With its corpora and with the settings that are not those of the run before."""
    earlier, tuned = tmp_path / "general", tmp_path / "tuned run"
    shutil.copytree(run, earlier)
    (data,) = TrainedModel.load(run).config.data.train
    more = tmp_path / "more.tsv"
    more.write_text("".join(f"aa{letter}\tx\n" for letter in "bcdefghijk"), encoding="utf-8")
    given = {"train.epochs": 1, "train.export": False, "model.dropout": 0.25, "data.weights": [1, 0.5]}
    suguk.train(data, also=[more], out=tuned, start_from=earlier, overrides=given, display="silent")
    command = shlex.split(collect(tuned, choices=Choices(limit=9, examples=1)).origin.commands[0])
    ran = calls.suguk(*command[1:])
    assert ran.status == 0, ran.err
    again = tmp_path / "tuned run-again"
    for name in ("config.toml", "model.safetensors"):
        assert (tuned / name).read_bytes() == (again / name).read_bytes()
    shutil.rmtree(earlier)
    earlier.mkdir()
    assert "--from general --out" in collect(tuned, choices=Choices(limit=9, examples=1)).origin.commands[0]


def test_figures_are_those_of_the_model_and_its_log(run: Path, report: Report) -> None:
    model = TrainedModel.load(run)
    valid = [
        record
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        if (record := json.loads(line))["kind"] == "valid"
    ]
    assert [point.loss for point in report.curves.valid] == [record["loss"] for record in valid]
    assert report.about.parameters == sum(parameter.numel() for parameter in model.model.parameters())
    assert report.quality.headline.name == valid[-1]["metric"] == "exact"
    assert sum(group.count for group in report.quality.groups) == report.quality.sources
    # The kept model's loss on all of the validation pairs, as the loop recorded it (there in bfloat16 or not).
    best = [record for record in valid if record["best"]][-1]
    assert report.forcing.valid_loss == pytest.approx(best["loss"], rel=0.02)
    assert math.log(report.quality.perplexity) == pytest.approx(report.forcing.valid_loss, rel=1e-4)


def test_examples_hold_a_probability_for_each_token(report: Report) -> None:
    assert {example.kind for example in report.examples} == {"random", "worst", "best"}
    assert len({example.source for example in report.examples}) == len(report.examples)
    for example in report.examples:
        assert len(example.tokens) == len(example.probabilities)
        assert all(0 <= value <= 1 for value in example.probabilities)
        assert (example.tokens[-1:] == ("<eos>",)) == example.finished
    for drawn in (example.attention for example in report.examples if example.attention is not None):
        assert np.array(drawn.weights).shape == (len(drawn.target_tokens), len(drawn.source_tokens))
    assert any(example.attention is not None for example in report.examples)


def test_the_same_again_is_the_same_but_for_the_speed(run: Path, report: Report) -> None:
    def timeless(found: Report) -> dict[str, Any]:
        plain = found.to_json()
        del plain["quality"]["sentences_per_second"]
        return plain

    assert timeless(collect(run, choices=Choices(limit=100, examples=3))) == timeless(report)
    json.dumps(report.to_json(), allow_nan=False)


def test_settings_that_differ_come_first(report: Report) -> None:
    changed = [setting.changed for setting in report.settings]
    assert changed == sorted(changed, reverse=True)
    named = {setting.name: setting for setting in report.settings}
    assert (named["model.hidden"].value, named["model.hidden"].default) == ("10", "256")
    assert set(named) == set(settings.names())


def test_other_data_and_fewer_of_them(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "other.tsv"
    data.write_text("".join(f"it's {k}\t{k} it's\n" for k in range(31)), encoding="utf-8")
    told: list[object] = []

    def start(total: int) -> Callable[[object], None]:
        told.append(total)
        return told.append

    found = collect(run, [str(data)], Choices(limit=7), start=start)
    assert (found.quality.sources, found.quality.sampled_from) == (7, 31)
    assert told[0] == 7
    assert len(told) == 8
    assert found.quality.data == str(data)


def test_without_the_training_data_what_remains_is_told(run: Path, pairs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    text = (moved / "config.toml").read_text(encoding="utf-8")
    (moved / "config.toml").write_text(text.replace(str(pairs), "nowhere.tsv"), encoding="utf-8")
    with pytest.raises(DataError, match="name data to report on"):
        collect(moved)
    found = collect(moved, [str(pairs)], Choices(limit=11))
    assert found.training_pairs is None
    assert found.forcing.train_loss is None
    assert found.sides[0].lengths == ()
    assert any("training data are not there" in finding.title for finding in found.findings)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a run directory"):
        collect(tmp_path)


def test_forced_accuracy_is_that_of_stepping(run: Path) -> None:
    """One token after the other, the true one fed each time."""
    model = TrainedModel.load(run, "cpu")
    sources, targets = ["it's <b>", "안녕", "$x ${y} &amp;"], ["<b> it's", "안녕", "&amp; ${y} $x"]
    right, nll, tokens = 0, 0.0, 0
    with torch.inference_mode():
        for source, target in zip(sources, targets, strict=True):
            ids = torch.from_numpy(model.source.encode(source)).long()[None]
            memory = model.model.encode(ids, torch.tensor([ids.shape[1]]))
            state, token = model.model.start(memory), torch.tensor([[2]])
            for wanted in model.target.encode(target).tolist():
                log_probs, state, _ = model.model.step(token, state, memory)
                right += int(log_probs[0, 0].argmax()) == wanted
                nll -= float(log_probs[0, 0, wanted])
                token, tokens = torch.tensor([[wanted]]), tokens + 1
    found = forced(model, sources, targets)
    assert (found.right, found.tokens) == (right, tokens)
    assert found.nll == pytest.approx(nll, rel=1e-5)


def test_free_accuracy_is_the_longest_common_subsequence(run: Path) -> None:
    model = TrainedModel.load(run, "cpu")

    def said(text: str, *, finished: bool) -> Prediction:
        tokens = tuple(model.target.tokens(model.target.encode(text)[:-1]))
        return Prediction(text, 0.0, 0.0, tokens, (), finished, text, ())

    def common(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return 0
        if a[0] == b[0]:
            return 1 + common(a[1:], b[1:])
        return max(common(a[1:], b), common(a, b[1:]))

    outputs, targets = ["it's b", "", "$x"], ["so it's", "<b>", "x$x"]
    predictions = [said(text, finished=k < 2) for k, text in enumerate(outputs)]
    expected = total = 0
    for prediction, target in zip(predictions, targets, strict=True):
        wanted = model.target.tokens(model.target.encode(target))
        expected += common([*prediction.tokens, *["<eos>"] * prediction.finished], wanted)
        total += len(wanted)
    assert 0 < expected < total
    assert free_accuracy(model, predictions, targets) == pytest.approx(expected / total)
    whole = [said(text, finished=True) for text in targets]
    assert free_accuracy(model, whole, targets) == 1.0


def test_copied_words_count_in_free_running_too() -> None:
    """As they do in teacher forcing, though the vocabulary lacks them."""
    field = TextField.train("word", ["a b c", "b c"], 20)
    sides = {"source": {"tokenizer": "word"}, "target": {"tokenizer": "word"}}
    given = settings.build(sides | {"model": {"attention": "additive", "copying": True, "hidden": 8}})
    model = TrainedModel(given, field, field, build(given.model, field.size, field.size, seed=1))
    right = Prediction("zebra b", 0.0, 0.0, ("▁zebra", "▁b"), (), True, "a zebra", ())
    wrong = replace(right, tokens=("<unk>", "▁b"))
    assert free_accuracy(model, [right, wrong], ["zebra b"] * 2) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("cho2014", "the context at every step"),
        ("sutskever2014", "one fixed-size context"),
        ("luong2015", "general attention after the cell, input feeding"),
        ("small", "additive attention between the layers"),
    ],
)
def test_a_model_in_a_sentence(recipe: str, said: str) -> None:
    assert said in architecture(settings.load(recipe))
