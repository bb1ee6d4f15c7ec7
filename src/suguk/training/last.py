"""The average of the weights of the last validations, θ̄ = (θ_1 + … + θ_N) / N (Sennrich, Haddow and Birch 2016 §3;
Vaswani et al. 2017 §6.1).

The weights lie in files, `training/last/<step>.safetensors`, so they cost no memory until they are averaged.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from suguk.errors import ModelError
from suguk.run_directory import write_tensors


class Last:
    """The weights of a model at the last `most` validations."""

    def __init__(self, folder: Path, model: nn.Module, most: int) -> None:
        """folder: the run directory."""
        self.folder, self.model, self.most = folder / "training" / "last", model, most

    def keep(self, step: int) -> None:
        """Write the weights of now. UserError on a full disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tensors(self._path(step), dict(self.model.named_parameters()), {"format": "suguk-weights"})

    def forget(self, steps: Sequence[int]) -> None:
        """Remove all but these."""
        wanted = {self._path(step) for step in steps}
        for path in self.folder.glob("*.safetensors"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    @contextmanager
    def instead(self, steps: Sequence[int]) -> Iterator[None]:
        """Inside, the model has the average of these. ModelError for a file that is missing or damaged."""
        named = dict(self.model.named_parameters())
        own = {name: parameter.data for name, parameter in named.items()}
        mean = {name: torch.zeros_like(value) for name, value in own.items()}
        for step in steps:
            for name, value in self._read(step).items():
                mean[name] += value.to(own[name].device) / len(steps)
        try:
            for name, parameter in named.items():
                parameter.data = mean[name]
            yield
        finally:
            for name, parameter in named.items():
                parameter.data = own[name]

    def _path(self, step: int) -> Path:
        return self.folder / f"{step}.safetensors"

    def _read(self, step: int) -> dict[str, torch.Tensor]:
        try:
            return load_file(self._path(step))
        except (SafetensorError, OSError) as fault:
            raise ModelError(
                f"missing, damaged or cut short ({fault})",
                where=self._path(step),
                hint="copy the run directory again, or go on with --set train.average_last=0",
            ) from None
