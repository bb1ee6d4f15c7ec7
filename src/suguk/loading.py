"""Which engine answers for a path: PyTorch for a run directory, ONNX Runtime for an exported file."""

import sys
from pathlib import Path
from typing import Literal

from suguk.answers import TextPredictor
from suguk.errors import ModelError, UserError
from suguk.predictor import EXPORTED

Engine = Literal["auto", "onnx", "torch"]
# What there is where a driver for a GPU is. Asking PyTorch itself takes a second.
SIGNS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def load(path: str | Path, device: str = "auto", engine: Engine = "auto") -> TextPredictor:
    """See `suguk.load`."""
    path = Path(path)
    if path.suffix == ".onnx":
        if engine == "torch":
            raise UserError(
                "an exported file runs with ONNX Runtime only",
                where=f"engine {engine}",
                hint="give the run directory",
            )
        return _exported(path, device)
    if engine not in ("auto", "onnx", "torch"):
        raise UserError(f"unknown engine {engine!r}", hint="auto, onnx or torch")
    held = path / EXPORTED
    if engine == "onnx" and path.is_dir() and not held.exists():
        raise ModelError("there is no export in it", where=path, hint=f"`suguk export {path} {held}`")
    wanted = engine == "onnx" or (engine == "auto" and held.exists())
    if wanted and (device == "cpu" or engine == "onnx" or (device == "auto" and not gpu_in_sight())):
        return _exported(held, device)
    from suguk.trained import TrainedModel

    return TrainedModel.load(path, device)


def gpu_in_sight() -> bool:
    """Whether there may be a GPU that PyTorch can use."""
    return sys.platform == "win32" or any(Path(sign).exists() for sign in SIGNS)


def _exported(path: Path, device: str) -> TextPredictor:
    from suguk.runtime import OnnxModel

    if device not in ("auto", "cpu"):
        raise UserError(
            "an exported file runs on the processor",
            where=f"device {device}",
            hint="give the run directory to use a GPU",
        )
    return OnnxModel.load(path)
