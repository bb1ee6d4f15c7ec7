"""The loop of a decoder on a GPU: recorded once for each size of batch, then replayed as one launch (CUDA graphs).

Shapes: B batch, S source length, T target length, E embedding, N heads.

A step is some forty small kernels, which a GPU computes faster than Python launches them. A recorded loop has no Python
in it: forward and backward are one launch each. A recording belongs to its sizes, so batches are padded up to sizes
that come again; what is padded is cut off, and has no gradient.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suguk.model.memory import Memory

ROWS, STEPS = 16, 8  # sizes of batches are rounded up to multiples of these
SEEN = 2  # a loop that has come so often is recorded
MOST = 32  # recordings, each of which keeps what it computes, gradients included

Recorded = Callable[..., tuple[Tensor, ...]]


class Looping(Protocol):
    """What is replayed: see `Decoder.loop`."""

    def loop(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]: ...


class Replay:
    """Calls `decoder.loop`, from its recording where there is one.

    record: as `torch.cuda.make_graphed_callables`, which it is if it is not given.
    """

    def __init__(self, decoder: nn.Module, record: Callable[..., Recorded] | None = None) -> None:
        self.decoder = decoder
        self.record: Any = record or torch.cuda.make_graphed_callables
        self.seen: Counter[Any] = Counter()
        self.recorded: dict[Any, Recorded] = {}
        self.pool: Any = None
        for parameter in decoder.parameters():
            # A recording writes gradients into the same place every time; what is accumulated has to be elsewhere.
            if parameter.requires_grad:
                parameter.register_hook(torch.clone)  # type: ignore[no-untyped-call]

    def __call__(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        """As `Decoder.loop`."""
        rows, steps, positions = words.shape[0], words.shape[1], memory.mask.shape[1]
        words, memory = padded(words, memory)
        given, layers = flat(words, memory)
        kind = words.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (dtype, *((part.shape, part.dtype, part.requires_grad) for part in given))
        self.seen[key] += 1
        run = self.recorded.get(key)
        if run is None and self.seen[key] >= SEEN and len(self.recorded) < MOST:
            run = self.recorded[key] = self._recorded(given, layers, dtype)
        loop = Loop(self.decoder, layers) if run is None else run
        readouts, contexts, weights, *seen = loop(*given)
        readouts, contexts, *seen = (part[:rows, :steps] for part in (readouts, contexts, *seen))
        return readouts, contexts, weights[:rows, :steps, :positions], *seen

    def _recorded(
        self, given: tuple[Tensor, ...], layers: tuple[int, ...], dtype: torch.dtype | None
    ) -> Recorded:
        samples = tuple(part.detach().clone().requires_grad_(part.requires_grad) for part in given)
        if self.pool is None and samples[0].is_cuda:
            self.pool = (
                torch.cuda.graph_pool_handle()
            )  # one for all: recordings are never replayed side by side
        with torch.autocast(samples[0].device.type, dtype, enabled=dtype is not None, cache_enabled=False):
            loop = Loop(self.decoder, layers)
            run: Recorded = self.record(loop, samples, allow_unused_input=True, pool=self.pool)
            return run


class Loop(nn.Module):
    """`Decoder.loop` as a function of tensors alone. layers: how many parts the state of each layer has."""

    def __init__(self, decoder: nn.Module, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder, self.layers = decoder, layers

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """given: as `flat` puts them."""
        words, keys, values, mask, context, *rest = given
        initial = []
        for parts in self.layers:
            initial.append(tuple(rest[:parts]))
            del rest[:parts]
        decoder: Looping = self.decoder  # type: ignore[assignment]
        return decoder.loop(words, Memory(keys, values, mask, context, tuple(initial), tuple(rest)))


def flat(words: Tensor, memory: Memory) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """All tensors that the loop is given, and the parts of each layer's state. Only the loss knows `copies`."""
    states = [part for layer in memory.initial for part in layer]
    given = (words, memory.keys, memory.values, memory.mask, memory.context, *states, *memory.contents)
    return given, tuple(map(len, memory.initial))


def padded(words: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
    """Rows, steps and positions of zeros at the end, up to the next multiples; no row is without any real position."""
    rows = -words.shape[0] % ROWS
    positions = -memory.mask.shape[1] % STEPS

    def more(x: Tensor, *ends: int) -> Tensor:
        """`ends` more of each dimension, from the first on."""
        ends = (*ends, *(0 for _ in range(x.dim() - len(ends))))
        return F.pad(x, [value for end in reversed(ends) for value in (0, end)])

    def sources(x: Tensor) -> Tensor:
        """[B, S, …], or of several heads [B, N, S, …]."""
        return more(x, rows, positions) if x.dim() < 4 else more(x, rows, 0, positions)

    mask = sources(memory.mask).clone()
    mask[mask.shape[0] - rows :, 0] = True
    return more(words, rows, -words.shape[1] % STEPS), Memory(
        keys=sources(memory.keys),
        values=sources(memory.values),
        mask=mask,
        context=more(memory.context, rows),
        initial=tuple(tuple(more(part, rows) for part in layer) for layer in memory.initial),
        contents=tuple(map(sources, memory.contents)),
        copies=memory.copies,
    )
