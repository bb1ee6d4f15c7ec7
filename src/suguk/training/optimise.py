"""Optimizers and learning rates. A rate is a pure function of where training stands, so resuming is exact."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from suguk.config import TrainConfig
from suguk.errors import ModelError


def optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of the settings; its rate is set before every update (`rate`)."""
    chosen = list(parameters)
    if config.optimizer == "adadelta":  # Zeiler 2012, with ρ and ε of Bahdanau 2014 B.2 and Cho 2014 §4.1.1
        return torch.optim.Adadelta(
            chosen, lr=config.lr, rho=0.95, eps=1e-6, weight_decay=config.weight_decay, foreach=True
        )
    if config.optimizer == "sgd":
        return torch.optim.SGD(chosen, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(chosen, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def rate(config: TrainConfig, *, step: int, epochs: float, level: int, spent: float = 0.0) -> float:
    """Learning rate of update `step` (from 1). epochs: passes before it; level: decays of plateau so far; spent:
    share of the time budget. Only `linear` asks the clock: with train.minutes it is not bit for bit the same again.

    inverse-sqrt: linear up to `lr` over `warmup` updates, then lr · sqrt(warmup / step) (Vaswani et al. 2017
    §5.3). halving: Sutskever 2014 §3.4 and Luong 2015 §4.1, see `halvings`.
    """
    if config.schedule == "inverse-sqrt":
        warmup = max(config.warmup, 1)
        return config.lr * min(step / warmup, math.sqrt(warmup / step))
    if config.schedule == "linear":
        left = 1 - max(epochs / config.epochs, spent)
        return config.lr * min(step / max(config.warmup, 1), 1) * max(left, 0)
    if config.schedule == "plateau":
        return config.lr * config.decay**level
    if config.schedule == "halving":
        return config.lr * config.decay ** halvings(epochs, config.halve_after, config.halve_every)
    return config.lr


def halvings(epochs: float, after: float, every: float) -> int:
    """0 before `after` epochs; then one for each `every` epochs begun."""
    if epochs < after - 1e-9:
        return 0
    return math.floor((epochs - after) / every + 1e-9) + 1


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def clip(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """The norm of the gradient, which the next update divides so that it is at most `largest` (Pascanu 2013, alg. 1).

    One pass over the gradients: a fused optimizer divides them while it reads them.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    scale = (norm / largest).clamp(min=1)
    if optimizer.defaults.get("fused"):
        optimizer.grad_scale = scale  # type: ignore[attr-defined]
    else:
        torch._foreach_div_(gradients, scale)
    return norm


def tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer remembers, as `<number of the parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def restore(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor], where: str) -> None:
    """The opposite of `tensors`. ModelError if a tensor has not the shape of its parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        number, _, name = key.partition(".")
        i = int(number) if number.isdecimal() else len(parameters)
        if i >= len(parameters) or value.shape not in (parameters[i].shape, torch.Size()):
            raise ModelError(
                f"the optimizer's {key} does not belong to this model",
                where=where,
                hint="copy the run directory again as a whole",
            )
        state.setdefault(i, {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
