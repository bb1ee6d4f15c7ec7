"""What a study found: its trials, what mattered, and the best settings as a recipe."""

import json
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suguk import config as settings
from suguk import files
from suguk.tuning.plan import Plan, best_recipe
from suguk.tuning.study import Tuner, best, described
from suguk.tuning.watch import RUNGS

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

ENOUGH = 6  # trials with scores, for importances that say anything


@dataclass(frozen=True)
class Summary:
    """trials: in the order of their numbers; importance: shares that add up to 1, empty with few trials."""

    metric: str
    trials: tuple[dict[str, Any], ...]
    best: dict[str, Any] | None
    importance: dict[str, float]
    recipe: str | None
    command: str | None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    def text(self) -> str:
        """For people: the best trials first, failed ones last."""
        rows: list[tuple[str, ...]] = [("trial", self.metric, "ended at", "minutes", "settings")]
        rows += [_row(trial) for trial in self.trials]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("─" * width for width in widths[:-1]))
        if self.importance:
            shares = ", ".join(f"{name} {share:.0%}" for name, share in self.importance.items())
            lines += ["", f"what mattered (PED-ANOVA): {shares}"]
        if self.best is None:
            return "\n".join([*lines, "", "no trial came to an end"])
        return "\n".join(
            [
                *lines,
                "",
                f"best: trial {self.best['trial']:03}, {self.metric} {self.best['score']:.2f}: {self.recipe}",
                f"train it in full: {self.command}",
            ]
        )


def _row(trial: dict[str, Any]) -> tuple[str, ...]:
    score = "" if trial["score"] is None else f"{trial['score']:.2f}"
    end = {"complete": "the end", "pruned": f"{trial['rung']}/{RUNGS}", "fail": "failed"}.get(
        trial["state"], ""
    )
    about = trial["fault"] or described(trial["params"]) or "the recipe as it is"
    return f"{trial['trial']:03}", score, end, f"{trial['seconds'] / 60:.1f}", about


def summarise(tuner: Tuner) -> Summary:
    """Also writes `best.toml` into the folder of the study."""
    first = best(tuner.study)
    sign = 1 if tuner.study.direction.name == "MINIMIZE" else -1
    trials = sorted(map(_plain, tuner.study.trials), key=lambda one: _order(one, sign))
    recipe = command = None
    if first is not None:
        path = tuner.folder / "best.toml"
        config = settings.build(json.loads(first.user_attrs["settings"]))
        files.write(path, best_recipe(tuner.plan, config, first.user_attrs["score"], first.number).encode())
        recipe, command = str(path), _command(tuner.plan, path, tuner.folder)
    return Summary(
        metric=tuner.plan.metric,
        trials=tuple(trials),
        best=None if first is None else _plain(first),
        importance=_importance(tuner.study),
        recipe=recipe,
        command=command,
    )


def _order(trial: dict[str, Any], sign: int) -> tuple[int, float]:
    """Whole ones by score, then ended ones, then failed ones."""
    state = {"complete": 0, "pruned": 1}.get(trial["state"], 2)
    return state, sign * trial["score"] if trial["score"] is not None else 0.0


def _plain(trial: "FrozenTrial") -> dict[str, Any]:
    rung = max(trial.intermediate_values, default=0)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "score": trial.user_attrs.get("score"),
        "rung": rung,
        "seconds": trial.user_attrs.get("seconds", 0.0),
        "params": dict(trial.params),
        "fault": trial.user_attrs.get("fault", ""),
    }


def _importance(study: "Study") -> dict[str, float]:
    """Watanabe et al. 2023; of trials with all parameters, which the first one has not."""
    import optuna

    scored = [trial for trial in study.trials if trial.state.name == "COMPLETE" and trial.params]
    if len(scored) < ENOUGH:
        return {}
    others = optuna.create_study(direction=study.direction)
    others.add_trials(scored)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that equal scores say nothing
        found = optuna.importance.get_param_importances(others, evaluator=evaluator)
    return {name.removeprefix("together."): float(share) for name, share in found.items()}


def _command(plan: Plan, recipe: Path, folder: Path) -> str:
    data = plan.config.data
    columns = [
        word for side in ("source", "target") if (name := getattr(data, side)) for word in (f"--{side}", name)
    ]
    if data.header is not None:
        columns.append("--header" if data.header else "--no-header")
    columns += ["--skip-bad"] * data.skip_bad
    valid = ["--valid", *data.valid] if data.valid else []
    device = plan.config.train.device
    words = [
        "suguk",
        "train",
        *data.train,
        *valid,
        *columns,
        "--recipe",
        str(recipe),
        *(() if device == "auto" else ("--device", device)),
        "--out",
        f"{folder}-best",
    ]
    return shlex.join(words)
