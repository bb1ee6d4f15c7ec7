"""The commands of the recorded runs stay valid: a setting that was renamed must not be found out after half an hour."""

import shlex
from pathlib import Path

import pytest

from benchmarks import record
from suguk import config


@pytest.mark.parametrize("name", record.RUNS)
def test_a_recorded_run_has_possible_settings(name: str) -> None:
    run = record.RUNS[name]
    settings = config.load(run.recipe, config.assignments(run.settings))
    assert settings.train.minutes is None or settings.train.minutes <= 30
    train, evaluate = record.commands(name, Path("DATA"), Path("runs"))
    assert train[:2] == ["suguk", "train"]
    assert train[-1] == evaluate[2] == f"runs/{name}"
    assert all(word.startswith("DATA/") for word in train[2 : 2 + len(run.train)])
    assert shlex.join(evaluate).endswith("--json")


def test_the_table_has_a_row_for_each_recorded_run(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(
        '{"name": "one", "steps": [{"seconds": 12.3}, {"seconds": 4.5}], "peak_memory_mb": 678,'
        ' "evaluation": {"scores": {"bleu": {"score": 9.876}}, "perplexity": 5.4321}}',
        encoding="utf-8",
    )
    head, _, row = record.table(tmp_path)
    assert head.count("|") == row.count("|")
    assert row == "| one | 12 | 4 | 678 | 9.88 |  |  |  | 5.43 |"
