"""The run directory read and written: it is the model.

`config.toml`, `source.json` and `target.json` (the fields), `model.json` (format, versions, data fingerprint),
`model.safetensors` (the best weights); `start.safetensors` (those that training began with, where another run or a
file of vectors gave them). Training adds `metrics.jsonl`, `curves.svg`, `model.onnx` and `training/`.
Nothing in it is code, and loading it executes nothing.
"""

import json
import os
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from suguk import config as settings
from suguk import files
from suguk.config import Config
from suguk.errors import ConfigError, ModelError
from suguk.fields import TextField
from suguk.model import Seq2Seq
from suguk.predictor import EXPORTED

FORMAT = 1


def write_static(
    path: str | Path,
    config: Config,
    source: TextField,
    target: TextField,
    info: Mapping[str, Any],
    more: Mapping[str, bytes] | None = None,
) -> None:
    """The files that never change during training, as a new directory that appears whole.

    info: into model.json; more: further files, by their names.
    """
    about = {
        "format": "suguk-run",
        "version": FORMAT,
        "suguk": metadata.version("suguk"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **info,
    }
    files.write_folder(
        path,
        {
            "config.toml": settings.to_toml(config).encode(),
            "source.json": source.to_json().encode(),
            "target.json": target.to_json().encode(),
            **(more or {}),
            # Last: with it there is a run.
            "model.json": json.dumps(about, ensure_ascii=False, indent=1).encode(),
        },
    )


def write_weights(path: str | Path, model: Seq2Seq) -> None:
    """model.safetensors, replaced whole; an export of earlier weights goes.

    Tied parameters are written once, under their first name.
    """
    folder = Path(path)
    (folder / EXPORTED).unlink(missing_ok=True)
    write_tensors(folder / "model.safetensors", dict(model.named_parameters()), {"format": "suguk-weights"})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, replaced whole, without a copy of the tensors in memory. UserError: see `files.write`."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    def save(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(plain, temporary, metadata=metadata)
            temporary.chmod(mode)  # the library may have made it for its owner only
        except SafetensorError as fault:  # the library's own, with the system's number in its text
            number = re.search(r"os error (\d+)", str(fault))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None

    files.write(path, save)


def read_static(folder: Path) -> tuple[Config, TextField, TextField]:
    """Settings and fields of a run directory; ModelError for what is missing, damaged or newer than this version."""
    if not folder.exists():
        raise ModelError("no such run directory", where=folder, hint="`suguk train DATA --out DIR` makes one")
    if not (folder / "model.json").is_file():
        raise ModelError(
            "not a run directory: there is no model.json",
            where=folder,
            hint="give the directory named by --out",
        )
    about = _json(folder / "model.json")
    if about.get("format") != "suguk-run":
        raise ModelError("not made by suguk", where=folder / "model.json")
    if not isinstance(about.get("version"), int) or about["version"] > FORMAT:
        raise ModelError(
            f"format version {about.get('version')}, this suguk reads up to {FORMAT}",
            where=folder / "model.json",
            hint="update suguk",
        )
    config = _settings(folder / "config.toml")
    sides = [
        TextField.from_json(_text(folder / name), str(folder / name))
        for name in ("source.json", "target.json")
    ]
    return config, sides[0], sides[1]


def read_weights(folder: Path, model: Seq2Seq) -> None:
    """model.safetensors into a model built from the same settings; ModelError if it is missing or does not fit."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(
            "there are no weights yet: training was stopped before its first validation",
            where=path,
            hint=f"go on with `suguk train --resume {folder}`",
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as fault:
        raise ModelError(
            f"damaged or cut short ({fault})", where=path, hint="copy the run directory again, or train again"
        ) from None
    copy_weights(tensors, model, path)


def copy_weights(tensors: Mapping[str, Tensor], model: Seq2Seq, path: Path) -> None:
    """Named tensors into the model; ModelError names what is missing, left over or of another shape."""
    wanted = dict(model.named_parameters())
    wrong = sorted(set(wanted) ^ set(tensors))
    wrong += [name for name in wanted if name in tensors and wanted[name].shape != tensors[name].shape]
    if wrong:
        raise ModelError(
            f"these weights do not belong to this config.toml (first of {len(wrong)} differences: {wrong[0]})",
            where=path,
            hint="copy the run directory again as a whole",
        )
    damaged = [name for name in wanted if not bool(torch.isfinite(tensors[name]).all())]
    if damaged:
        raise ModelError(
            f"there are weights that are no finite numbers (the first of them in {damaged[0]})",
            where=path,
            hint="copy the run directory again, or train anew",
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run; a last line that was cut short is left out."""
    path = folder / "metrics.jsonl"
    records = []
    # Not splitlines: texts in the records may have its other line ends.
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _settings(path: Path) -> Config:
    try:
        plain = settings.parse(_text(path), str(path))
        found = settings.build(plain, str(path))
        # All sections are written, if only with defaults: a file that was cut between two lines is valid TOML.
        missing = [name for name in Config.model_fields if name not in plain]
        if missing:
            raise ConfigError(f"there is no section {missing[0]}")
        return found
    except ConfigError as fault:
        raise ModelError(
            f"damaged, or of another version: {fault.message}",
            where=path,
            hint="copy the run directory again",
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(
            "this file of the run directory is missing",
            where=path,
            hint="copy the run directory again as a whole",
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ModelError(f"cannot be read: {fault}", where=path) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as fault:
        raise ModelError(f"damaged JSON: {fault}", where=path, hint="copy the run directory again") from None
    if not isinstance(value, dict):
        raise ModelError("expected a JSON object", where=path)
    return value
