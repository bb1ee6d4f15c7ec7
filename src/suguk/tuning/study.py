"""A study: one training after the other, each with the settings that the earlier ones make likely to be good.

Settings are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011) as Optuna implements it; a
training whose score at an eighth of its way is under the median of the others at that point is ended there. All
that was found is kept in `study.db` (SQLite) and in the run directories of the trials.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suguk import config as settings
from suguk import files
from suguk.config import Config
from suguk.errors import ConfigError, UserError
from suguk.run_directory import read_metrics
from suguk.training import checkpoint, run
from suguk.tuning import plan as plans
from suguk.tuning.plan import Plan
from suguk.tuning.watch import RUNGS, Watch, direction, value

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

AT_RANDOM = 5  # trials, before the others decide
COMPARED = 3  # trials that came to their end, before any is ended early
FAILURES = 10  # one after the other, until a study gives up
BEGUN = 3  # times that a trial is begun: what kills the process each time has no other end
Say = Callable[[str], None]


class Tuner:
    """Runs the trials of a study in `folder`, one at a time."""

    def __init__(self, folder: Path, plan: Plan, say: Say) -> None:
        self.folder, self.plan, self.say = folder, plan, say
        self.dimensions = plan.dimensions
        self.study = _open(folder, plan)

    def run(self, *, budget: float | None, trials: int | None) -> None:
        """Until so many minutes are spent, or so many trials are done, in all sessions.

        UserError if all fail, or another process is at it.
        """
        with files.alone(self.folder):
            failed = 0
            for left in self._unfinished():
                self._continue(left)
            while self._goes_on(budget, trials):
                failed = 0 if self._one() else failed + 1
                if failed == FAILURES:
                    raise UserError(
                        f"{failed} trials failed one after the other, the last one: {self._fault()}",
                        where=self.folder,
                        hint="train once with `suguk train` to see what is wrong, or narrow the space",
                    )

    def _goes_on(self, budget: float | None, trials: int | None) -> bool:
        done = [trial for trial in self.study.trials if trial.state.is_finished()]
        if trials is not None and sum(not _failed(trial) for trial in done) >= trials:
            return False
        if budget is None:
            return True
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in done) / 60
        # The share of one more, or of an unpruned one so far, has to fit.
        longest = max((trial.user_attrs.get("seconds", 0.0) / 60 for trial in done), default=0.0)
        share: float = self.plan.minutes or longest
        return bool(spent + share <= 1.001 * budget)

    def _one(self) -> bool:
        """The next trial; whether there is a score."""
        import optuna

        # A seed for each trial: a study that goes on draws what it would have drawn uninterrupted.
        seed = self.plan.seed + len(self.study.trials)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM)
        trial = self.study.ask()
        # The first is the recipe as it is: no study ends with less.
        chosen = [one.suggest(trial) for one in self.dimensions] if trial.number else []
        try:
            config = plans.trial_settings(self.plan, chosen)
        except ConfigError as fault:
            return self._failed(trial, f"impossible: {fault.message}")
        trial.set_user_attr("settings", json.dumps(config.model_dump(mode="json", exclude_none=True)))
        return self._train(trial, config, {})

    def _unfinished(self) -> "list[FrozenTrial]":
        return [trial for trial in self.study.trials if not trial.state.is_finished()]

    def _continue(self, left: "FrozenTrial") -> None:
        """A trial that a session before this one was killed in."""
        import optuna

        trial = optuna.trial.Trial(self.study, left._trial_id)
        begun = left.user_attrs.get("begun", 0)
        if "settings" not in left.user_attrs:
            self._failed(trial, "ended before it began")
        elif begun >= BEGUN:
            self._failed(trial, f"begun {begun} times, and ended each time without a word (out of memory?)")
        else:
            config = settings.build(json.loads(left.user_attrs["settings"]))
            self._train(trial, config, left.intermediate_values)

    def _train(self, trial: "Trial", config: Config, reported: dict[int, float]) -> bool:
        folder = self.place(trial.number)
        begun = trial.user_attrs.get("begun", 0)
        trial.set_user_attr("begun", begun + 1)
        self.say(f"trial {trial.number:03}: {described(trial.params) or 'the recipe as it is'}")
        start = time.monotonic()
        try:
            watch = Watch(
                trial,
                minutes=config.train.minutes,
                epochs=config.train.epochs,
                reported=reported,
                best=_so_far(folder, self.plan.metric),
            )
            _session(folder, config, watch)
        except (KeyboardInterrupt, SystemExit):
            trial.set_user_attr("begun", begun)
            raise
        except (UserError, MemoryError) as fault:
            message = str(getattr(fault, "message", "")) or "not enough memory"
            return self._failed(trial, message, time.monotonic() - start)
        records = read_metrics(folder)
        trial.set_user_attr("seconds", _seconds(folder) or time.monotonic() - start)
        scored = self._told(trial, watch, _best(records))
        shutil.rmtree(folder / "training", ignore_errors=True)  # what a resume needs, of several models' size
        return scored

    def _told(self, trial: "Trial", watch: Watch, kept: dict[str, Any] | None) -> bool:
        from optuna.trial import TrialState

        if kept is None:
            return self._failed(trial, "no validation came to an end in its time")
        before = best(self.study)
        trial.set_user_attr("score", kept["score"])
        if watch.pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, value(kept["metric"], kept["score"], kept["loss"]))
        after = best(self.study)
        ended = f", ended at {watch.rung}/{RUNGS}" if watch.pruned else ""
        leads = (
            ", the best so far"
            if after is not None and (before is None or after.number != before.number)
            else ""
        )
        self.say(f"           {self.plan.metric} {kept['score']:.2f}{ended}{leads}")
        return True

    def _failed(self, trial: "Trial", fault: str, seconds: float = 0.0) -> bool:
        """seconds: of this session, where training has not come to write down those of all."""
        from optuna.trial import TrialState

        trial.set_user_attr("fault", fault)
        trial.set_user_attr("seconds", max(seconds, _seconds(self.place(trial.number))))
        self.study.tell(trial, state=TrialState.FAIL)
        self.say(f"trial {trial.number:03} failed: {fault}")
        return False

    def _fault(self) -> str:
        return str(self.study.trials[-1].user_attrs.get("fault", ""))

    def place(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:03}"


def _open(folder: Path, plan: Plan) -> "Study":
    import optuna

    storage = optuna.storages.RDBStorage(f"sqlite:///{folder.absolute() / 'study.db'}")
    return optuna.create_study(
        storage=storage,
        study_name="suguk",
        load_if_exists=True,
        direction=direction(plan.metric),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=2),
    )


def _session(folder: Path, config: Config, watch: Watch) -> None:
    """A training, or the rest of one."""
    if checkpoint.state_path(folder).exists():
        run.resume(folder, display=watch, stop=watch.stop)
        return
    if folder.exists():  # killed before anything of it was saved
        shutil.rmtree(folder)
    recipe = folder.with_suffix(".toml")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    files.write(recipe, settings.to_toml(config).encode())
    data = config.data
    run.train(data.train, out=folder, recipe=str(recipe), valid=data.valid, display=watch, stop=watch.stop)


def _so_far(folder: Path, metric: str) -> float | None:
    """What a training that was stopped is compared by, as of its saved state."""
    saved = checkpoint.read_state(folder) if checkpoint.state_path(folder).exists() else None
    best = None if saved is None else saved.progress.best
    return None if best is None else value(metric, best.score, best.loss)


def _seconds(folder: Path) -> float:
    """What a training took so far, in all its sessions; 0 if it wrote nothing down."""
    records = read_metrics(folder)
    return float(records[-1]["seconds"]) if records else 0.0


def _best(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The validation of the model that is kept."""
    kept = [record for record in records if record.get("kind") == "valid" and record.get("best")]
    return kept[-1] if kept and kept[-1]["score"] is not None else None


def _failed(trial: "FrozenTrial") -> bool:
    from optuna.trial import TrialState

    return bool(trial.state == TrialState.FAIL)


def best(study: "Study") -> "FrozenTrial | None":
    """The best of those that were not ended early."""
    from optuna.trial import TrialState

    if any(trial.state == TrialState.COMPLETE for trial in study.trials):
        found: FrozenTrial = study.best_trial
        return found
    return None


def described(params: dict[str, Any]) -> str:
    return ", ".join(f"{name.removeprefix('together.')} = {_short(value)}" for name, value in params.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def begin(folder: Path, asked: Plan, say: Say) -> Tuner:
    """A new study in `folder`, or the one that is there already, if it is the same."""
    begun = plans.earlier(folder)
    if begun is None:
        plans.keep(folder, asked)
        return Tuner(folder, asked, say)
    plans.same(folder, begun, asked)
    return Tuner(folder, begun, say)
