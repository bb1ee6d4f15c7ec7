"""Training from data to a run directory, and going on with one that was stopped."""

import json
import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch

from suguk import config as settings
from suguk import files
from suguk.config import Config, PredictConfig, TrainConfig
from suguk.copying import copied
from suguk.data import cache
from suguk.data.batch import Dataset, Side
from suguk.data.check import write_problems
from suguk.data.epochs import Cut, Epochs, Mix
from suguk.data.prepare import Prepared, prepare
from suguk.data.read import Pairs
from suguk.data.vocabulary import recipe_for
from suguk.errors import ConfigError, DataError, ModelError, UserError
from suguk.explain.curves import learning_curves
from suguk.fields import TextField
from suguk.incoming import is_text
from suguk.model import build
from suguk.predictor import EXPORTED
from suguk.run_directory import read_metrics, read_static, read_weights, write_static
from suguk.trained import TrainedModel, pick_device
from suguk.training import checkpoint
from suguk.training.checkpoint import Saved
from suguk.training.display import Display, Kind, choose
from suguk.training.diverged import Place
from suguk.training.ending import ended_text, stopped_text
from suguk.training.freeze import freeze
from suguk.training.interrupt import Interrupt
from suguk.training.loop import Loop, Stop
from suguk.training.precision import precision
from suguk.training.processes import Team, agreed
from suguk.training.start import START, Start, begin, prepared_from, start
from suguk.training.validate import Validator

Paths = str | Path | Sequence[str | Path]
Overrides = Mapping[str, Any] | Sequence[str]

# What may differ when a run goes on: nothing that its saved state or its order of batches depends on. The data may
# lie elsewhere; their fingerprint has to be the same.
KEPT = {
    "optimizer",
    "ema",
    "freeze",
    "batch_tokens",
    "batch_sentences",
    "seed",
    "valid_metric",
    "valid_samples",
}
CHANGEABLE = {f"train.{key}" for key in TrainConfig.model_fields.keys() - KEPT}
CHANGEABLE |= {"data.train", "data.also", "data.valid"}
CHANGEABLE |= {f"predict.{key}" for key in PredictConfig.model_fields}


class _Job(NamedTuple):
    """What a session of training begins with."""

    folder: Path
    config: Config
    source: TextField
    target: TextField
    train: Pairs
    parts: tuple[int, ...]  # pairs of `train` that are of each corpus
    valid: Pairs
    saved: Saved | None
    started: float


def _pairs(prepared: Prepared) -> tuple[Pairs, tuple[int, ...], Pairs]:
    return prepared.train, prepared.parts, prepared.valid


def train(
    data: Paths,
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    valid: Paths = (),
    source: str | int = "",
    target: str | int = "",
    overrides: Overrides = (),
    also: str | Path | Sequence[Paths] = (),
    start_from: str | Path | None = None,
    display: Kind | Display = "auto",
    stop: Stop | None = None,
) -> TrainedModel:
    """See `suguk.train`."""
    started, folder, team = time.monotonic(), Path(out), Team()
    shown = choose(display if team.first else "silent")
    try:
        if team.first:
            _free(folder)
        given = settings.merge(_data_settings(data, valid, source, target, also), _nested(overrides))
        run = None if start_from is None else Path(start_from)
        with team.in_turn():
            prepared, choices = _prepared(recipe, given) if run is None else prepared_from(run, recipe, given)
        prepared = agreed(prepared, team)
        prepared = prepared._replace(config=settings.anchored(prepared.config))
        begun = start(prepared, run) if team.first else Start(None, [], [])
        choices += begun.notes
        for choice in choices:
            shown.note(choice)
        config, fields = prepared.config, (prepared.source, prepared.target)
        _possible(config, prepared)
        info = _info(prepared, choices) | ({"lineage": begun.lineage} if begun.lineage else {})
        if team.first:
            write_static(
                folder, config, *fields, info, {} if begun.weights is None else {START: begun.weights}
            )
        if prepared.skipped and team.first:
            write_problems(prepared.skipped, folder / "skipped.tsv")
            shown.note(
                f"the {len(prepared.skipped):,} bad pairs left out are listed in {folder / 'skipped.tsv'}"
            )
        job = _Job(folder, config, prepared.source, prepared.target, *_pairs(prepared), None, started)
        with _alone(folder, team):
            return _session(job, shown, stop, team)
    finally:
        shown.close()


def resume(
    path: str | Path,
    *,
    overrides: Overrides = (),
    display: Kind | Display = "auto",
    stop: Stop | None = None,
) -> TrainedModel:
    """See `suguk.resume`."""
    started, folder, team = time.monotonic(), Path(path), Team()
    shown = choose(display if team.first else "silent")
    try:
        config, source, target = read_static(folder)
        with _alone(folder, team):
            saved = checkpoint.read_state(folder)
            config = settings.anchored(_changed(config, _nested(overrides)))
            _possible(config)
            with team.in_turn(), _moved():
                prepared = prepare(config, (source, target))
            _same_data(folder, prepared)
            if overrides and team.first:
                files.write(folder / "config.toml", settings.to_toml(config).encode())
            progress = checkpoint.Progress() if saved is None else saved.progress
            shown.note(f"going on after step {progress.step:,}, epoch {progress.epochs:.2f}")
            job = _Job(folder, config, source, target, *_pairs(prepared), saved, started)
            return _session(job, shown, stop, team)
    finally:
        shown.close()


@contextmanager
def _moved() -> Iterator[None]:
    """Data that are not where they were are told with how to name them."""
    try:
        yield
    except DataError as fault:
        if fault.message == "no such file":
            two = 'two parallel files as \'["A", "B"]\''
            fault.hint = f"if the data have moved: --set data.train=PATH --set data.valid=PATH, {two}"
        raise


def _alone(folder: Path, team: Team) -> AbstractContextManager[None]:
    """The run directory for this training: its first process has it for all of them."""
    return files.alone(folder) if team.first else nullcontext()


def _session(job: _Job, shown: Display, stop: Stop | None, team: Team) -> TrainedModel:
    config, folder = job.config, job.folder
    device = torch.device(team.device(pick_device(config.train.device)))
    with team.in_turn():
        dataset = _dataset(job)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), Interrupt() as interrupt:
        torch.manual_seed(config.train.seed + team.rank)  # each process has other dropout
        model = build(config.model, job.source.size, job.target.size, seed=config.train.seed)
        if job.saved is None and team.first:
            begin(folder, config, model)
        fine_tuning = bool(json.loads((folder / "model.json").read_text(encoding="utf-8")).get("lineage"))
        trained = TrainedModel(config, job.source, job.target, model, str(device))
        validator = Validator(config, job.source, job.target, job.valid)
        shown.note(_plan(job, trained))
        given = folder, trained, dataset, validator, shown, job.saved
        loop = Loop(*given, started=job.started, place=_place(job), team=team, fine_tuning=fine_tuning)
        ended = loop.run(lambda step: (stop is not None and stop(step)) or interrupt.number is not None)
    if (folder / "model.safetensors").exists():
        read_weights(folder, trained.model)
    model.eval()
    team.leave()
    if ended and team.first:
        learning_curves(read_metrics(folder), folder / "curves.svg")
    shown.close()
    shown.note(ended_text(loop) if ended else stopped_text(loop))
    interrupt.leave()
    if ended and config.train.export and team.first:
        _export(trained, job, shown)
    return trained


def _place(job: _Job) -> Place:
    """File and line of a pair, of whichever corpus it is."""
    data, ends = job.config.data, list(accumulate(job.parts))
    corpora = [data.train, *data.also]
    return lambda pair: (corpora[bisect_right(ends, pair)][0], job.train.lines[pair])


def _dataset(job: _Job) -> Dataset | Epochs:
    """The same in every epoch, unless the settings say otherwise."""
    source, target = (
        Cut(field, texts, sampling) if sampling else Side(*cache.token_ids(field, texts))
        for field, texts, sampling in (
            (job.source, job.train.sources, job.config.source.sampling),
            (job.target, job.train.targets, job.config.target.sampling),
        )
    )
    copies = copied(job.config, job.source, job.target, job.train.sources, job.train.targets)
    weights = job.config.data.weights
    if isinstance(source, Side) and isinstance(target, Side) and not weights:
        return Dataset.sides(source, target, copied=copies)
    mix = Mix(job.parts, weights) if weights else None
    return Epochs(source, target, job.config.train.seed, mix, copies)


def _export(trained: TrainedModel, job: _Job, shown: Display) -> None:
    """model.onnx; a model that cannot be exported is trained all the same."""
    path = job.folder / EXPORTED
    try:
        from suguk.export.write import write

        shown.note(write(trained, [job.folder], path, job.valid).text())
    except (UserError, ImportError) as fault:
        shown.note(f"warning: there is no {path}: {fault}")
    else:
        shown.note(f"the model in one file: {path}, {path.stat().st_size / 1e6:.1f} MB")


def _plan(job: _Job, trained: TrainedModel) -> str:
    count = sum(parameter.numel() for parameter in trained.model.parameters())
    return (
        f"training on {len(job.train):,} pairs, validating on {len(job.valid):,}; "
        f"{count:,} parameters; device {trained.device}"
    )


def _data_settings(
    data: Paths, valid: Paths, source: str | int, target: str | int, also: str | Path | Sequence[Paths]
) -> dict[str, Any]:
    """Only what was given."""
    given: dict[str, Any] = {"train": _several(data), "valid": _several(valid)}
    corpora = [also] if isinstance(also, str | Path) else also
    given |= {"also": [_several(paths) for paths in corpora], "source": source, "target": target}
    return {"data": {key: value for key, value in given.items() if value}}


def _possible(config: Config, prepared: Prepared | None = None) -> None:
    """What can only be seen on this machine or in the model, before anything is written. prepared: of a new run.

    UserError for a device that is not there; ConfigError for a precision it lacks, where all weights are frozen, or for
    a search that the model does not know.
    """
    if config.predict.coverage_penalty and config.model.attention == "none":
        raise ConfigError(
            "is of attention weights, found model.attention = none",
            where="predict.coverage_penalty",
            hint="leave it out, or train a model with attention",
        )
    precision(config.train.precision, torch.device(pick_device(config.train.device)))
    if prepared is not None and config.train.freeze:
        freeze(build(config.model, prepared.source.size, prepared.target.size, seed=1), config.train.freeze)


def _several(paths: Paths) -> list[str]:
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not all(isinstance(path, str | Path) for path in several):
        raise UserError(
            f"expected one table or two parallel text files, found {several[0]!r}",
            hint="write the pairs into a file, one a line, source and target with a tab between",
        )
    return [os.fspath(path) for path in several]


def _nested(overrides: Overrides) -> dict[str, Any]:
    """`["a.b=1"]`, `{"a.b": 1}` and `{"a": {"b": 1}}` say the same."""
    if not isinstance(overrides, Mapping):
        return settings.assignments([overrides] if isinstance(overrides, str) else overrides)
    nested: dict[str, Any] = {}
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        nested = settings.merge(nested, {section: {key: value}} if dot else {name: value})
    return nested


def _prepared(recipe: str | Path | None, given: dict[str, Any]) -> tuple[Prepared, list[str]]:
    """Recipe, then what was given; without one the kinds of tokens decide between `small` and `chars`."""
    prepared = prepare(settings.load(recipe or "small", given))
    if recipe is not None:
        return prepared, list(prepared.choices)
    name, reason = recipe_for(prepared.source, prepared.target)
    if name != "small":
        prepared = prepare(settings.load(name, given))
    return prepared, [f"recipe: {name}, as {reason}", *prepared.choices]


def _free(folder: Path) -> None:
    """UserError now, not after minutes of preparation, where the run directory cannot be made."""
    if not is_text(str(folder)):
        raise UserError("the name is not UTF-8", where=ascii(str(folder)), hint="name another --out")
    if (folder / "model.json").exists():
        raise UserError(
            "holds a run already",
            where=folder,
            hint=f"go on with it: `suguk train --resume {folder}`, or name another --out",
        )
    if folder.exists() and (not folder.is_dir() or not files.empty(folder)):
        raise UserError(
            "exists already and is not an empty directory", where=folder, hint="name another --out"
        )
    above = Path(os.path.realpath(folder))
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError("nothing can be written here", where=above, hint="name another --out")


def _info(prepared: Prepared, choices: list[str]) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": prepared.fingerprint,
        "choices": choices,
    }


def _changed(config: Config, overrides: dict[str, Any]) -> Config:
    """The run's settings with those of the loop and the search that may change. ConfigError for the others."""
    asked = overrides.get("train", {})
    if config.train.ema and isinstance(asked, Mapping) and asked.get("average_last"):
        raise ConfigError(
            f"the weights of this run are averaged already, by train.ema = {config.train.ema}",
            where="train.average_last",
            hint="train anew with train.ema=0, with another --out",
        )
    for section, values in overrides.items():
        names = values if isinstance(values, Mapping) else [""]
        for name in names:
            if f"{section}.{name}" not in {*CHANGEABLE, *settings.names()}:
                continue  # no setting at all, which is told with the nearest one below
            if f"{section}.{name}" not in CHANGEABLE:
                raise ConfigError(
                    f"{section}.{name} cannot change when a run goes on",
                    where="--resume",
                    hint="these can: " + ", ".join(sorted(CHANGEABLE)),
                )
    return settings.build(settings.merge(config.model_dump(), overrides), "--resume")


def _same_data(folder: Path, prepared: Prepared) -> None:
    recorded = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("data")
    if recorded == json.loads(json.dumps(prepared.fingerprint)):
        return
    raise ModelError(
        "the data are not those that this run was trained on: their fingerprint has changed",
        where=", ".join((*prepared.config.data.train, *prepared.config.data.valid)),
        hint="put the earlier files back (or name them: --set data.train='[\"PATH\"]'), or train anew with "
        "another --out",
    )
