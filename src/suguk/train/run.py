"""Training from data to a run directory, and going on with one that was stopped."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from suguk import config as settings
from suguk import files
from suguk.config import Config
from suguk.data.batch import Dataset, Sampler
from suguk.data.prepare import Prepared, prepare
from suguk.errors import ConfigError, ModelError, UserError
from suguk.explain.curves import learning_curves
from suguk.fields import TextField
from suguk.model import build
from suguk.train import checkpoint
from suguk.train.checkpoint import Saved, read_metrics
from suguk.train.display import Display, Kind, choose
from suguk.train.interrupt import Interrupt
from suguk.train.loop import Loop, Stop
from suguk.train.validate import Validator
from suguk.trained import TrainedModel, pick_device, read_static, read_weights, write_static

Paths = str | Path | Sequence[str | Path]
Overrides = Mapping[str, Any] | Sequence[str]

# What may differ when a run goes on: nothing that its saved state or its order of batches depends on.
CHANGEABLE = frozenset(
    {"epochs", "minutes", "lr", "schedule", "warmup", "decay", "patience", "halve_after", "halve_every", "clip"}
    | {"label_smoothing", "weight_decay", "early_stopping", "valid_every", "save_every", "precision", "device"}
)


def train(
    data: Paths,
    *,
    out: str | Path,
    recipe: str | None = None,
    valid: Paths = (),
    source: str = "",
    target: str = "",
    overrides: Overrides = (),
    display: Kind | Display = "auto",
    stop: Stop | None = None,
) -> TrainedModel:
    """See `suguk.train`."""
    started, folder, shown = time.monotonic(), Path(out), choose(display)
    try:
        _free(folder)
        given = settings.merge(_data_settings(data, valid, source, target), _nested(overrides))
        prepared, why = _prepared(recipe, given)
        for choice in [*why, *prepared.choices]:
            shown.note(choice)
        device = torch.device(pick_device(prepared.config.train.device))
        write_static(folder, prepared.config, prepared.source, prepared.target, _info(prepared))
        return _train(
            folder, prepared.config, prepared, prepared.source, prepared.target, device, shown, stop, None, started
        )
    finally:
        shown.close()


def resume(
    path: str | Path, *, overrides: Overrides = (), display: Kind | Display = "auto", stop: Stop | None = None
) -> TrainedModel:
    """See `suguk.resume`."""
    started, folder, shown = time.monotonic(), Path(path), choose(display)
    try:
        config, source, target = read_static(folder)
        saved = checkpoint.read_state(folder)
        config = _changed(config, _nested(overrides))
        prepared = prepare(config)
        _same_data(folder, prepared)
        if overrides:
            files.write(folder / "config.toml", settings.to_toml(config).encode())
        device = torch.device(pick_device(config.train.device))
        where = saved.progress if saved else checkpoint.Progress()
        shown.note(f"going on after step {where.step:,}, epoch {where.epochs:.2f}")
        return _train(folder, config, prepared, source, target, device, shown, stop, saved, started)
    finally:
        shown.close()


def _train(
    folder: Path,
    config: Config,
    prepared: Prepared,
    source: TextField,
    target: TextField,
    device: torch.device,
    shown: Display,
    stop: Stop | None,
    saved: Saved | None,
    started: float,
) -> TrainedModel:
    seed = config.train.seed
    dataset = Dataset(source.encode_batch(prepared.train.sources), target.encode_batch(prepared.train.targets))
    sampler = Sampler(dataset.source_lengths, dataset.target_lengths, config.train.batch_tokens, seed)
    validator = Validator(config, source, target, prepared.valid)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build(config.model, source.size, target.size, seed=seed)
        trained = TrainedModel(config, source, target, model, str(device))
        shown.note(_plan(trained, prepared, device))
        loop = Loop(folder, trained, dataset, sampler, validator, shown, saved, started=started)
        with Interrupt() as interrupt:
            ended = loop.run(lambda step: interrupt.number is not None or (stop is not None and stop(step)))
    if not ended:
        shown.close()
        shown.note(
            f"stopped after step {loop.progress.step:,} and saved; go on with `suguk train --resume {folder}`"
        )
        interrupt.leave()
    if (folder / "model.safetensors").exists():
        read_weights(folder, trained.model)
    if ended:
        learning_curves(read_metrics(folder), folder / "curves.svg")
        shown.close()
        shown.note(_ending(loop, folder))
    trained.model.eval()
    return trained


def _plan(trained: TrainedModel, prepared: Prepared, device: torch.device) -> str:
    count = sum(parameter.numel() for parameter in trained.model.parameters())
    return (
        f"training on {len(prepared.train):,} pairs, validating on {len(prepared.valid):,}; "
        f"{count:,} parameters; device {device}"
    )


def _ending(loop: Loop, folder: Path) -> str:
    progress = loop.progress
    best = "" if progress.best is None else f"; the best model is of step {progress.best.step:,}, " + (
        f"{loop.validator.metric} {progress.best.score:.2f}"
    )
    return f"trained {progress.step:,} updates, {progress.epochs:.2f} epochs, {loop.elapsed():,.0f} s{best}: {folder}"


def _data_settings(data: Paths, valid: Paths, source: str, target: str) -> dict[str, Any]:
    """Only what was given, so that a setting of the same name is not undone. Paths absolute: a resume may be elsewhere."""
    given = {"train": _absolute(data), "valid": _absolute(valid), "source": source, "target": target}
    return {"data": {key: value for key, value in given.items() if value}}


def _absolute(paths: Paths) -> list[str]:
    several = [paths] if isinstance(paths, str | Path) else paths
    return [os.path.abspath(path) for path in several]


def _nested(overrides: Overrides) -> dict[str, Any]:
    """`["a.b=1"]`, `{"a.b": 1}` and `{"a": {"b": 1}}` say the same."""
    if not isinstance(overrides, Mapping):
        return settings.assignments([overrides] if isinstance(overrides, str) else overrides)
    nested: dict[str, Any] = {}
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        nested = settings.merge(nested, {section: {key: value}} if dot else {name: value})
    return nested


def _prepared(recipe: str | None, given: dict[str, Any]) -> tuple[Prepared, list[str]]:
    """Recipe, then what was given; without a recipe the kinds of tokens decide between `small` and `chars`."""
    prepared = prepare(settings.load(recipe or "small", given))
    if recipe is not None:
        return prepared, []
    kinds = {prepared.source.kind, prepared.target.kind}
    if not kinds & {"char", "symbols"}:
        return prepared, ["recipe: small (both sides are sentences)"]
    prepared = prepare(settings.load("chars", given))
    return prepared, ["recipe: chars (a side of characters or symbols)"]


def _free(folder: Path) -> None:
    """UserError now, not after minutes of preparation, where the run directory cannot be made."""
    if (folder / "model.json").exists():
        raise UserError(
            "holds a run already",
            where=folder,
            hint=f"go on with it: `suguk train --resume {folder}`, or name another --out",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("exists already and is not an empty directory", where=folder, hint="name another --out")
    above = folder.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError("nothing can be written here", where=above, hint="name another --out")


def _info(prepared: Prepared) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": prepared.fingerprint,
        "choices": list(prepared.choices),
    }


def _changed(config: Config, overrides: dict[str, Any]) -> Config:
    """The run's settings with those of the loop that may change. ConfigError for the others."""
    names = [f"{section}.{key}" for section, value in overrides.items() for key in value]
    for name in names:
        if name.removeprefix("train.") not in CHANGEABLE:
            raise ConfigError(
                f"{name} cannot change when a run goes on",
                where="--resume",
                hint="these can: " + ", ".join(f"train.{key}" for key in sorted(CHANGEABLE)),
            )
    return settings.build(settings.merge(config.model_dump(), overrides), "--resume")


def _same_data(folder: Path, prepared: Prepared) -> None:
    recorded = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("data")
    if recorded == json.loads(json.dumps(prepared.fingerprint)):
        return
    raise ModelError(
        "the data are not those that this run was trained on: their fingerprint has changed",
        where=", ".join((*prepared.config.data.train, *prepared.config.data.valid)),
        hint="put the earlier files back, or train anew with another --out",
    )
