"""Training that begins with weights that are there already: another run's, or vectors of words from a file.

They are kept in `start.safetensors` of the new run directory, so that it can go on by itself.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from suguk import config as settings
from suguk.config import Config
from suguk.data.embeddings import read_vectors
from suguk.data.prepare import Prepared, prepare
from suguk.data.vocabulary import recipe_for
from suguk.errors import ConfigError, ModelError
from suguk.model import Seq2Seq, build
from suguk.run_directory import copy_weights, read_static, read_weights

START = "start.safetensors"
SAMPLE = 2000  # texts of a side in which unknown tokens are counted
STRANGE = 0.01  # share of them from which on it is worth a warning
# What a run that starts from another may have otherwise: nothing that its weights depend on.
CHANGEABLE = {"source.sampling", "target.sampling", "model.dropout", "model.variational_dropout"}
CHANGEABLE |= {"model.recurrent_dropout", "model.embedding_dropout", "model.word_dropout"}
CHANGEABLE |= {"model.zoneout", "model.zoneout_cell"}


class Start(NamedTuple):
    """What training begins with. weights: a safetensors file, or none; lineage: runs before this one, oldest first."""

    weights: bytes | None
    lineage: list[dict[str, str]]
    notes: list[str]


def prepared_from(
    run: Path, recipe: str | Path | None, given: Mapping[str, Any]
) -> tuple[Prepared, list[str]]:
    """Fields and model of `run`; settings of loop and data of the recipe; then what was given. Also what to tell.

    ConfigError for given settings that cannot be other than the run's.
    """
    earlier, source, target = read_static(run)
    plain = earlier.model_dump(exclude_none=True)
    _refuse_others(plain, given, run)
    name = str(recipe or recipe_for(source, target)[0])
    base = {section: plain[section] for section in ("source", "target", "model")}
    # What it leaves open may follow the new data.
    base["predict"] = earlier.predict.model_dump(exclude_defaults=True)
    asked = settings.parse(settings.recipe(name), name)
    base["train"] = asked.get("train", {})
    known = {"columns": list(earlier.data.names), "lowercase": earlier.data.lowercase}
    base["data"] = asked.get("data", {}) | known
    for side in ("source", "target"):
        base[side] |= {"embeddings": ""}  # the weights have them already
    prepared = prepare(settings.build(settings.merge(base, given)), (source, target))
    told = f"starts from {run}: its tokenizers, vocabularies, model and weights; training as in recipe {name}"
    return prepared, [told, *prepared.choices, *_strange(prepared)]


def _strange(prepared: Prepared) -> Iterator[str]:
    """A warning for each side with tokens that the run's vocabulary does not know."""
    sides = (prepared.source, prepared.train.sources), (prepared.target, prepared.train.targets)
    for name, (field, texts) in zip(("source", "target"), sides, strict=True):
        rate = field.unknown_rate(texts[:: max(1, len(texts) // SAMPLE)])
        if rate > STRANGE:
            yield f"warning: {rate:.1%} of the {name} tokens are unknown to the vocabulary of the earlier run"


def _refuse_others(plain: Mapping[str, Any], given: Mapping[str, Any], run: Path) -> None:
    fixed = {"data": {"lowercase": plain["data"]["lowercase"]}}
    fixed |= {section: plain[section] for section in ("source", "target", "model")}
    for section, values in fixed.items():
        asked = given.get(section)
        for key, value in asked.items() if isinstance(asked, Mapping) else ():
            name = f"{section}.{key}"
            known = key in values or (section != "data" and name in set(settings.names()))
            added = name == "model.coverage" and value is True  # it begins without effect
            if known and not added and name not in CHANGEABLE and value != values.get(key):
                raise ConfigError(
                    f"{name} = {value} does not go with the weights of {run}, which has {values.get(key, 'none')}",
                    where="--from",
                    hint="leave it out, or train anew without --from",
                )


def start(prepared: Prepared, run: Path | None) -> Start:
    """The weights that this training begins with, where they are not a function of its settings and seed alone."""
    config = prepared.config
    sides = ("source", "target") if run is None else ()
    vectors = {side: getattr(config, side).embeddings for side in sides}
    if run is None and not any(vectors.values()):
        return Start(None, [], [])
    model = build(config.model, prepared.source.size, prepared.target.size, seed=config.train.seed)
    notes = []
    for side, path in vectors.items():
        if path:
            notes.append(_embed(model, prepared, side, path))
    lineage = []
    if run is not None:
        plain = build(read_static(run)[0].model, prepared.source.size, prepared.target.size, seed=1)
        read_weights(run, plain)
        model.load_state_dict(plain.state_dict(), strict=False)  # coverage may be new
        sha256 = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
        about = json.loads((run / "model.json").read_text(encoding="utf-8"))
        lineage = [*about.get("lineage", []), {"run": run.resolve().name, "weights_sha256": sha256}]
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    return Start(save(tensors, {"format": "suguk-weights"}), lineage, notes)


def _embed(model: Seq2Seq, prepared: Prepared, side: str, path: str) -> str:
    """Put the file's vectors into the table of a side, so that they enter the networks as they are; a report."""
    field = prepared.source if side == "source" else prepared.target
    embedding = (model.encoder if side == "source" else model.decoder).embedding
    ids, values = read_vectors(path, field, embedding.weight.shape[1], side)
    with torch.no_grad():
        embedding.weight[torch.from_numpy(ids)] = torch.from_numpy(values) / embedding.scale
    share = len(ids) / field.size
    return f"{side}.embeddings: {len(ids):,} of {field.size:,} entries ({share:.1%}) are in {path}"


def begin(folder: Path, config: Config, model: Seq2Seq) -> None:
    """The weights of `start.safetensors` into the model, if the run began with any.

    ModelError if they are missing, damaged, or of another model.
    """
    path = folder / START
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if not (about.get("lineage") or config.source.embeddings or config.target.embeddings):
        return
    try:
        copy_weights(load_file(path), model, path)
    except (SafetensorError, OSError) as fault:
        raise ModelError(
            f"the weights that this run begins with are missing or damaged ({fault})",
            where=path,
            hint="copy the run directory again as a whole, or begin anew with another --out",
        ) from None
