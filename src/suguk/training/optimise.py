"""Optimizers and learning rates. A rate is a pure function of where training stands, so resuming is exact."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adadelta import adadelta
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from suguk.config import TrainConfig
from suguk.errors import ModelError

# What each remembers of a weight, by the names that torch.optim has for it; first the number of its updates.
MEMORY: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adadelta": ("step", "square_avg", "acc_delta"),
    "rmsprop": ("step", "square_avg"),
}
RISE = 0.45  # share of training that one-cycle goes up, and again as much down (Smith 2018: equal steps)
LOW = 0.1  # of the highest rate: where one-cycle begins, and from where its last part goes down to 0


class Optimizer:
    """Weights, and what their updates remember of earlier ones. The arithmetic is that of torch.optim's functions.

    Not of its classes: those import PyTorch's compiler at their first use (docs/decisions/005-kernels.md).
    """

    def __init__(self, config: TrainConfig, parameters: Iterable[nn.Parameter]) -> None:
        self.config, self.parameters = config, list(parameters)
        names = MEMORY[config.optimizer]
        self.memory = [
            {name: one.new_zeros(() if name == "step" else one.shape, requires_grad=False) for name in names}
            for one in self.parameters
        ]
        self.scale: Tensor | None = None  # what the gradients are to be divided by

    @torch.no_grad()
    def clip(self, largest: float) -> Tensor:
        """The norm of the gradient, which the next update brings down to `largest` (Pascanu 2013, alg. 1).

        One pass over the gradients: fused updates divide them while they read them.
        """
        gradients = [one.grad for one in self.parameters if one.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self.scale = (norm / largest).clamp(min=1)
        return norm

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every weight that has a gradient, and drop the gradients."""
        config = self.config
        used = [pair for pair in zip(self.parameters, self.memory, strict=True) if pair[0].grad is not None]
        weights: list[Tensor] = [one for one, _ in used]
        gradients = [one.grad for one in weights if one.grad is not None]
        remembered = ([memory[name] for _, memory in used] for name in MEMORY[config.optimizer])
        common: dict[str, Any] = {"lr": lr, "weight_decay": config.weight_decay, "maximize": False}
        if config.optimizer in ("adadelta", "rmsprop") and self.scale is not None:  # neither is fused
            torch._foreach_div_(gradients, self.scale)
        if config.optimizer == "adadelta":
            # Zeiler 2012, with ρ and ε of Bahdanau 2014 B.2 and Cho 2014 §4.1.1
            steps, squares, deltas = remembered
            common |= {"rho": 0.95, "eps": 1e-6, "foreach": True}
            adadelta(weights, gradients, squares, deltas, steps, **common)
        elif config.optimizer == "rmsprop":
            # Tieleman and Hinton 2012, lecture 6e: MeanSquare(w, t) = 0.9 MeanSquare(w, t−1) + 0.1 (∂E/∂w)²
            steps, squares = remembered
            common |= {"alpha": 0.9, "eps": 1e-8, "momentum": 0.0, "centered": False, "foreach": True}
            rmsprop(weights, gradients, squares, [], [], steps, **common)
        elif config.optimizer == "sgd":
            common |= {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
            common |= {"fused": True, "grad_scale": self.scale}
            sgd(weights, gradients, [None] * len(weights), **common)
        else:  # Kingma and Ba 2015; adamw: Loshchilov and Hutter 2019
            steps, means, squares = remembered
            common |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False}
            common |= {"decoupled_weight_decay": config.optimizer == "adamw"}
            common |= {"fused": True, "grad_scale": self.scale}
            adam(weights, gradients, means, squares, [], steps, **common)
        self.scale = None
        self.forget_gradients()

    def forget_gradients(self) -> None:
        for one in self.parameters:
            one.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered, as `<number of the parameter>.<name>`."""
        return {f"{i}.{name}": value for i, entry in enumerate(self.memory) for name, value in entry.items()}

    def restore(self, saved: Mapping[str, Tensor], where: str) -> None:
        """The opposite of `tensors`; of a weight without any gradient so far there may be nothing.

        ModelError if a tensor has not the shape of its parameter, or one of a weight's is missing.
        """
        numbers = sorted({key.partition(".")[0] for key in saved})
        expected = [f"{number}.{name}" for number in numbers for name in MEMORY[self.config.optimizer]]
        for key in (*saved, *expected):
            number, _, name = key.partition(".")
            i = int(number) if number.isdecimal() else len(self.memory)
            known = self.memory[i].get(name) if i < len(self.memory) else None
            value = saved.get(key)
            if known is None or value is None or known.shape != value.shape:
                raise ModelError(
                    f"the optimizer's {key} does not belong to this model",
                    where=where,
                    hint="copy the run directory again as a whole",
                )
            known.copy_(value)


def rate(config: TrainConfig, *, step: int, epochs: float, level: int, spent: float = 0.0) -> float:
    """Learning rate of update `step` (from 1). epochs: passes before it; level: decays of plateau so far; spent:
    share of the time for updates. Only `linear`, `cosine` and `one-cycle` ask the clock: with train.minutes they are
    not bit for bit the same again.

    inverse-sqrt: linear up to `lr` over `warmup` updates, then lr · sqrt(warmup / step) (Vaswani et al. 2017
    §5.3). halving: Sutskever 2014 §3.4 and Luong 2015 §4.1, see `halvings`. cosine: lr · (1 + cos(π done)) / 2, one
    descent without restarts (Loshchilov and Hutter 2017, eq. 5). one-cycle: see `cycle`.
    """
    done = min(max(epochs / config.epochs, spent), 1)
    warm = min(step / max(config.warmup, 1), 1)
    if config.schedule == "inverse-sqrt":
        warmup = max(config.warmup, 1)
        return config.lr * min(step / warmup, math.sqrt(warmup / step))
    if config.schedule == "linear":
        return config.lr * warm * (1 - done)
    if config.schedule == "cosine":
        return config.lr * warm * (1 + math.cos(math.pi * done)) / 2
    if config.schedule == "one-cycle":
        return config.lr * cycle(done)
    if config.schedule == "plateau":
        return config.lr * config.decay**level
    if config.schedule == "halving":
        return config.lr * config.decay ** halvings(epochs, config.halve_after, config.halve_every)
    return config.lr


def cycle(done: float) -> float:
    """Share of the highest rate after a share `done` of training (Smith 2018 §4.2).

    A straight line up, one of the same length down, and then in what is left far below where it began.
    """
    if done <= 2 * RISE:
        return 1 - (1 - LOW) * abs(done - RISE) / RISE
    return LOW * (1 - done) / (1 - 2 * RISE)


def truth(config: TrainConfig, updates: int) -> float | None:
    """ε_i: probability of feeding the decoder the true token, after i updates; None without scheduled sampling.

    Bengio et al. 2015 §2.4, with k for train.sampling_scale: linear, 1 − i / k; exponential, (e^(−1/k))^i; inverse
    sigmoid, k / (k + e^(i/k)). None of them falls below train.sampling_floor.
    """
    if config.sampling == "none":
        return None
    k, turns = config.sampling_scale, updates / config.sampling_scale
    if config.sampling == "linear":
        found = 1 - turns
    elif config.sampling == "exponential":
        found = math.exp(-turns)
    else:
        found = k / (k + math.exp(min(turns, 700)))  # beyond that exp overflows
    return max(found, config.sampling_floor)


def halvings(epochs: float, after: float, every: float) -> int:
    """0 before `after` epochs; then one for each `every` epochs begun."""
    if epochs < after - 1e-9:
        return 0
    return math.floor((epochs - after) / every + 1e-9) + 1
