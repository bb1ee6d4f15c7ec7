"""What a study is about, kept beside it, so that it goes on as it began."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suguk import config as settings
from suguk import files
from suguk.config import Config
from suguk.data.prepare import Parts, fingerprint, parts
from suguk.data.vocabulary import recipe_for, vocabulary
from suguk.errors import ModelError, UserError
from suguk.training.validate import metric_name
from suguk.tuning import space as spaces
from suguk.tuning.space import Space

FORMAT = 1
TRIALS = 12  # that a budget is shared among, if none is pruned
PAIRS = 20_000  # of training between two validations, at most: what pruning decides on
FILE = "tune.json"
OF_TARGET = ("target.tokenizer", "target.vocab_size", "target.shared")
OF_TRIALS = ("minutes", "epochs", "valid_every", "valid_samples", "export", "device")


@dataclass(frozen=True)
class Plan:
    """base: all settings of the trials but what the space changes; full: those of the recipe that a full training
    has instead; minutes: of a trial; metric: what is compared.
    """

    base: dict[str, Any]
    full: dict[str, Any]
    recipe: str
    space: str  # TOML
    seed: int
    minutes: float | None
    metric: str
    data: dict[str, Any]  # fingerprint
    timed: bool = False  # minutes were asked for, and are no share of a budget

    @property
    def config(self) -> Config:
        return settings.build(self.base)

    @property
    def dimensions(self) -> Space:
        return spaces.parse(self.space, "the space of this study")


def make(
    given: Mapping[str, Any],
    recipe: str | None,
    space: str | Path | None,
    *,
    seed: int,
    budget: float | None,
) -> Plan:
    """given: settings over the recipe's, data included; budget: minutes of the study, None if trials are counted."""
    text, dimensions = spaces.read(space)
    config, name, found = _base(given, recipe)
    spaces.check(dimensions, config, str(space or "the default space"))
    minutes = config.train.minutes or (None if budget is None else budget / TRIALS)
    every = min(config.train.valid_every, max(PAIRS / len(found.train), 0.01))
    train: dict[str, Any] = {"export": False, "valid_every": every}
    train |= {} if minutes is None else {"minutes": minutes}
    asked = given.get("train", {})
    train |= {key: asked[key] for key in ("export", "valid_every") if key in asked}
    base = settings.merge(config.model_dump(mode="json", exclude_none=True), {"train": train})
    if budget is not None and minutes is not None and minutes > budget:
        raise UserError(
            f"a trial takes {minutes:g} minutes, more than the {budget:g} of all of them",
            where="train.minutes",
            hint="give a longer --budget, or leave train.minutes out: then a trial has a twelfth of it",
        )
    metric = metric_name(config, vocabulary(found.train, config).target)
    if metric == "perplexity":
        spaces.refuse(dimensions, OF_TARGET, "perplexities of other target tokens cannot be compared")
    return Plan(
        base=_plain(settings.build(base)),
        full=_full(name),
        recipe=name,
        space=text,
        seed=seed,
        minutes=minutes,
        metric=metric,
        data=fingerprint(config, found),
        timed=config.train.minutes is not None,
    )


def _plain(config: Config) -> dict[str, Any]:
    """Of the search, only what was set: training may choose the rest by its data."""
    search = config.predict.model_dump(mode="json", exclude_defaults=True)
    return config.model_dump(mode="json", exclude_none=True) | {"predict": search}


def _full(recipe: str) -> dict[str, Any]:
    """Those of the recipe alone: what was set for short trials is not for a full training."""
    train = settings.load(recipe).train.model_dump(mode="json", exclude_none=True)
    return {key: train[key] for key in OF_TRIALS if key in train}


def _base(given: Mapping[str, Any], recipe: str | None) -> tuple[Config, str, Parts]:
    """Without a recipe the data choose, as in training."""
    config = settings.load(recipe or "small", given)
    found = parts(config)
    if recipe is not None:
        return config, recipe, found
    made = vocabulary(found.train, config)
    name, _ = recipe_for(made.source, made.target)
    return settings.load(name, given), name, found


def keep(folder: Path, plan: Plan) -> None:
    """Into a new folder."""
    about = {"format": "suguk-tune", "version": FORMAT, **asdict(plan)}
    files.write_folder(folder, {FILE: json.dumps(about, ensure_ascii=False, indent=1).encode()})


def earlier(folder: Path) -> Plan | None:
    """The plan of a study that was begun; ModelError for another format."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if (about.pop("format"), about.pop("version")) != ("suguk-tune", FORMAT):
            raise ModelError("a study of another version of suguk", where=path, hint="name another --out")
        return Plan(**about)
    except (ValueError, KeyError, TypeError) as fault:
        raise ModelError(f"damaged ({fault})", where=path, hint="name another --out") from None


def same(folder: Path, begun: Plan, asked: Plan) -> None:
    """UserError where what is asked for now is not what the study was begun with. Its share of time stays."""
    differing = [
        name
        for name in ("recipe", "space", "seed", "metric", "data")
        if getattr(begun, name) != getattr(asked, name)
    ]
    free = {"train": {"minutes": None}}
    bases = [settings.merge(plan.base, free) for plan in (begun, asked)]
    for section in bases[0]:
        for key in bases[0][section].keys() | bases[1][section].keys():
            if bases[0][section].get(key) != bases[1][section].get(key):
                differing.append(f"{section}.{key}")
    if asked.timed and asked.minutes != begun.minutes:
        differing.append("train.minutes")
    if differing:
        raise UserError(
            f"holds a study with another {', '.join(differing)}",
            where=folder,
            hint="go on with the same command as before, or name another --out",
        )


def trial_settings(plan: Plan, chosen: Sequence[Mapping[str, Any]]) -> Config:
    """ConfigError where they do not go together."""
    # One metric for all, where `auto` would go by a tokenizer that is searched.
    merged = settings.merge(plan.base, {"train": {"valid_metric": plan.metric}})
    for given in chosen:
        merged = settings.merge(merged, given)
    return settings.build(merged)


def best_recipe(plan: Plan, config: Config, score: float, trial: int) -> str:
    """The settings of a trial as a recipe for a full training: without its data and its share of time."""
    import tomli_w

    plain = _plain(settings.anchored(config))
    for key in ("train", "valid", "source", "target", "header", "skip_bad"):
        plain["data"].pop(key, None)
    for key in OF_TRIALS:
        plain["train"].pop(key, None)
    plain["train"] |= plan.full
    found = f"trial {trial:03}, {plan.metric} {score:.2f}, from the recipe {plan.recipe}"
    head = f"# The best of a study by `suguk tune`: {found}."
    return f"{head}\n\n{tomli_w.dumps(plain)}"


def require_optuna() -> None:
    """MissingExtra without the extra."""
    from suguk.errors import MissingExtra

    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "train,tune", "`suguk tune`") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
