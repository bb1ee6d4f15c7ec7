"""The settings, a module a section: all help and docs print the descriptions that stand there.

TOML in, TOML out; `section.key=value` overrides; an unknown key is refused with the nearest known one.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suguk.config.data import DataConfig, SideConfig, TargetConfig, TokenizerKind
from suguk.config.model import AttentionKind, CellKind, ModelConfig
from suguk.config.predict import PredictConfig
from suguk.config.sections import Config
from suguk.config.train import Metric, TrainConfig
from suguk.errors import ConfigError

__all__ = [
    "AttentionKind", "CellKind", "Config", "DataConfig", "Metric", "ModelConfig", "PredictConfig", "SideConfig",
    "TargetConfig", "TokenizerKind", "TrainConfig", "anchored", "assignments", "build", "documented", "load", "merge",
    "names", "options", "parse", "recipe", "recipes", "to_toml",
]  # fmt: skip


def parse(text: str, where: str) -> dict[str, Any]:
    """TOML text as a nested dict; ConfigError names `where` and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"not valid TOML: {fault}", where=where) from None


def build(settings: Mapping[str, Any], where: str = "settings") -> Config:
    """Checked settings; ConfigError lists every problem, with the nearest known name for an unknown one."""
    try:
        return Config.model_validate(settings)
    except ValidationError as fault:
        lines = [_explain(error) for error in fault.errors(include_url=False)]
        message = lines[0] if len(lines) == 1 else "\n  ".join(["several settings are wrong:", *lines])
        raise ConfigError(message, where=where, hint="`suguk recipes` lists every setting") from None


def options(base: PredictConfig, where: str = "options", **over: Any) -> PredictConfig:
    """`base` with other settings, checked as at the start: `options(model.config.predict, beam=10)`. ConfigError."""
    return build({"predict": merge(base.model_dump(), over)}, where).predict


def _explain(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = list(names()) if "." in place else list(Config.model_fields)
        near = difflib.get_close_matches(place, known, n=1, cutoff=0.5)
        return f"unknown setting {place}" + (f"; did you mean {near[0]}?" if near else "")
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: {message[0].lower()}{message[1:]}, found {error['input']!r}"


def names() -> Iterable[str]:
    """Every setting as `section.key`."""
    return (name for name, _, _ in documented())


def documented() -> Iterable[tuple[str, str, str]]:
    """(`section.key`, default, description) of every setting: the one source of all help."""
    for section, values in Config():
        for key, field in type(values).model_fields.items():
            default = "" if field.default is None else _show(field.default)
            yield f"{section}.{key}", default, field.description or ""


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value == () else str(value)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts, the second one winning."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def assignments(items: Iterable[str]) -> dict[str, Any]:
    """`["model.hidden=256"]` → `{"model": {"hidden": 256}}`; values are TOML, bare words are strings."""
    out: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"expected section.key=value, found {item!r}", where="--set")
        try:
            parsed = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        out = merge(out, {section: {key: parsed}})
    return out


def recipes() -> list[str]:
    """Names of the bundled recipes."""
    folder = resources.files("suguk") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def recipe(name: str | Path) -> str:
    """TOML text of a bundled recipe, or of a `.toml` file of the user's; ConfigError if there is none."""
    name = str(name)
    if name.endswith(".toml"):
        try:
            return Path(name).read_text(encoding="utf-8-sig")  # editors of Windows write a byte order mark
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigError(f"cannot read the recipe: {fault}", where=name) from None
    if name not in recipes():
        near = difflib.get_close_matches(name, recipes(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"unknown recipe {name!r}", hint=f"{hint}known: {', '.join(recipes())}, or a .toml file"
        )
    return (resources.files("suguk") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def load(recipe_name: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then a recipe, then overrides; checked as a whole."""
    base = parse(recipe(recipe_name), str(recipe_name)) if recipe_name else {}
    try:
        return build(merge(base, overrides or {}))
    except ConfigError:
        # The recipe has the blame only if it is wrong by itself.
        build(base, where=str(recipe_name or "settings"))
        raise


def anchored(config: Config) -> Config:
    """With absolute paths: they are read from elsewhere, where a run is resumed or a study's best is trained."""
    data, absolute = config.data, os.path.abspath
    paths: dict[str, Any] = {key: tuple(map(absolute, getattr(data, key))) for key in ("train", "valid")}
    paths["also"] = tuple(tuple(map(absolute, several)) for several in data.also)
    sides = {
        name: side.model_copy(update={"embeddings": absolute(side.embeddings)})
        for name, side in (("source", config.source), ("target", config.target))
        if side.embeddings
    }
    return config.model_copy(update={"data": data.model_copy(update=paths), **sides})


def to_toml(config: Config) -> str:
    """The settings as TOML; what is unset is left out."""
    import tomli_w

    return tomli_w.dumps(config.model_dump(exclude_none=True, mode="json"))
