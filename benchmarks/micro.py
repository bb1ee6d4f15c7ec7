"""Where an update's time and memory go.

    python -m benchmarks.micro sections benchmarks/job.toml --set train.precision=bf16
    python -m benchmarks.micro growth benchmarks/job.toml
    python -m benchmarks.micro shapes benchmarks/job.toml
    python -m benchmarks.micro heap benchmarks/job.toml --updates 12
    python -m benchmarks.micro kept benchmarks/job.toml --set train.precision=fp32
    python -m benchmarks.micro pieces

Pairs are generated, of the lengths that Multi30k has in subwords. Every line of a table about memory comes from a
process of its own, as a peak never falls.
"""

import argparse
import ctypes
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from suguk import config as configuration
from suguk.config import Config
from suguk.kernels.dropout import dropout
from suguk.kernels.squash import tanh
from suguk.model import build
from suguk.training import bench, update
from suguk.training.move import to_device

CPU = torch.device("cpu")
SECTIONS = (
    "encoder forward", "decoder forward", "projection and cross-entropy, both ways", "decoder backward",
    "encoder backward", "clipping and optimizer",
)  # fmt: skip
ROW = "| {} |"


# name: environment, and whether malloc is left as it is
ALLOCATORS = {
    "as suguk does": ({"LRU_CACHE_CAPACITY": "16"}, False),
    "default malloc": ({"LRU_CACHE_CAPACITY": "16"}, True),
    "default LRU_CACHE_CAPACITY": ({"LRU_CACHE_CAPACITY": "1024"}, False),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY=128": (
        {"LRU_CACHE_CAPACITY": "16", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128"},
        False,
    ),
}


def fixed(sentences: int, length: int, vocabulary: int) -> tuple[bench.Kind, tuple[str, ...]]:
    """Pairs of one length, and settings that make batches of so many of them."""
    kind = bench.Kind(length, 0, 0, length, length, vocabulary)
    settings = (f"train.batch_sentences={sentences}", "train.batch_tokens=10000000")
    return kind, (*settings, *(f"{side}.vocab_size={vocabulary}" for side in ("source", "target")))


def apart(config: Config, kind: bench.Kind, updates: int) -> Iterator[list[float]]:
    """Seconds of each of SECTIONS, for every update after the first five."""
    corpus = bench.generated(config, kind)
    model = build(config.model, corpus.source_size, corpus.target_size, seed=1).train()
    updater = update.Updater(model, config.train, CPU)
    for number, rows in zip(range(updates + 5), bench._batches(corpus.dataset, config), strict=False):
        given = to_device(corpus.dataset.batch(rows), CPU)
        marks = list(_sections(updater, *given))
        if number >= 5:
            yield [end - begin for begin, end in itertools.pairwise(marks)]


def _sections(
    updater: update.Updater, source: Tensor, source_lengths: Tensor, target: Tensor, target_lengths: Tensor
) -> Iterator[float]:
    """The parts of `Updater.__call__` one by one, cut where the graph is cut; a time between them."""
    model, config = updater.model, updater.config
    real = torch.arange(target.shape[1]) < target_lengths.unsqueeze(1)
    yield time.perf_counter()
    with updater._autocast():
        memory = model.encode(source, source_lengths)
        made = [
            memory.keys,
            memory.values,
            memory.context,
            *(part for layer in memory.initial for part in layer),
        ]
        leaves = {id(part): part.detach().requires_grad_() for part in made}
        cut = memory._replace(
            keys=leaves[id(memory.keys)],
            values=leaves[id(memory.values)],
            context=leaves[id(memory.context)],
            initial=tuple(tuple(leaves[id(part)] for part in layer) for layer in memory.initial),
        )
        yield time.perf_counter()
        readouts, *_ = model.force(cut, target)
        yield time.perf_counter()
        leaf = readouts.detach().requires_grad_()
        loss = model.head.loss(leaf[real], target[real], label_smoothing=config.label_smoothing)
        torch.autograd.backward(loss.total / loss.tokens)
        yield time.perf_counter()
        torch.autograd.backward(readouts, leaf.grad)
        yield time.perf_counter()
        kept = {id(part): part for part in made if part.requires_grad and leaves[id(part)].grad is not None}
        torch.autograd.backward(list(kept.values()), [leaves[key].grad for key in kept])
    yield time.perf_counter()
    updater.optimizer.clip(config.clip or 1e9)
    updater.optimizer.step(config.lr)
    yield time.perf_counter()


def sections(arguments: argparse.Namespace) -> Iterator[str]:
    """Milliseconds of the sections of an update, the whole for comparison, and what its products alone would take."""
    config = load(arguments)
    found = list(apart(config, bench.SENTENCES, arguments.updates))
    whole = bench.measure(config, bench.SENTENCES, arguments.updates, 5)
    parts = [1000 * statistics.median(column) for column in zip(*found, strict=True)]
    yield f"| section ({whole.precision}, {whole.threads} threads) | ms, median | share |"
    yield "|---|---|---|"
    for name, milliseconds in zip(SECTIONS, parts, strict=True):
        yield f"| {name} | {milliseconds:.1f} | {milliseconds / sum(parts):.0%} |"
    yield f"| all of them | {sum(parts):.1f} | |"
    yield f"| the update as it is | {whole.update_ms:.1f} | |"
    alone = 1000 * whole.update_gflop / whole.product_gflops
    yield f"| {whole.update_gflop:.1f} GFLOP at {whole.product_gflops:.0f} GFLOP/s | {alone:.1f} | |"


def growth(arguments: argparse.Namespace) -> Iterator[str]:
    """Peak memory while shapes of batches keep changing, page faults and time, by what is done with freed memory."""
    counts = (10, 45, 90, 180)
    heads = [
        "",
        *(f"peak after {count} updates, MB" for count in counts),
        "page faults an update",
        "ms, median",
    ]
    yield ROW.format(" | ".join(heads))
    yield "|---" * len(heads) + "|"
    for name, (environment, default) in ALLOCATORS.items():
        found = child(arguments, environment, default=default, updates=max(counts))
        cells = [name, *(f"{found['peak'][count - 1]:,.0f}" for count in counts)]
        yield ROW.format(" | ".join([*cells, f"{found['faults']:,.0f}", f"{found['ms']:.1f}"]))


def shapes(arguments: argparse.Namespace) -> Iterator[str]:
    """Peak memory of six updates against batch, length and vocabulary, one at a time changed."""
    base = {"sentences": 64, "length": 16, "vocabulary": 8000}
    others = {"sentences": (16, 256, 1024), "length": (8, 64, 256), "vocabulary": (2000, 32000, 64000)}
    settings = [base, *(base | {name: value} for name, values in others.items() for value in values)]
    yield "| sentences | length | vocabulary | parameters, million | peak, MB | above the start, MB |"
    yield "|---|---|---|---|---|---|"
    for shape in settings:
        found = child(arguments, {}, default=False, updates=6, **shape)
        more = found["peak"][-1] - found["start"]
        cells = [*map(str, shape.values()), f"{found['parameters'] / 1e6:.1f}"]
        yield ROW.format(" | ".join([*cells, f"{found['peak'][-1]:,.0f}", f"{more:,.0f}"]))


class Heap(ctypes.Structure):
    """What glibc says of its heap, in bytes: mallinfo2(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def heap(arguments: argparse.Namespace) -> Iterator[str]:
    """Batches of an epoch, the largest first: the peak, and what of the heap is in use between updates."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = Heap
    config = load(arguments)
    corpus = bench.generated(config, bench.SENTENCES, pairs=5000)
    yield f"before it: {memory():,.0f} MB"
    model = build(config.model, corpus.source_size, corpus.target_size, seed=1).train()
    updater = update.Updater(model, config.train, CPU)
    epoch = itertools.islice(
        bench._batches(corpus.dataset, config), 5000 // (config.train.batch_sentences or 64)
    )
    batches = [to_device(corpus.dataset.batch(rows), CPU) for rows in epoch]
    batches.sort(key=lambda batch: -batch[0].numel() - batch[2].numel())
    yield "| update | source, target positions | peak, MB | heap, MB | in use after it, MB | mapped, MB |"
    yield "|---|---|---|---|---|---|"
    for number, batch in enumerate(batches[: arguments.updates], 1):
        updater(*batch, lr=config.train.lr)
        found = library.mallinfo2()
        sizes = [f"{part / 1e6:,.0f}" for part in (found.arena, found.uordblks, found.hblkhd)]
        shape = f"{batch[0].numel():,}, {batch[2].numel():,}"
        yield ROW.format(" | ".join([str(number), shape, f"{memory():,.0f}", *sizes]))


def kept(arguments: argparse.Namespace) -> Iterator[str]:
    """What of PyTorch's memory is in use when most is, in an update of the largest batch, by who asked for it."""
    config = load(arguments)
    corpus = bench.generated(config, bench.SENTENCES, pairs=5000)
    updater = update.Updater(
        build(config.model, corpus.source_size, corpus.target_size, seed=1).train(), config.train, CPU
    )
    epoch = itertools.islice(
        bench._batches(corpus.dataset, config), 5000 // (config.train.batch_sentences or 64)
    )
    batches = sorted(
        (corpus.dataset.batch(rows) for rows in epoch),
        key=lambda batch: batch[0].size + batch[2].size,
    )
    updater(*to_device(batches[0], CPU), lr=config.train.lr)  # gradients and the optimizer's memory are there
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, with_stack=True
    ) as profile:
        updater(*to_device(batches[-1], CPU), lr=config.train.lr)
    roots = profile.profiler.kineto_results.experimental_event_tree()
    live: dict[int, tuple[int, str]] = {}
    used, most, then = 0, 0, dict(live)
    for _, size, place, asked in sorted(_allocations(roots, ())):
        used += size
        if size > 0:
            live[place] = size, asked
        else:
            live.pop(place, None)
        if used > most:
            most, then = used, live.copy()
    yield f"above the start: {most / 1e6:,.0f} MB"
    yield "| MB | for |\n|---|---|"
    shares = Counter[str]()
    for size, asked in then.values():
        shares[asked] += size
    for asked, size in shares.most_common(15):
        yield ROW.format(f"{size / 1e6:,.1f} | {asked}")


def _allocations(events: Iterable[Any], callers: tuple[str, ...]) -> Iterator[tuple[int, int, int, str]]:
    """When, how many bytes (less than 0: given back), where, and the innermost functions and operators."""
    for event in events:
        if event.name == "[memory]":
            asked = " > ".join(name.rpartition("/")[2] for name in callers[-4:])
            fields = event.extra_fields
            yield event.start_time_ns, fields.alloc_size, fields.ptr, asked
        else:
            yield from _allocations(event.children, (*callers, event.name))


def child(
    arguments: argparse.Namespace,
    environment: dict[str, str],
    *,
    default: bool,
    updates: int = 60,
    **shape: int,
) -> dict[str, Any]:
    """What `one` finds, in a process of its own."""
    given = {
        "recipe": arguments.recipe,
        "set": arguments.set,
        "default": default,
        "updates": updates,
        "shape": shape,
    }
    command = [sys.executable, "-m", "benchmarks.micro", "one", json.dumps(given)]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(arguments: argparse.Namespace) -> Iterator[str]:
    """Peak memory after every update, page faults and time; as JSON."""
    given = json.loads(arguments.recipe)
    arguments.recipe, arguments.set = given["recipe"], given["set"]
    if given["default"]:
        mock.patch.object(update, "keep_freed_memory").start()
    kind = bench.SENTENCES
    if given["shape"]:
        kind, settings = fixed(**given["shape"])
        arguments.set = [*arguments.set, *settings]
    config = load(arguments)
    corpus = bench.generated(config, kind, pairs=max(8 * (config.train.batch_sentences or 64), 5000))
    start = memory()
    model = build(config.model, corpus.source_size, corpus.target_size, seed=1).train()
    updater = update.Updater(model, config.train, CPU)
    peaks, seconds, faulted = [], [], []
    for _, rows in zip(range(given["updates"]), bench._batches(corpus.dataset, config), strict=False):
        batch = to_device(corpus.dataset.batch(rows), CPU)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        updater(*batch, lr=config.train.lr)
        seconds.append(time.perf_counter() - began)
        faulted.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        peaks.append(memory())
    yield json.dumps(
        {
            "start": start,
            "peak": peaks,
            "ms": 1000 * statistics.median(seconds[5:] or seconds),
            "faults": statistics.median(faulted[5:] or faulted),
            "parameters": sum(parameter.numel() for parameter in updater.parameters),
        }
    )


def memory() -> float:
    """MB (10⁶ bytes) that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def pieces(_: argparse.Namespace) -> Iterator[str]:
    """dropout and tanh beside PyTorch's own, forward, one million float32 values."""
    x = torch.randn(1000, 1000)
    out = torch.empty_like(x)
    timed: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "dropout": (lambda: dropout(x, 0.3, True), lambda: torch.dropout(x, 0.3, True)),
        "tanh": (lambda: tanh(x, out), lambda: torch.tanh(x, out=out)),
    }
    yield "| | ours, ms | PyTorch's, ms | × |"
    yield "|---|---|---|---|"
    for name, both in timed.items():
        ours: list[float] = []
        theirs: list[float] = []
        for _turn in range(30):  # in turns: what slows the machine slows both
            for call, seconds in zip(both, (ours, theirs), strict=True):
                began = time.perf_counter()
                call()
                seconds.append(1000 * (time.perf_counter() - began))
        fast, slow = statistics.median(ours), statistics.median(theirs)
        yield f"| {name} | {fast:.2f} | {slow:.2f} | {slow / fast:.1f} |"


def load(arguments: argparse.Namespace) -> Config:
    """The settings of a recipe with changes."""
    return configuration.load(arguments.recipe, configuration.assignments(arguments.set))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = {verb.__name__: verb for verb in (sections, growth, shapes, heap, kept, pieces, one)}
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("recipe", nargs="?", default=str(Path(__file__).with_name("job.toml")))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--updates", type=int, default=40)
    arguments = parser.parse_args()
    for line in verbs[arguments.verb](arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
