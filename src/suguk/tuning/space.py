"""The space of settings that a study searches: TOML like a recipe, with choices or an interval for each setting."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from suguk import config as settings
from suguk.config import Config
from suguk.errors import ConfigError

# What the trials of a study are compared by and on: it has to be the same for all of them.
SAME = (
    "train.minutes",
    "train.epochs",
    "train.seed",
    "train.device",
    "train.valid_metric",
    "train.valid_samples",
    "train.valid_every",
    "train.export",
)
TOGETHER = "together"


class Suggests(Protocol):
    """What a dimension asks of a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float: ...


@dataclass(frozen=True)
class Choice:
    """One of several values. settings: what each stands for, nested."""

    name: str
    settings: dict[Any, dict[str, Any]]

    @property
    def names(self) -> set[str]:
        """The settings that it changes."""
        return {name for given in self.settings.values() for name in flat(given)}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        return self.settings[trial.suggest_categorical(self.name, tuple(self.settings))]


@dataclass(frozen=True)
class Interval:
    """From low to high, both included; integers where both are."""

    name: str
    low: float
    high: float
    step: float | None
    log: bool

    @property
    def names(self) -> set[str]:
        return {self.name}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        value: float
        if isinstance(self.low, int) and isinstance(self.high, int):
            value = trial.suggest_int(self.name, self.low, self.high, step=int(self.step or 1), log=self.log)
        else:
            value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return nested(self.name, value)


Dimension = Choice | Interval
Space = tuple[Dimension, ...]


def read(path: str | Path | None = None) -> tuple[str, Space]:
    """The text of a space and what it says; None: the default. ConfigError for what cannot be read or searched."""
    if path is None:
        text = (resources.files("suguk") / "tuning" / "space.toml").read_text(encoding="utf-8")
        return text, parse(text, "the default space")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # editors of Windows write a byte order mark
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"cannot read the space: {fault}", where=path) from None
    return text, parse(text, str(path))


def parse(text: str, where: str) -> Space:
    """The dimensions in the order of the file."""
    found: list[Dimension] = []
    for section, values in settings.parse(text, where).items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected a section, found {section} = {values!r}", where=where, hint=_FORM)
        for key, value in values.items():
            name = f"{section}.{key}"
            found.append(
                _together(name, value, where) if section == TOGETHER else _single(name, value, where)
            )
    searched = [name for one in found for name in one.names]
    for name in sorted({name for name in searched if searched.count(name) > 1}):
        raise ConfigError(f"{name} is searched more than once", where=where, hint="keep one of them")
    if not found:
        raise ConfigError("there is nothing to search in it", where=where, hint=_FORM)
    return tuple(found)


_FORM = 'as in: [train] lr = { low = 0.0005, high = 0.005, log = true }, or [model] cell = ["lstm", "gru"]'


def _single(name: str, value: Any, where: str) -> Dimension:
    _known(name, where)
    if isinstance(value, list) and value and not any(isinstance(one, list | dict) for one in value):
        return Choice(name, {one: nested(name, one) for one in value})
    keys = {"low", "high", "step", "log"}
    if isinstance(value, Mapping) and {"low", "high"} <= value.keys() <= keys:
        interval = Interval(name, value["low"], value["high"], value.get("step"), bool(value.get("log")))
        _possible(interval, where)
        return interval
    raise ConfigError(
        f"{name}: expected choices or an interval of low and high, found {value!r}", where=where, hint=_FORM
    )


def _possible(one: Interval, where: str) -> None:
    numbers = [value for value in (one.low, one.high, one.step) if value is not None]
    if not all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in numbers
    ):
        raise ConfigError(f"{one.name}: expected numbers, found {numbers}", where=where)
    whole = isinstance(one.low, int) and isinstance(one.high, int)
    if one.step is not None and (one.step <= 0 or (whole and one.step != int(one.step))):
        message = f"expected a step above 0, whole between whole numbers, found {one.step}"
        raise ConfigError(f"{one.name}: {message}", where=where)
    if one.low > one.high or (one.log and (one.low <= 0 or one.step is not None)):
        message = "expected low ≤ high, and with log = true low above 0 and no step"
        raise ConfigError(f"{one.name}: {message}", where=where)


def _together(name: str, value: Any, where: str) -> Choice:
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{name}: expected choices of several settings, found {value!r}", where=where)
    for choice, given in value.items():
        for setting in flat(given) if isinstance(given, Mapping) else [f"{name}.{choice}"]:
            _known(setting, where)
    return Choice(name, {choice: dict(given) for choice, given in value.items()})


def _known(name: str, where: str) -> None:
    known = list(settings.names())
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`suguk recipes` lists every setting"
        raise ConfigError(f"unknown setting {name}", where=where, hint=hint)
    if name in SAME or name.startswith(("data.", "predict.")):
        message = f"{name} cannot be searched: trials are compared with it the same, by greedy decoding"
        raise ConfigError(message, where=where, hint="set it for all of them with --set")


def check(space: Space, base: Config, where: str) -> None:
    """ConfigError for a dimension of which no choice, or no end, goes with the other settings as they are."""
    for one in space:
        ends = (
            list(one.settings.values())
            if isinstance(one, Choice)
            else [nested(one.name, one.low), nested(one.name, one.high)]
        )
        faults = [fault for given in ends if (fault := _fault(base, given)) is not None]
        if len(faults) == len(ends):
            raise ConfigError(f"{one.name}: no choice is possible: {faults[0].message}", where=where)
        if isinstance(one, Interval) and not faults and (fault := _between(base, one)) is not None:
            raise ConfigError(
                f"{one.name}: {fault.message}",
                where=where,
                hint="whole numbers at both ends, as in { low = 8, high = 16 }",
            )


def _between(base: Config, one: Interval) -> ConfigError | None:
    """The fault of a value that is no whole number, where such may be proposed."""
    if (isinstance(one.low, int) and isinstance(one.high, int)) or one.low == one.high:
        return None
    return _fault(base, nested(one.name, one.low + 0.617 * (one.high - one.low)))


def refuse(space: Space, names: Sequence[str], why: str) -> None:
    """ConfigError if one of these settings is searched."""
    for one in space:
        for name in sorted(one.names & set(names)):
            raise ConfigError(f"{name} cannot be searched: {why}", where=one.name)


def _fault(base: Config, given: Mapping[str, Any]) -> ConfigError | None:
    try:
        settings.build(settings.merge(base.model_dump(), given))
    except ConfigError as fault:
        return fault
    return None


def nested(name: str, value: Any) -> dict[str, Any]:
    section, _, key = name.partition(".")
    return {section: {key: value}}


def flat(given: Mapping[str, Any]) -> Iterator[str]:
    """`section.key` of nested settings."""
    for section, values in given.items():
        if isinstance(values, Mapping):
            yield from (f"{section}.{key}" for key in values)
        else:
            yield section
