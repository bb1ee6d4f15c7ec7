"""Whole studies, of tiny trainings."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import suguk
from suguk import files
from suguk.errors import ConfigError, UserError
from suguk.run_directory import read_metrics
from suguk.training import run
from suguk.tuning import plan as plans
from tests.cli import calls
from tests.training.tiny_task import TINY, write_pairs
from tests.tuning.test_space import SPACE

pytest.importorskip("optuna", reason="needs suguk[tune]")

from suguk.tuning.study import Tuner, _so_far, begin
from suguk.tuning.summary import summarise
from suguk.tuning.watch import Watch, value
from tests.tuning.test_watch import result

SETTINGS = [f"{name}={value}" for name, value in (TINY | {"model.hidden": 10, "train.epochs": 2}).items()]
TRIALS = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_pairs(folder / "pairs.tsv", 150)
    (folder / "space.toml").write_text(SPACE, encoding="utf-8")
    return folder


def words(place: Path, out: str, *more: str) -> list[str]:
    sets = [word for one in SETTINGS for word in ("--set", one.replace("=False", "=false"))]
    given = ["tune", str(place / "pairs.tsv"), "--recipe", "small", "--space", str(place / "space.toml")]
    return [*given, "--out", str(place / out), *sets, *(more or ("--trials", str(TRIALS)))]


def trials(found: dict[str, Any]) -> list[dict[str, Any]]:
    """In order, without what a clock decides."""
    listed: list[dict[str, Any]] = sorted(found["trials"], key=lambda one: int(one["trial"]))
    return [{key: value for key, value in one.items() if key != "seconds"} for one in listed]


@pytest.fixture(scope="module")
def whole(place: Path) -> dict[str, Any]:
    ran = calls.suguk(*words(place, "whole"), "--json")
    assert ran.status == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_a_study_ends_with_a_recipe(place: Path, whole: dict[str, Any]) -> None:
    assert len(whole["trials"]) == TRIALS
    assert trials(whole)[0]["params"] == {}
    assert all(
        set(one["params"]) == {"model.cell", "model.hidden", "train.lr", "together.depth"}
        for one in trials(whole)[1:]
    )
    complete = [one for one in whole["trials"] if one["state"] == "complete"]
    assert whole["best"]["score"] == max(one["score"] for one in complete)
    assert whole["command"].endswith(f"--out {place / 'whole'}-best")
    recipe = suguk.train(
        place / "pairs.tsv",
        out=place / "full",
        recipe=whole["recipe"],
        overrides={"train.epochs": 1, "train.export": False},
        display="silent",
    ).config
    params = whole["best"]["params"]
    assert recipe.train.lr == params.get("train.lr", recipe.train.lr)
    assert recipe.model.hidden == params.get("model.hidden", 10)
    text = Path(whole["recipe"]).read_text(encoding="utf-8")
    assert "epochs = 30" in text  # the recipe's, not the trials'
    assert "pairs.tsv" not in text
    assert not list((place / "whole" / "trials").glob("*/training"))


def test_the_same_command_goes_on_and_finds_nothing_to_do(place: Path, whole: dict[str, Any]) -> None:
    assert len(whole["trials"]) == TRIALS
    ran = calls.suguk(*words(place, "whole"))
    assert ran.status == 0
    assert ran.err == ""
    assert "train it in full: suguk train" in ran.out
    assert len([line for line in ran.out.splitlines() if line[:3].isdigit()]) == TRIALS


def test_a_killed_study_goes_on_as_if_nothing_had_happened(place: Path, whole: dict[str, Any]) -> None:
    """Killed in the midst of a training that has saved a state."""
    command = [
        sys.executable,
        "-m",
        "suguk",
        *words(place, "killed"),
        "--json",
        "--set",
        "train.save_every=1",
    ]
    folder = place / "killed" / "trials"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while not (folder / "002" / "training" / "state.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert trials(json.loads(ran.stdout)) == trials(whole)


def test_other_settings_are_refused(place: Path, whole: dict[str, Any]) -> None:
    del whole
    for more, said in (
        (("--trials", "9", "--seed", "2"), "another seed"),
        (("--trials", "9", "--set", "train.clip=2.0"), "another train.clip"),
    ):
        ran = calls.suguk(*words(place, "whole", *more))
        assert ran.status == 2
        assert said in ran.err


def test_other_minutes_are_refused_where_they_are_asked_for(place: Path) -> None:
    """A share of another budget is not: the trials keep theirs."""
    begun, longer, asked = (
        plan(place, budget=60),
        plan(place, budget=120),
        plan(place, budget=60, minutes=9),
    )
    plans.same(place, begun, longer)
    plans.same(place, asked, asked)
    with pytest.raises(UserError, match=r"another train\.minutes"):
        plans.same(place, begun, asked)


def test_a_resumed_trial_has_the_best_of_its_saved_state(place: Path, tmp_path: Path) -> None:
    """Also one that was validated since the last eighth."""
    assert _so_far(tmp_path / "none", "exact") is None
    given = run._nested(TINY | {"train.epochs": 3})
    suguk.train(place / "pairs.tsv", out=tmp_path / "run", overrides=given, display="silent")
    best = [one for one in read_metrics(tmp_path / "run") if one.get("best")][-1]
    assert _so_far(tmp_path / "run", best["metric"]) == value(best["metric"], best["score"], best["loss"])


def plan(
    place: Path,
    *,
    space: str = "",
    metric: str = "auto",
    budget: float | None = None,
    minutes: float | None = None,
) -> plans.Plan:
    nested = run._nested(TINY | {"model.hidden": 10, "train.valid_metric": metric, "train.minutes": minutes})
    nested["data"] = {"train": [str(place / "pairs.tsv")]}
    path = place / "space.toml"
    if space:
        path = place / "other.toml"
        path.write_text(space, encoding="utf-8")
    return plans.make(nested, "small", path, seed=1, budget=budget)


def test_a_trial_that_fails_is_recorded_and_the_study_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, count = run.train, []

    def fails(*data: Any, **given: Any) -> Any:
        count.append(1)
        if len(count) == 1:
            raise UserError("training diverged")
        if len(count) == 2:
            raise MemoryError
        return train(*data, **given)

    monkeypatch.setattr(run, "train", fails)
    told: list[str] = []
    tuner = begin(tmp_path / "study", plan(place), told.append)
    tuner.run(budget=None, trials=1)
    found = summarise(tuner)
    assert [one["state"] for one in found.trials] == ["complete", "fail", "fail"]
    assert {one["fault"] for one in found.trials} == {"", "training diverged", "not enough memory"}
    assert "failed" in found.text()
    assert any("training diverged" in line for line in told)


def pretended(*data: Any, out: Path, display: Watch, stop: Callable[[int], bool], **given: Any) -> None:
    """A training of eight validations; trials 3 and 5 are far behind from the first one on."""
    del data, given
    out.mkdir(parents=True)
    number = int(out.name)
    for eighth in range(1, 9):
        score = (0.1 if number in (3, 5) else 1.0) * eighth * (9 + number)
        display.validation(eighth, eighth / 8 * display.epochs, result(score), best=True)
        record = {
            "kind": "valid",
            "best": True,
            "metric": "chrf",
            "score": score,
            "loss": 1.0,
            "seconds": 6.0,
        }
        with (out / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        if stop(eighth):
            return


def test_a_trial_that_is_behind_is_ended_and_the_study_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the median of those before it; and with enough trials there is something to say of what mattered."""
    monkeypatch.setattr(run, "train", pretended)
    told: list[str] = []
    tuner = begin(tmp_path / "study", plan(place), told.append)
    tuner.run(budget=None, trials=9)
    found = summarise(tuner)
    states = {one["trial"]: one["state"] for one in found.trials}
    assert states == {number: "pruned" if number in (3, 5) else "complete" for number in range(9)}
    ended = [one["rung"] for one in found.trials if one["state"] == "pruned"]
    assert all(0 < rung < 8 for rung in ended)
    assert any(f"ended at {ended[0]}/8" in line for line in told)
    text = found.text()
    assert f"  {ended[0]}/8 " in text
    assert text.index("the end") < text.index(f"  {ended[0]}/8 ")  # whole ones first
    assert found.best is not None
    assert found.best["score"] == 8 * 17.0
    assert sum(found.importance.values()) == pytest.approx(1)
    assert set(found.importance) <= {"model.cell", "model.hidden", "train.lr", "depth"}
    assert "what mattered (PED-ANOVA): " in text


def test_a_study_of_failures_gives_up(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*data: Any, **given: Any) -> Any:
        del data, given
        raise UserError("no way")

    monkeypatch.setattr(run, "train", fails)
    tuner = begin(tmp_path / "study", plan(place), lambda _: None)
    with pytest.raises(UserError, match="10 trials failed one after the other, the last one: no way"):
        tuner.run(budget=None, trials=1)
    assert "no trial came to an end" in summarise(tuner).text()


def test_impossible_settings_are_a_failed_trial(place: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('[model]\nattend = ["between", "after"]\nlayers = [1, 2]\n', encoding="utf-8")
    nested = run._nested(TINY)
    nested["data"] = {"train": [str(place / "pairs.tsv")]}
    asked = plans.make(nested, "small", space, seed=3, budget=None)
    tuner = begin(tmp_path / "study", asked, lambda _: None)
    tuner.run(budget=None, trials=5)
    faults = [trial.user_attrs["fault"] for trial in tuner.study.trials if "fault" in trial.user_attrs]
    assert all(fault.startswith("impossible: ") and "attend = between" in fault for fault in faults)
    assert len(tuner.study.trials) == 5 + len(faults)


def test_what_kills_the_process_each_time_is_given_up(place: Path, tmp_path: Path) -> None:
    tuner = begin(tmp_path / "study", plan(place), lambda _: None)
    trial = tuner.study.ask()
    trial.set_user_attr("settings", json.dumps(tuner.plan.base))
    trial.set_user_attr("begun", 3)
    tuner.run(budget=None, trials=1)
    states = [one.state.name for one in tuner.study.trials]
    assert states == ["FAIL", "COMPLETE"]
    assert "begun 3 times" in tuner.study.trials[0].user_attrs["fault"]


def test_a_budget_is_shared_and_kept(place: Path, tmp_path: Path) -> None:
    asked = plan(place, budget=0.6)
    assert asked.minutes == pytest.approx(0.05)
    assert asked.config.train.minutes == asked.minutes
    tuner = begin(tmp_path / "study", asked, lambda _: None)

    def spent(*seconds: float) -> Tuner:
        for one in seconds:
            trial = tuner.study.ask()
            trial.set_user_attr("seconds", one)
            tuner.study.tell(trial, 1.0)
        return tuner

    assert spent(3.0)._goes_on(0.6, None)
    assert not tuner._goes_on(None, 1)
    assert spent(30.0)._goes_on(0.6, None)
    assert not spent(1.0)._goes_on(0.6, None)


def test_a_study_within_a_budget_comes_to_an_end(place: Path) -> None:
    ran = calls.suguk(*words(place, "budget", "--budget", "12s", "--set", "train.minutes=0.1"), "--json")
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)
    assert "complete" in {one["state"] for one in found["trials"]}
    assert found["best"]["score"] is not None


def test_a_short_share_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tuner, "run", lambda *_, **__: None)
    assert "a trial has 5 s" in calls.suguk(*words(place, "short", "--budget", "60s")).err
    assert "a trial has" not in calls.suguk(*words(place, "long", "--budget", "1h")).err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--budget", "soon"), "expected a time"),
        (("--budget", "0m"), "expected a time"),
        (("--seed", "1"), "how long"),
        (("--budget", "3m", "--set", "train.minutes=5"), "a trial takes 5 minutes, more than the 3"),
    ],
)
def test_how_long_has_to_be_told(place: Path, more: tuple[str, ...], said: str) -> None:
    ran = calls.suguk(*words(place, "never", *more))
    assert ran.status == 2
    assert said in ran.err
    assert not (place / "never").exists()


@pytest.mark.usefixtures("whole")
def test_two_do_not_search_in_one_folder(place: Path) -> None:
    before = {path: path.read_bytes() for path in (place / "whole").rglob("*") if path.is_file()}
    with files.alone(place / "whole"):
        ran = calls.suguk(*words(place, "whole", "--trials", str(TRIALS + 1)))
    assert (ran.status, "another process is at work here" in ran.err) == (2, True)
    assert {path: path.read_bytes() for path in (place / "whole").rglob("*") if path.is_file()} == before


def test_trials_are_compared_by_one_metric(place: Path) -> None:
    """What `auto` stands for goes by the target's tokenizer, which may be searched."""
    asked = plan(place, space='[target]\ntokenizer = ["char", "word"]')
    chosen = [plans.trial_settings(asked, [{"target": {"tokenizer": kind}}]) for kind in ("char", "word")]
    assert [config.train.valid_metric for config in chosen] == ["exact", "exact"]
    with pytest.raises(ConfigError, match=r"target\.tokenizer cannot be searched: perplexities"):
        plan(place, space='[target]\ntokenizer = ["char", "word"]', metric="perplexity")


def test_seconds_are_those_of_all_sessions(place: Path, tmp_path: Path) -> None:
    tuner = begin(tmp_path / "study", plan(place, budget=0.6), lambda _: None)
    trial = tuner.study.ask()
    tuner.place(0).mkdir(parents=True)
    (tuner.place(0) / "metrics.jsonl").write_text(json.dumps({"kind": "train", "seconds": 3600.0}) + "\n")
    tuner._failed(trial, "gone", 2.0)
    assert tuner.study.trials[0].user_attrs["seconds"] == 3600.0
