"""A model as bytes: the same for every worker, on this machine or another, whatever happens to its file meanwhile."""

import hashlib
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from suguk.errors import MissingExtra, UserError
from suguk.predictor import EXPORTED

if TYPE_CHECKING:
    from suguk.answers import TextPredictor

RUN = ("config.toml", "source.json", "target.json", "model.json", "model.safetensors")


@dataclass(frozen=True)
class Carried:
    """name: what to call it in messages; contents: an exported file alone, or the files of a run directory."""

    name: str
    contents: dict[str, bytes]

    @classmethod
    def read(cls, model: str | Path) -> "Carried":
        """An exported file, the export in a run directory, or else its settings, fields and weights.

        ModelError for what is missing; MissingExtra where it takes PyTorch and there is none; UserError for several.
        """
        from suguk import loading

        path, *others = loading.members(model)
        if others:
            raise UserError(
                "several processes take an ensemble as one exported file only",
                where=model,
                hint=f"`suguk export {model} FILE.onnx`, then give the file",
            )
        held = path / EXPORTED if path.is_dir() else path
        if held.suffix.lower() == ".onnx" and (held == path or held.exists()):
            from suguk.runtime import container

            return cls(str(held), {EXPORTED: container.read(held)})
        if find_spec("torch") is None:
            raise MissingExtra("torch", "train", f"{path}, which holds no export,")
        if not all((path / name).is_file() for name in RUN):
            loading.load(path, "cpu", "torch")  # says what is missing, and the cure
        return cls(str(path), {name: (path / name).read_bytes() for name in RUN})

    @property
    def fingerprint(self) -> str:
        """sha256 of an exported file, or of the names and hashes of a run directory's files."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.contents.items()}
        if len(hashes) == 1:
            return hashes[EXPORTED]
        return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()

    def open(self) -> "TextPredictor":
        """The model, on the processor, with one thread. ModelError if it is damaged."""
        if EXPORTED in self.contents:
            from suguk.runtime import OnnxModel

            return OnnxModel.of(self.contents[EXPORTED], Path(self.name), threads=1)
        from suguk import loading

        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.contents.items():
                (Path(folder) / name).write_bytes(content)
            try:
                return loading.load(folder, "cpu", "torch", threads=1)
            except UserError as fault:  # not of a folder that is gone when this is read
                raise type(fault)(fault.message, where=self.name, hint=fault.hint) from None
