"""All that a report says of a run, gathered as plain data."""

import json
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from suguk import config as settings
from suguk.config import Config, PredictConfig
from suguk.data.split import as_read
from suguk.errors import ModelError
from suguk.evaluation import metrics, report
from suguk.evaluation.report import Evaluation
from suguk.predictor import Prediction
from suguk.report import sides
from suguk.report.contents import (
    About,
    Curves,
    Example,
    Forcing,
    LengthGroup,
    Origin,
    Quality,
    Report,
    Score,
    Setting,
    TrainPoint,
    ValidPoint,
)
from suguk.report.examples import chosen, example, pictured
from suguk.report.findings import Seen, findings
from suguk.report.forcing import forced, free_accuracy
from suguk.report.gather import Gathered, gather
from suguk.run_directory import read_metrics, read_static
from suguk.trained import TrainedModel

POINTS = 300  # of a training curve
LABELS = metrics.LABELS | {"exact": "exact match"}
TRAIN_SAMPLE = 500  # training pairs whose loss is compared


class Choices(NamedTuple):
    """limit: most sources; examples: of each kind; seed: of what is drawn at random."""

    limit: int = 500
    examples: int = 8
    seed: int = 1


def collect(
    run: str | Path,
    data: Sequence[str] = (),
    choices: Choices | None = None,
    *,
    change: Callable[[PredictConfig], PredictConfig] = lambda base: base,
    device: str = "auto",
    start: Callable[[int], Callable[[Prediction], None]] | None = None,
    asked: Sequence[str] = (),
    **columns: Any,
) -> Report:
    """The report of a run directory on its validation data, or on `data` (columns: as for `data.read.read`).

    change: from the model's settings of the search to those of the report. start(total) gives what is called with
    every prediction, for a progress display. asked: options of the command, to say how the report is made again.
    ModelError, DataError.
    """
    folder, choices = Path(run), choices or Choices()
    model = TrainedModel.load(folder, device)
    options, lowercase = change(model.config.predict), model.config.data.lowercase
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    found = gather(model.config, data, about, choices.limit, choices.seed, **columns)
    predictions: list[Prediction] = []
    tell = start(len(found.sources)) if start is not None else lambda _: None

    def keep(prediction: Prediction) -> None:
        predictions.append(prediction)
        tell(prediction)

    evaluation = report.evaluate(
        model,
        found.sources,
        found.references,
        options,
        _names(model),
        lowercase=lowercase,
        on_prediction=keep,
    )
    records = read_metrics(folder)
    curves = _curves(records)
    quality = _quality(evaluation, found, options, curves.metric)
    compared = _forcing(model, found, predictions, choices.seed)
    first = [group[0] for group in found.references]
    of_sides = sides.both(found.sides, (model.source, model.target), found.train, found.sources, first)
    seen = Seen(
        predictions=predictions,
        references=found.references,
        quality=quality,
        curves=curves,
        forcing=compared,
        sides=of_sides,
        training_sources=frozenset(
            as_read(text, lowercase) for text in (() if found.train is None else found.train.sources)
        ),
        changed=found.changed,
        missing=found.missing,
        copies=model.config.model.copying,
        lowercase=lowercase,
    )
    return Report(
        about=_about(folder, model, found, about, records),
        quality=quality,
        findings=findings(seen),
        curves=curves,
        examples=_examples(model, predictions, found, options, choices),
        sides=of_sides,
        training_pairs=None if found.train is None else len(found.train),
        forcing=compared,
        settings=_settings(model.config),
        origin=_origin(folder, model.config, about, [*data, *asked]),
    )


def _names(model: TrainedModel) -> tuple[str, ...]:
    return ("exact", "per", "bleu", "chrf") if model.target.kind == "symbols" else report.DEFAULT


def _curves(records: Sequence[dict[str, Any]]) -> Curves:
    train = [record for record in records if record.get("kind") == "train" and record.get("loss") is not None]
    steps = [0, *(record["step"] for record in train)]
    updates = [max(now - before, 1) for before, now in pairwise(steps)]
    valid = [record for record in records if record.get("kind") == "valid"]
    metric = str(valid[-1]["metric"]) if valid else ""
    return Curves(
        metric=metric,
        rising=not metric or metrics.better(metric) > 0,
        train=tuple(
            TrainPoint(
                step=int(train[part][-1]["step"]),
                epoch=float(train[part][-1]["epoch"]),
                loss=float(np.average([record["loss"] for record in train[part]], weights=updates[part])),
                lr=float(np.average([record["lr"] for record in train[part]], weights=updates[part])),
            )
            for part in _parts(len(train))
        ),
        valid=tuple(
            ValidPoint(
                int(record["step"]),
                float(record["epoch"]),
                record.get("loss"),
                record.get("score"),
                bool(record.get("best")),
            )
            for record in valid
        ),
    )


def _parts(records: int) -> list[slice]:
    """Neighbours together, so that POINTS are left."""
    size = max(1, -(-records // POINTS))
    return [slice(k, k + size) for k in range(0, records, size)]


def _quality(found: Evaluation, data: Gathered, options: PredictConfig, metric: str) -> Quality:
    scores = [
        Score(name, LABELS[name], value.score, value.signature, metrics.better(name) > 0)
        for name, value in found.scores.items()
    ]
    named = {score.name: score for score in scores}
    return Quality(
        data=data.label,
        sources=found.sources,
        sampled_from=data.available,
        headline=named.get(metric, scores[1] if "chrf" in named and "ter" in named else scores[0]),
        scores=tuple(scores),
        perplexity=found.perplexity,
        search=_search(options),
        unit=found.unit,
        groups=tuple(LengthGroup(**vars(group)) for group in found.groups),
        sentences_per_second=found.sentences_per_second,
    )


def _search(options: PredictConfig) -> str:
    if options.sample:
        return "sampling"
    if options.beam == 1:
        return "greedy search"
    return f"beam of {options.beam}, length penalty {options.length_penalty:g}"


def _forcing(model: TrainedModel, data: Gathered, predictions: Sequence[Prediction], seed: int) -> Forcing:
    first = [group[0] for group in data.references]
    valid = forced(model, data.sources, first)
    train = None
    if data.train is not None:
        count = min(TRAIN_SAMPLE, len(data.train))
        rows = np.random.default_rng(seed).choice(len(data.train), count, replace=False).tolist()
        of_train = [data.train.sources[row] for row in rows], [data.train.targets[row] for row in rows]
        train = forced(model, *of_train).loss
    return Forcing(train, valid.loss, valid.accuracy, free_accuracy(model, predictions, first))


def _examples(
    model: TrainedModel,
    predictions: Sequence[Prediction],
    data: Gathered,
    options: PredictConfig,
    choices: Choices,
) -> tuple[Example, ...]:
    outputs = [prediction.output for prediction in predictions]
    scores = metrics.sentence_chrf(outputs, data.references, lowercase=model.config.data.lowercase)
    rows = chosen(scores, data.sources, choices.examples, choices.seed)
    drawn = pictured(model, [(kind, predictions[row]) for kind, row in rows], options)
    return tuple(
        example(
            kind, model, predictions[row], data.references[row], scores[row], drawn.get(data.sources[row])
        )
        for kind, row in rows
    )


def _about(
    folder: Path,
    model: TrainedModel,
    data: Gathered,
    about: dict[str, Any],
    records: Sequence[dict[str, Any]],
) -> About:
    speeds = [record["tokens_per_second"] for record in records if record.get("tokens_per_second")]
    last = records[-1] if records else {}
    return About(
        name=folder.absolute().name,
        source=data.sides[0],
        target=data.sides[1],
        summary=architecture(model.config),
        parameters=sum(parameter.numel() for parameter in model.model.parameters()),
        source_vocabulary=model.source.size,
        target_vocabulary=model.target.size,
        created=str(about.get("created", "")),
        epochs=float(last.get("epoch", 0.0)),
        updates=int(last.get("step", 0)),
        seconds=last.get("seconds"),
        tokens_per_second=float(np.median(speeds)) if speeds else None,
    )


def architecture(config: Config) -> str:
    """The model in a sentence."""
    model = config.model
    ways = "bidirectional " if model.bidirectional else ""
    cell = {"rnn": "tanh RNN", "lstm": "LSTM"}.get(model.cell, "GRU")
    layers = model.encoder_layers or model.layers
    encoder = f"{layers}-layer {ways}{cell} encoder ({model.encoder_hidden or model.hidden} units)"
    decoder = f"{model.layers}-layer {cell} decoder ({model.hidden} units)"
    if model.attention == "none":
        context = "the context at every step" if model.context == "every-step" else "one fixed-size context"
    else:
        place = {"before": "before the cell", "within": "between the two cells of a step"}
        place |= {"between": "between the layers", "after": "after the cell"}
        context = f"{model.attention} attention {place[model.attend]}"
        context += ", input feeding" * model.input_feeding
    return f"{encoder}, {decoder}, {context}; embeddings of {model.embedding}"


def _settings(config: Config) -> tuple[Setting, ...]:
    """Those that differ from their defaults first."""
    values, defaults = config.model_dump(mode="json"), Config().model_dump(mode="json")
    rows = []
    for name, _, text in settings.documented():
        section, key = name.split(".")
        value, default = values[section][key], defaults[section][key]
        rows.append(Setting(name, _shown(value), _shown(default), value != default, text))
    return tuple(sorted(rows, key=lambda row: not row.changed))


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value) if value != "" else "none"


def _again(folder: Path, config: Config, about: dict[str, Any]) -> Iterator[str]:
    """Words of the command that trains this run anew. The run it started from is looked for beside it."""
    yield from ("suguk", "train", *config.data.train)
    if config.data.valid:
        yield from ("--valid", *config.data.valid)
    yield from ("--recipe", str(folder / "config.toml"))
    if not about.get("lineage"):
        return
    earlier = folder.parent / about["lineage"][-1]["run"]
    try:
        before = read_static(earlier)[0].model_dump()
    except ModelError:
        yield from ("--from", earlier.name)
        return
    yield from ("--from", str(earlier))
    plain = config.model_dump()
    for section in ("source", "target", "model", "predict"):  # of which --from takes nothing of a recipe
        for name, value in plain[section].items():
            if value != before[section][name] and name != "embeddings":
                yield from ("--set", f"{section}.{name}={json.dumps(value)}")


def _origin(folder: Path, config: Config, about: dict[str, Any], asked: Sequence[str]) -> Origin:
    """asked: words after the run in the command of the report."""
    commands = [
        [*_again(folder, config, about), "--out", f"{folder}-again"],
        ["suguk", "report", str(folder), *asked],
        ["suguk", "predict", str(folder)],
    ]
    recorded = ("suguk", "torch", "python")
    versions: dict[str, str] = {name: str(about[name]) for name in recorded if name in about}
    versions |= {"report": f"suguk {metadata.version('suguk')}, Python {platform.python_version()}"}
    return Origin(
        versions=versions,
        choices=tuple(about.get("choices", ())),
        fingerprint=about.get("data") or {},
        commands=tuple(map(shlex.join, commands)),
        sizes={path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    )
