"""From a run directory to one file: graph, weights, fields, settings and a card; checked before it is kept."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from suguk import files, loading, trained
from suguk.answers import TextPredictor
from suguk.config import Config, DataConfig
from suguk.data.check import judged
from suguk.data.prepare import beside, parts
from suguk.data.read import Pairs, read, refusal
from suguk.errors import DataError, UserError
from suguk.export.bounds import inside
from suguk.export.graph import traced
from suguk.export.int8 import Packer
from suguk.export.parity import Parity, compare
from suguk.export.tied import share
from suguk.incoming import check_characters
from suguk.predictor import LONGEST_TEXT
from suguk.run_directory import read_metrics, read_static
from suguk.runtime import container
from suguk.runtime.container import ABOUT_KEY, CONFIG_KEY, SOURCE_KEY, TARGET_KEY
from suguk.runtime.model import OnnxModel

SENTENCES = 100  # that the check looks at
# Names of sizes, as docs/guides/anywhere.md has them.
SIZES = {
    "source": ["B", "S"],
    "copies": ["B", "S"],
    "limits": ["B"],
    "frame": ["K", "T"],
    "trace": ["A"],
    "prefix": ["B", "F"],
    "banned": ["B", "P", "N"],
    "required": ["B", "C", "L"],
    "repeat": ["R", "G"],
    "others": ["B", "O", "U"],
    "draws": ["D", "K", "T"],
    "choices": ["W"],
}
# Mean difference of a token's log probability from which on an export has failed, and share of outputs that have to be
# the same: where two words are all but equally likely, rounding decides, in single precision rarely.
TOLERANCE = {"fp32": 1e-4, "int8": 0.1}
SAME = {"fp32": 0.95, "int8": 0.0}


def export(
    run: str | Path,
    path: str | Path,
    *,
    single: bool = False,
    check: tuple[str, ...] = (),
    card: Mapping[str, str] | None = None,
) -> Parity:
    """Write the model of a run directory, or the ensemble of several joined by +, into one file.

    single: keep weights in single precision, else in eight bits; check: pairs to compare the engines on, by default
    those that the run was validated on; card: what users should know, such as languages and licence. UserError if
    the file answers otherwise than PyTorch does, and then nothing is written.
    """
    folders = loading.members(run)
    files.free(path, ".onnx")
    for key, value in (card or {}).items():
        check_characters(value, f"--{key}")
    model = trained.load(folders, "cpu")
    pairs = _pairs(read_static(folders[0])[0], check)
    return write(model, folders, Path(path), pairs, single=single, card=card)


def write(
    model: trained.TrainedModel | trained.TrainedEnsemble,
    folders: Sequence[Path],
    path: Path,
    pairs: Pairs,
    *,
    single: bool = False,
    card: Mapping[str, str] | None = None,
) -> Parity:
    """As `export`, with a loaded model and the pairs to check it on."""
    rows = np.unique(np.linspace(0, len(pairs) - 1, SENTENCES).round().astype(int)).tolist()
    sources, targets = [pairs.sources[row] for row in rows], [pairs.targets[row] for row in rows]
    graph = finished(_traced(model), single=single)
    precision = "fp32" if single else "int8"
    about = {**_about(folders[0]), "precision": precision, "card": dict(card or {})}
    if len(folders) > 1:
        about["ensemble"] = [_about(folder) for folder in folders]
    parity = compare(model, OnnxModel.of(with_metadata(graph, model, about), path), sources, targets)
    if not parity.mean_difference <= TOLERANCE[precision] or parity.same_outputs < SAME[precision]:
        raise UserError(
            f"the file does not answer as PyTorch does, so it was not kept: {parity.text()}; at most "
            f"{TOLERANCE[precision]:g} is allowed on average"
            + (f", and {SAME[precision]:.0%} of outputs have to be the same" if SAME[precision] else ""),
            where=path,
            hint="export with --fp32" if not single else "report it, with the run's config.toml",
        )
    files.write(path, with_metadata(graph, model, {**about, "parity": parity.to_json()}))
    return parity


def _traced(model: trained.TrainedModel | trained.TrainedEnsemble) -> onnx.ModelProto:
    """The graph. UserError where PyTorch's exporter fails: all compositions export here, other versions may differ."""
    try:
        return traced(model.model)
    except Exception as fault:  # its exceptions have no common class
        told = str(fault).strip().splitlines() or [""]
        raise UserError(
            f"PyTorch {torch.__version__} cannot export this model: {type(fault).__name__}: {told[0]}",
            hint="`--engine torch` answers without an export; report it, with the run's config.toml",
        ) from fault


def finished(model: onnx.ModelProto, *, single: bool) -> onnx.ModelProto:
    """A traced model as it is shipped, in single precision or eight bits. Changes and returns it."""
    model = share(model)
    if not single:
        model = Packer(model).run()
    graph = model.graph
    known: dict[str, str] = {}
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, SIZES.get(value.name, "?" * len(dims)), strict=True):
            if dim.dim_param:
                known.setdefault(dim.dim_param, name)
                dim.dim_param = known[dim.dim_param] if name == "?" else name
    forget_notes(graph)
    graph.name = "suguk"
    model.producer_name, model.producer_version = "suguk", metadata.version("suguk")
    return model


def _pairs(config: Config, check: tuple[str, ...]) -> Pairs:
    data = config.data
    try:
        if not check and not data.valid:
            return parts(config).valid  # split off the training data, as before the training
        given = beside(data, check or data.valid)
        given |= {"header": None} if check else {}
        problems, pairs = judged(
            read(check or data.valid, skip_bad=True, **given), LONGEST_TEXT, duplicates=False
        )
        bad = [problem for problem in problems if problem.fatal]
        if bad and (check or not data.skip_bad or not len(pairs)):
            raise refusal(bad)
        return pairs
    except DataError as fault:
        raise DataError(
            f"no sentences to check the export on: {fault.message}",
            fault.problems,
            where=fault.where,
            hint="name good pairs with --check DATA",
        ) from None
    except UserError as fault:
        raise UserError(
            f"no sentences to check the export on: {fault.message}",
            where=fault.where,
            hint="name pairs with --check DATA",
        ) from None


def forget_notes(graph: onnx.GraphProto) -> None:
    """What is said beside the values.

    Shapes inside: ONNX Runtime finds them out, and some are true no more. Where in which file a node comes from: half a
    megabyte that tells whoever gets the file where this library lay.
    """
    del graph.value_info[:]
    for one in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del one.metadata_props[:]
        one.ClearField("doc_string")
    for node in graph.node:
        for inner in inside(node):
            forget_notes(inner)


def _about(folder: Path) -> dict[str, Any]:
    made = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return {
        "suguk": metadata.version("suguk"),
        "torch": torch.__version__,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "trained": made.get("created"),
        "data": made.get("data"),
        "validation": _validation(folder),
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }


def _validation(folder: Path) -> dict[str, Any] | None:
    """The validation that the kept weights come from."""
    best = [record for record in read_metrics(folder) if record["kind"] == "valid" and record["best"]]
    return (
        {key: best[-1][key] for key in ("step", "epoch", "metric", "score", "perplexity")} if best else None
    )


def with_metadata(model: onnx.ModelProto, trained: TextPredictor, about: Mapping[str, Any]) -> bytes:
    """The file: settings, fields and what is said about the model stand in it, and a sha256 of all of it."""
    # Whoever gets the file need not know where the data lay.
    sides = {"source": trained.config.source, "target": trained.config.target}
    kept: dict[str, Any] = {name: side.model_copy(update={"embeddings": ""}) for name, side in sides.items()}
    data = trained.config.data
    kept |= {"data": DataConfig(lowercase=data.lowercase, columns=data.names)}
    config = trained.config.model_copy(update=kept)
    held = {
        container.FORMAT_KEY: container.FORMAT,
        container.VERSION_KEY: str(container.VERSION),
        CONFIG_KEY: config.model_dump_json(exclude_none=True),
        SOURCE_KEY: trained.source.to_json(),
        TARGET_KEY: trained.target.to_json(),
        ABOUT_KEY: json.dumps(about, ensure_ascii=False),
    }
    del model.metadata_props[:]
    for key, value in held.items():
        model.metadata_props.add(key=key, value=value)
    model.metadata_props.add(key=container.DIGEST_KEY, value=container.digest(model.SerializeToString()))
    return bytes(model.SerializeToString())
