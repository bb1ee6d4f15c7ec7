"""Several processes, on one machine or several, that train one model together: what torchrun starts.

Each has the whole model and computes the gradient of its own batches; the gradients are added up, and all make the same
update. What only one can do (files, display, validation, the clock) the first one does and tells the others. Decisions
go over gloo, and so do gradients but those of GPUs, which go over nccl.

A process that has ended breaks its connections, so the others fail at their next exchange and wait for nobody.
"""

import atexit
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from suguk import config as settings
from suguk.data.batch import Rows
from suguk.data.prepare import Prepared
from suguk.errors import DataError, UserError
from suguk.fields import TextField

ASKED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of the environment, set by torchrun
LONGEST = timedelta(hours=2)  # that the first process may prepare data or validate, while the others wait


def rank() -> int:
    """Number of this process by the environment; 0 where it is the only one."""
    return int(os.environ["RANK"]) if all(name in os.environ for name in ASKED) else 0


class Team:
    """This process and the others. Alone, everything here gives back what it is given, at once."""

    def __init__(self) -> None:
        """Wait for all that torchrun has started, if it has started this process."""
        self.world = int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in ASKED) else 1
        self.rank = rank() if self.world > 1 else 0
        self.local = int(os.environ.get("LOCAL_RANK", "0")) if self.world > 1 else 0
        self.began = self.world > 1 and not dist.is_initialized()
        if self.began:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            with _others(self.rank):
                dist.init_process_group(backend, timeout=LONGEST)
            atexit.register(self.leave)  # after a fault too: gloo's threads would end Python with an abort

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, shows and validates."""
        return self.rank == 0

    def leave(self) -> None:
        """Once all is done, or when Python ends after a fault. Connections break, which tells the others."""
        if self.began:
            dist.destroy_process_group()
            self.began = False

    def device(self, name: str) -> str:
        """Of several GPUs of a machine the one of this process. UserError where there is none for it."""
        if self.world == 1 or name != "cuda":
            return name
        found = torch.cuda.device_count()
        if self.local >= found:
            raise UserError(
                f"process {self.rank}: no GPU of its own: this machine has {found}, and each process takes one",
                where="train.device",
                hint=f"torchrun --nproc-per-node={found}, or --set train.device=cpu",
            )
        torch.cuda.set_device(self.local)
        return f"cuda:{self.local}"

    def mine(self, batches: Sequence[Rows]) -> Sequence[Rows]:
        """The share of this process in the batches of an update; it may be none."""
        return batches[self.rank :: self.world]

    def add_up(self, parameters: Sequence[Tensor], nll: Tensor) -> Tensor:
        """Replace the gradients by their sums over all processes; the sum of nll (0-dim)."""
        if self.world == 1:
            return nll
        trained = [one for one in parameters if one.requires_grad]
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
        flat = torch.cat([*(one.reshape(-1) for one in gradients), nll.to(gradients[0].dtype).reshape(1)])
        with _others(self.rank):
            dist.all_reduce(flat)
        sums = torch.split(flat, [*(one.numel() for one in trained), 1])
        for one, found in zip(trained, sums, strict=False):  # the last one is that of nll
            one.grad = found.view_as(one)
        return flat[-1].to(nll.dtype)

    def copy(self, tensors: Sequence[Tensor]) -> None:
        """Those of the first process, into everybody's."""
        if self.world == 1:
            return
        with torch.no_grad(), _others(self.rank):
            for one in tensors:
                dist.broadcast(one, 0)

    def total(self, value: float) -> float:
        """The sum of what the processes have."""
        if self.world == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64)
        with _others(self.rank):
            dist.all_reduce(found)
        return float(found)

    def any(self, flag: bool) -> bool:
        """Whether it is true anywhere."""
        return flag if self.world == 1 else self.total(float(flag)) > 0

    def asked(self, value: Callable[[], float]) -> float:
        """What the first process finds."""
        return value() if self.world == 1 else self.total(value() if self.first else 0.0)

    def told(self, text: Callable[[], str]) -> str:
        """What the first process says."""
        if self.world == 1:
            return text()
        given = torch.tensor(list(text().encode() if self.first else b""), dtype=torch.uint8)
        size = int(self.total(len(given)))
        if not self.first:
            given = torch.empty(size, dtype=torch.uint8)
        self.copy([given])
        return bytes(given.tolist()).decode()

    def everybody(self, states: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the first process by their names, those of the others by `rank.<number>.<name>`."""
        found = dict(states)
        for name, value in states.items() if self.world > 1 else ():
            gathered = [torch.empty_like(value) for _ in range(self.world)]
            with _others(self.rank):
                dist.all_gather(gathered, value)
            found |= {f"rank.{i}.{name}": one for i, one in enumerate(gathered) if i}
            found[name] = gathered[0]
        return found

    def wait(self) -> None:
        """Until all have come here."""
        self.total(0)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """On every machine one process first, then the others, which find in the cache what it has left there."""
        if self.local:
            self.wait()
        yield
        if not self.local:
            self.wait()


def agreed(prepared: Prepared, team: Team) -> Prepared:
    """Settings and fields as the first process has made them. DataError if the data of this one are others."""
    if team.world == 1:
        return prepared
    own = [
        prepared.fingerprint,
        settings.to_toml(prepared.config),
        prepared.source.to_json(),
        prepared.target.to_json(),
    ]
    fingerprint, config, source, target = json.loads(team.told(lambda: json.dumps(own)))
    if fingerprint != json.loads(json.dumps(own[0])):
        raise DataError(
            "the data are not those of the first process: their fingerprints differ",
            where=f"process {team.rank}",
            hint="all machines need the same files, under the same paths",
        )
    return prepared._replace(
        config=settings.build(settings.parse(config, "the first process")),
        source=TextField.from_json(source, "the first process"),
        target=TextField.from_json(target, "the first process"),
    )


@contextmanager
def _others(rank: int) -> Iterator[None]:
    """A connection that broke, as a UserError."""
    try:
        yield
    except RuntimeError as fault:
        raise UserError(
            f"another process of this training has ended or cannot be reached ({str(fault).splitlines()[0]})",
            where=f"process {rank}",
            hint="its own message says why; go on with `suguk train --resume` in as many processes",
        ) from None
