"""The loop of a decoder on a GPU: recorded once for each size of batch, then replayed as one launch (CUDA graphs).

Shapes: B batch, S source length, T target length, E embedding, N heads.

A step is some forty small kernels, which a GPU computes faster than Python launches them. A recorded loop has no Python
in it: forward and backward are one launch each. A recording belongs to its sizes, so batches are padded up to sizes
that come again; what is padded is cut off, and has no gradient.
"""

import gc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from suguk.errors import is_full
from suguk.model.memory import Memory

ROWS, STEPS = 16, 8  # sizes of batches are rounded up to multiples of these
SEEN = 2  # a loop that has come so often is recorded
MOST = 32  # recordings: each keeps what it computes, gradients of all parameters of the decoder included

Recorded = Callable[..., tuple[Tensor, ...]]


class Looping(Protocol):
    """What is replayed: see `Decoder.loop`."""

    def loop(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


class Replay:
    """Calls `decoder.loop`, from its recording where there is one.

    record: as `torch.cuda.make_graphed_callables`, which it is if it is not given. Made after it is known which
    parameters are trained.
    """

    def __init__(self, decoder: Looping, record: Callable[..., Recorded] | None = None) -> None:
        self.decoder = decoder
        self.record: Any = record or torch.cuda.make_graphed_callables
        self.seen: Counter[Any] = Counter()
        self.recorded: dict[Any, Recorded | None] = {}  # None: cannot be recorded
        self.most, self.pool = MOST, cast(Any, None)
        self.names, self.parameters = zip(*decoder.named_parameters(), strict=True)
        self.hooks: list[RemovableHandle] = []

    def __call__(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        """As `Decoder.loop`."""
        rows, steps, positions = words.shape[0], words.shape[1], memory.mask.shape[1]
        kind = words.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        sizes = (-(-rows // ROWS), -(-steps // STEPS), -(-positions // STEPS))
        key = (dtype, sizes, *((part.dtype, part.requires_grad) for part in flat(words, memory)[0]))
        self.seen[key] += 1
        due = key not in self.recorded and self.seen[key] >= SEEN and len(self.recorded) < self.most
        if not due and self.recorded.get(key) is None:
            return self.decoder.loop(words, memory)
        given, layers = flat(*padded(words, memory))
        if due:
            self.recorded[key] = self._recorded(given, layers, dtype)
        run = self.recorded[key]
        if run is None:
            return self.decoder.loop(words, memory)
        readouts, contexts, weights, *seen = run(*given, *self.parameters)
        readouts, contexts, *seen = (part[:rows, :steps] for part in (readouts, contexts, *seen))
        return readouts, contexts, weights[:rows, :steps, :positions], *seen

    def forget(self) -> bool:
        """Give up all recordings and make no more; whether there were any."""
        found = any(run is not None for run in self.recorded.values())
        self.recorded.clear()
        self.most = 0
        gc.collect()  # a recording is a class of its own, which a cycle holds
        return found

    def end(self) -> None:
        """Give up what it holds; the decoder goes on by itself."""
        for hook in self.hooks:
            hook.remove()
        self.forget()

    def _recorded(
        self, given: tuple[Tensor, ...], layers: tuple[int, ...], dtype: torch.dtype | None
    ) -> Recorded | None:
        """None where it fails: there is no room, or something in it cannot be recorded."""
        kind = given[0].device.type
        loop = self._loop(layers)
        try:
            with _quiet(), torch.autocast(kind, dtype, enabled=dtype is not None, cache_enabled=False):
                if not any(part.requires_grad for part in loop(*self._leaves(given))):
                    return None  # a frozen loop has no way back, which PyTorch would replay all the same
                with self._own_stream(given[0].device):
                    run: Recorded = self.record(
                        loop, self._leaves(given), allow_unused_input=True, pool=self.pool
                    )
        except RuntimeError as fault:
            if is_full(fault):
                self.most = len(self.recorded)  # those there are stay
            return None
        if not self.hooks:
            # A recording writes gradients into the same place every time; what is accumulated has to be elsewhere.
            trained = [parameter for parameter in self.parameters if parameter.requires_grad]
            self.hooks = [parameter.register_hook(_copied) for parameter in trained]
        return run

    def _leaves(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Copies of what is given, and the parameters in their own memory, as leaves of their own: what autograd
        holds of the parameters elsewhere is not recorded."""
        samples = [part.detach().clone().requires_grad_(part.requires_grad) for part in given]
        own = [part.detach().requires_grad_(part.requires_grad) for part in self.parameters]
        return (*samples, *own)

    @contextmanager
    def _own_stream(self, device: torch.device) -> Iterator[None]:
        """The current stream again at the end, also where a recording broke off; one pool, as no two recordings are
        replayed side by side; and PyTorch's stream for recordings is of this card."""
        if device.type != "cuda":
            yield
            return
        if self.pool is None:
            self.pool = torch.cuda.graph_pool_handle()
        stream = torch.cuda.graph.default_capture_stream
        if stream is not None and stream.device != device:
            torch.cuda.graph.default_capture_stream = None
        with torch.cuda.stream(torch.cuda.current_stream()):
            yield

    def _loop(self, layers: tuple[int, ...]) -> Recorded:
        """`Decoder.loop` as a function of tensors: as `flat` puts them, then all parameters.

        layers: how many parts the state of each layer has.
        """

        def loop(*tensors: Tensor) -> tuple[Tensor, ...]:
            words, keys, values, mask, context, *rest = tensors[: -len(self.names)]
            named = zip(self.names, tensors[-len(self.names) :], strict=True)
            initial = []
            for parts in layers:
                initial.append(tuple(rest[:parts]))
                del rest[:parts]
            memory = Memory(keys, values, mask, context, tuple(initial), tuple(rest))
            parameters = {f"decoder.{name}": tensor for name, tensor in named}
            found: tuple[Tensor, ...] = functional_call(_Loop(self.decoder), parameters, (words, memory))
            return found

        return loop


def _copied(gradient: Tensor | None) -> Tensor | None:
    """Autograd gives none where a parameter got none."""
    return None if gradient is None else gradient.clone()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's warning that its own warm-up, on a stream of its own, may be slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
        yield


class _Loop(nn.Module):
    """A module whose call is the decoder's loop."""

    def __init__(self, decoder: Looping) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        return self.decoder.loop(words, memory)


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
