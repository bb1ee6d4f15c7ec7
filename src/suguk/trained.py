"""A trained model on PyTorch: the `Predictor` that answers from settings, fields and weights.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

from pathlib import Path
from typing import Any

import torch

from suguk.answers import Forced, Found, Ids, TextPredictor
from suguk.config import Config, PredictConfig
from suguk.errors import UserError
from suguk.fields import TextField
from suguk.model import Seq2Seq, build
from suguk.run_directory import read_static, read_weights
from suguk.search import search


class TrainedModel(TextPredictor):
    """Fields, settings and weights; satisfies `suguk.predictor.Predictor`."""

    def __init__(
        self, config: Config, source: TextField, target: TextField, model: Seq2Seq, device: str | None = None
    ) -> None:
        super().__init__(config, source, target)
        self.device = torch.device(device or "cpu")
        self.model = model.to(self.device)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "TrainedModel":
        """The best model of a run directory. ModelError says which file is missing, damaged or newer, and the cure."""
        folder = Path(path)
        config, source, target = read_static(folder)
        model = build(config.model, source.size, target.size, seed=0)
        read_weights(folder, model)
        return cls(config, source, target, model.eval(), pick_device(device))

    def _search(self, source: Ids, lengths: Ids, limits: Ids, options: PredictConfig) -> Found:
        with _Answering(self.model):
            ids, sizes, most = self._here(source, lengths, limits)
            memory = self.model.encode(ids, sizes)
            frame = torch.zeros(
                options.beam, int(limits.max()), device=self.device, dtype=memory.values.dtype
            )
            found = search(
                self.model,
                memory,
                most,
                frame,
                alpha=options.length_penalty,
                offset=options.offset,
            )
            *plain, _ = (part.cpu().numpy() for part in found)  # without the trace
            return Found(*plain)

    def _force(self, source: Ids, lengths: Ids, target: Ids, *, attention: bool) -> Forced:
        del attention  # comes with the rest
        with _Answering(self.model):
            found = self.model.log_probs(*self._here(source, lengths, target))
            return Forced(*(part.float().cpu().numpy() for part in found))

    def _here(self, *arrays: Ids) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)


class _Answering:
    """Inference mode with dropout off; puts the model back as it was."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model, self.training = model, model.training
        self.mode = torch.inference_mode()

    def __enter__(self) -> None:
        self.model.eval()
        self.mode.__enter__()

    def __exit__(self, *fault: Any) -> None:
        self.mode.__exit__(*fault)
        self.model.train(self.training)


def pick_device(name: str) -> str:
    """auto: the GPU if there is one. UserError where a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", where=f"device {name}", hint="use --device cpu or auto"
        )
    try:
        torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}", hint="auto, cpu, cuda or cuda:N") from None
    return name
