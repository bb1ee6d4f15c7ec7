"""A trained model on PyTorch: the `Predictor` that answers from settings, fields and weights.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from suguk import asking
from suguk.answers import Forced, Found, TextPredictor
from suguk.asking import Given, Ids, Reals
from suguk.config import Config
from suguk.errors import UserError
from suguk.fields import PAD, TextField
from suguk.model import Ensemble, Seq2Seq, build
from suguk.run_directory import read_static, read_weights
from suguk.search import Menu, Ranking, search

M = TypeVar("M", Seq2Seq, Ensemble)


class TorchPredictor(TextPredictor, Generic[M]):
    """Fields, settings and what computes; satisfies `suguk.predictor.Predictor`."""

    def __init__(
        self, config: Config, source: TextField, target: TextField, model: M, device: str | None = None
    ) -> None:
        super().__init__(config, source, target)
        self.device = torch.device(device or "cpu")
        self.model: M = model.to(self.device)

    def _search(self, given: Given) -> Found:
        with _Answering(self.model):
            asked = {name: torch.from_numpy(array).to(self.device) for name, array in given.items()}
            real = asked["source"] != PAD
            memory = self.model.encode(asked["source"], real.sum(1), asked.get(asking.COPIES))
            found = search(
                self.model,
                memory,
                asked["limits"],
                asked["frame"].to(self.model.dtype),
                trace=asked["trace"].unsqueeze(1) + torch.zeros_like(asked["source"][0], dtype=torch.float32),
                prefix=asked["prefix"],
                wishes=Menu(*(asked[name] for name in Menu._fields)),
                ranking=Ranking(
                    asked["alpha"],
                    asked["offset"],
                    asked["beta"],
                    real if given["beta"] else None,
                ),
            )
            parts = found._asdict()
            return Found(*(parts[name].cpu().numpy() for name in Found._fields))

    def _contexts(self, source: Ids) -> tuple[Reals, Reals]:
        with _Answering(self.model):
            (ids,) = self._here(source)
            memory = self.model.encode(ids, (ids != PAD).sum(1))
            last, mean = self.model.contexts(memory)
            return last.float().cpu().numpy(), mean.float().cpu().numpy()

    def _force(
        self, source: Ids, lengths: Ids, target: Ids, copies: Ids | None, *, attention: bool
    ) -> Forced:
        del attention  # comes with the rest
        more = () if copies is None else (copies,)
        with _Answering(self.model):
            found = self.model.log_probs(*self._here(source, lengths, target, *more))
            return Forced(*(part.float().cpu().numpy() for part in found))

    def _here(self, *arrays: Ids) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)


class TrainedModel(TorchPredictor[Seq2Seq]):
    """One model."""

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "TrainedModel":
        """The best model of a run directory. ModelError says which file is missing, damaged or newer, and the cure."""
        folder = Path(path)
        config, source, target = read_static(folder)
        model = build(config.model, source.size, target.size, seed=0)
        read_weights(folder, model)
        return cls(config, source, target, model.eval(), pick_device(device))


class TrainedEnsemble(TorchPredictor[Ensemble]):
    """Several models as one, see `model.Ensemble`; settings are the first one's."""

    @classmethod
    def of(cls, models: Sequence[TrainedModel]) -> "TrainedEnsemble":
        """UserError if vocabularies differ. There is attention to show only where all of them attend."""
        first = models[0]
        for number, other in enumerate(models[1:], start=2):
            for side in ("source", "target"):
                if getattr(first, side).to_json() != getattr(other, side).to_json():
                    raise UserError(
                        f"models 1 and {number} have other {side} vocabularies",
                        where="ensemble",
                        hint="train them on the same data, with other seeds or settings",
                    )
        if len({one.config.model.copying for one in models}) > 1:
            raise UserError(
                "some of the models copy from the source and some do not",
                where="ensemble",
                hint="take models with the same model.copying",
            )
        config = first.config
        for blind in (one.config.model for one in models if not one.attends):
            config = config.model_copy(update={"model": blind})
        members = Ensemble([one.model for one in models]).eval()
        return cls(config, first.source, first.target, members, str(first.device))


def load(paths: Sequence[str | Path], device: str = "auto") -> TrainedModel | TrainedEnsemble:
    """The model of a run directory, or several as an ensemble."""
    models = [TrainedModel.load(path, device) for path in paths]
    return models[0] if len(models) == 1 else TrainedEnsemble.of(models)


class _Answering:
    """Inference mode with dropout off; puts the model back as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.training = model, model.training
        self.mode = torch.inference_mode()

    def __enter__(self) -> None:
        self.model.eval()
        self.mode.__enter__()

    def __exit__(self, *fault: Any) -> None:
        self.mode.__exit__(*fault)
        self.model.train(self.training)


def pick_device(name: str) -> str:
    """auto: the GPU if there is one. UserError where a GPU is asked for and there is none, or another device."""
    name = str(name)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"unknown device {name!r}", hint="auto, cpu, cuda or cuda:N")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", where=f"device {name}", hint="use --device cpu or auto"
        )
    index = torch.device(name).index or 0
    if name.startswith("cuda") and index >= torch.cuda.device_count():
        raise UserError(
            f"no such GPU: this machine has {torch.cuda.device_count()}, counted from 0",
            where=f"device {name}",
            hint="use a smaller number",
        )
    return name
