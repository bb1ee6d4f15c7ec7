"""Which engine answers for a path: PyTorch for a run directory, ONNX Runtime for an exported file."""

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suguk import config
from suguk.answers import TextPredictor
from suguk.errors import ModelError, UserError
from suguk.predictor import EXPORTED

if TYPE_CHECKING:
    from suguk.runtime import OnnxModel

Engine = Literal["auto", "onnx", "torch"]
# What there is where a driver for a GPU is. Asking PyTorch itself takes a second.
MOST_THREADS = 256
SIGNS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def load(path: str | Path, device: str = "auto", engine: Engine = "auto", threads: int = 0) -> TextPredictor:
    """See `suguk.load`."""
    if engine not in ("auto", "onnx", "torch"):
        raise UserError(f"unknown engine {engine!r}", hint="auto, onnx or torch")
    device = str(device)  # a torch.device too
    if not isinstance(threads, int) or not 0 <= threads <= MOST_THREADS:
        raise UserError(
            f"expected 0 to {MOST_THREADS} threads, found {threads!r}", hint="0: as many as there are cores"
        )
    if not isinstance(path, str | Path):
        raise UserError(
            f"expected the path of a model, found {path!r:.60}", hint="join run directories: runs/a+runs/b"
        )
    names = members(path)
    if len(names) > 1:
        exported = any(name.suffix.lower() == ".onnx" for name in names)
        if exported or engine == "onnx":
            given = "RUN+RUN" if exported else path
            raise UserError(
                "an ensemble runs with ONNX Runtime as one exported file only",
                where=path,
                hint=f"export the run directories together, `suguk export {given} FILE.onnx`, then give the file",
            )
        return _trained(names, device, threads)
    path = names[0]
    if path.suffix.lower() == ".onnx":
        if engine == "torch":
            raise UserError(
                "an exported file runs with ONNX Runtime only",
                where=f"engine {engine}",
                hint="give the run directory",
            )
        return _exported(path, device, threads)
    held = path / EXPORTED
    if engine == "onnx" and path.is_dir() and not held.exists():
        raise ModelError("there is no export in it", where=path, hint=f"`suguk export {path} {held}`")
    wanted = engine == "onnx" or (engine == "auto" and held.exists())
    if wanted and (device == "cpu" or engine == "onnx" or (device == "auto" and not gpu_in_sight())):
        try:
            return _of_run(path, _exported(held, device, threads), threads)
        except ModelError as fault:
            fault.hint = f"`suguk export {path} {held}` makes it anew; `--engine torch` answers without it"
            raise
    return _trained(names, device, threads)


def _of_run(run: Path, model: "OnnxModel", threads: int) -> "OnnxModel":
    """The run's export with its settings of the search as they are now. ModelError for one of other weights."""
    weights, made = run / "model.safetensors", model.about.get("weights_sha256")
    if made is not None and weights.exists() and hashlib.sha256(weights.read_bytes()).hexdigest() != made:
        raise ModelError("the export is of other weights than model.safetensors", where=run / EXPORTED)
    text = run / "config.toml"
    if text.exists():
        try:
            written = text.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise ModelError(f"cannot be read: {fault}", where=text) from None
        now = config.build(config.parse(written, str(text)), str(text)).predict
        model.config = model.config.model_copy(update={"predict": now})
    model.origin = load, (run.resolve(), "cpu", "onnx", threads)
    return model


def members(path: str | Path) -> list[Path]:
    """The models that a name joined by + stands for; one where something has the whole name. UserError."""
    names = [str(path)] if Path(path).exists() else str(path).split("+")
    if len(names) > 1 and not all(names):
        raise UserError(
            "nothing stands before or after a +", where=path, hint="join run directories: runs/a+runs/b"
        )
    return [Path(name) for name in names]


def _trained(paths: list[Path], device: str, threads: int) -> TextPredictor:
    import torch

    from suguk import trained

    if threads:
        torch.set_num_threads(threads)
    return trained.load(paths, device)


def gpu_in_sight() -> bool:
    """Whether there may be a GPU that PyTorch can use: both are there, as far as a look tells."""
    signs = sys.platform == "win32" or any(Path(sign).exists() for sign in SIGNS)
    return signs and find_spec("torch") is not None


def _exported(path: Path, device: str, threads: int) -> "OnnxModel":
    from suguk.runtime import OnnxModel

    if device not in ("auto", "cpu"):
        raise UserError(
            "an exported file runs on the processor",
            where=f"device {device}",
            hint="give the run directory to use a GPU",
        )
    return OnnxModel.load(path, threads)
