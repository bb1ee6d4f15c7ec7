"""Recorded runs: what is typed, and the table that is made of what was recorded."""

import json
import shlex
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Job, score, score_together, table, train
from suguk import config


def jobs(out: Path, *seeds: int) -> list[Job]:
    return [Job("cmudict", seed, Path("DATA"), Path("MADE"), out) for seed in seeds]


def recorded(out: Path, seed: int, exact: float) -> None:
    """What a run leaves."""
    row = {
        "name": "cmudict",
        "seed": seed,
        "seconds": 60.0 * seed,
        "peak_memory_mb": 500,
        "beside": "WER 22.2",
    }
    (out / f"cmudict-{seed}.json").write_text(json.dumps(row))
    scores = {"exact": {"score": exact}}
    row = {"name": "cmudict", "seed": seed, "on": "test", "seconds": 7.0, "peak_memory_mb": 600}
    row |= {"evaluation": {"scores": scores, "perplexity": 1.5}}
    (out / f"cmudict-{seed}.test.json").write_text(json.dumps(row))


def test_what_is_typed(tmp_path: Path) -> None:
    one, two = jobs(tmp_path, 1, 2)
    assert one.train()[:5] == [
        "suguk",
        "train",
        "DATA/cmudict/train.tsv",
        "--valid",
        "DATA/cmudict/valid.tsv",
    ]
    assert one.train()[-4:] == ["--seed", "1", "--out", str(tmp_path / "cmudict-1")]
    assert one.evaluate("test")[2:4] == [str(tmp_path / "cmudict-1"), "DATA/cmudict/test.tsv"]
    assert one.evaluate("test", [two])[2] == f"{tmp_path}/cmudict-1+{tmp_path}/cmudict-2"


def test_a_table_of_seeds_and_their_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path, 1, 70.0)
    recorded(tmp_path, 2, 72.0)
    asked: list[list[str]] = []

    def call(_: Job, command: list[str]) -> tuple[str, dict[str, object]]:
        asked.append(command)
        found = {"scores": {"exact": {"score": 75.0}}, "perplexity": 1.4}
        return json.dumps(found), {"command": " ".join(command), "seconds": 20.0, "peak_memory_mb": 900}

    monkeypatch.setattr("benchmarks.record._call", call)
    for _ in range(2):
        score_together(jobs(tmp_path, 1, 2), "test")
    assert len(asked) == 1  # what is recorded is not done again
    head, _, *rows = table(tmp_path)
    names = [one.strip() for one in head.split("|")]
    cells = [dict(zip(names, (one.strip() for one in row.split("|")), strict=True)) for row in rows]
    alone, together = cells
    assert (alone["run"], alone["seeds"], alone["exact"]) == ("cmudict", "1 2", "71.00 (70.00–72.00)")
    assert (together["run"], together["seeds"]) == ("cmudict, ensemble of 1+2", "1+2")
    assert (together["exact"], together["training, min"]) == ("75.00", "1.5 (1.0–2.0)")
    assert together["peak MiB"] == "900"


def test_a_run_goes_on_with_its_own_command_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = jobs(tmp_path, 1)
    asked: list[list[str]] = []

    def call(job: Job, command: list[str]) -> tuple[str, dict[str, object]]:
        asked.append(command)
        job.folder.mkdir(exist_ok=True)
        (job.folder / "model.json").write_text("{}")
        if len(asked) == 1:
            raise SystemExit("stopped")
        done = {"kind": "valid", "seconds": 1.0, "step": 1, "epoch": 1.0}
        (job.folder / "metrics.jsonl").write_text(json.dumps(done) + "\n")
        return "", {"command": " ".join(command), "seconds": 20.0, "peak_memory_mb": 900}

    monkeypatch.setattr("benchmarks.record._call", call)
    with pytest.raises(SystemExit, match="stopped"):
        train(first)
    with pytest.raises(SystemExit, match="recorded with another command"):
        train(first._replace(data=Path("OTHER")))
    train(first._replace(minutes=7))
    assert asked[1] == ["suguk", "train", "--resume", str(first.folder), "--set", "train.minutes=7"]
    assert len(asked) == 2
    asked[:] = []
    (again,) = jobs(tmp_path / "again", 1)
    with pytest.raises(SystemExit, match="stopped"):
        train(again._replace(minutes=7))
    train(again)  # the minutes of the command that is recorded, not those it was begun with
    assert asked[1][-2:] == ["--set", "train.minutes=60"]


def test_a_recipe_that_was_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = jobs(tmp_path, 1)
    row = {"command": shlex.join(first.train()), "recipe": record._recipe("chars")}
    (tmp_path / "cmudict-1.json").write_text(json.dumps(row))
    train(first)
    changed = config.recipe("chars").replace("hidden = 384", "hidden = 385")
    monkeypatch.setattr(config, "recipe", lambda _: f"# words may change\n{changed}")
    with pytest.raises(SystemExit, match="before its recipe was changed"):
        train(first)


def test_emulated_bfloat16_is_not_taken_for_the_processor_s_own(tmp_path: Path) -> None:
    (first,) = jobs(tmp_path, 1)
    row = {"command": shlex.join(first.train()), "emulated": False}
    (tmp_path / "cmudict-1.json").write_text(json.dumps(row))
    train(first)
    with pytest.raises(SystemExit, match="recorded without --emulate"):
        train(first._replace(emulate=True))


def test_scores_of_another_command_are_not_taken_for_these(tmp_path: Path) -> None:
    (first,) = jobs(tmp_path, 1)
    (tmp_path / "cmudict-1.test.json").write_text(json.dumps({"command": "suguk evaluate OLD"}))
    with pytest.raises(SystemExit, match="recorded with another command"):
        score(first, "test")
