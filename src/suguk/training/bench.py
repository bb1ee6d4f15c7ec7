"""How fast this machine makes the updates of a training: the loop's own update on real or generated pairs, timed.

Shapes: N pairs.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from suguk.config import Config, ModelConfig
from suguk.copying import copied
from suguk.data import cache
from suguk.data.batch import Batch, Dataset, Rows, Sampler
from suguk.data.prepare import prepare
from suguk.fields import SPECIALS
from suguk.fields.base import EOS, UNK
from suguk.model import Seq2Seq, build
from suguk.trained import pick_device
from suguk.training.move import to_device
from suguk.training.optimise import rate
from suguk.training.update import Updater, enough_memory

PAIRS = 29_000  # generated ones: as many as Multi30k has
SIDE = 2048  # of the square matrices whose product tells what the machine can do
TRIES, LONGEST = 5, 1.0  # products; seconds after which no further one begins


class Kind(NamedTuple):
    """What generated pairs look like. Lengths in tokens without `<eos>`, normal and then cut to the range."""

    mean: float  # of the sources' lengths
    spread: float  # their standard deviation
    apart: float  # standard deviation of target minus source length
    shortest: int
    longest: int
    vocabulary: int  # entries of either side at most, special ones included


SENTENCES = Kind(15, 5, 2.5, 4, 40, 8000)  # like Multi30k in subwords
WORDS = Kind(8, 2.5, 1, 4, 14, 40)  # like a word in letters and its sounds


class Corpus(NamedTuple):
    """What to train on, and how large the two vocabularies are."""

    dataset: Dataset
    source_size: int
    target_size: int


class Count(NamedTuple):
    """Of one batch or of several; tokens are real ones, `<eos>` included."""

    source: int  # tokens
    target: int  # tokens
    sentences: int
    pairs: int  # of a source and a target token of the same sentence, which attention compares
    positions: int  # of both sides, padding included

    @classmethod
    def of(cls, batch: Batch) -> Self:
        sources, targets = batch.source_lengths, batch.target_lengths
        return cls(
            source=int(sources.sum()),
            target=int(targets.sum()),
            sentences=len(batch.rows),
            pairs=int((sources * targets).sum()),
            positions=batch.source.size + batch.target.size,
        )


class Work(NamedTuple):
    """Multiplications of one forward pass: elements of all matrices that a row of this kind goes through."""

    source: int  # a source token
    target: int  # a target token
    sentence: int
    pair: int  # a source and a target token of the same sentence

    def flop(self, count: Count) -> int:
        """Of an update: two operations an element forward; backward two for the row's gradient, two for the matrix."""
        parts = zip(self, (count.source, count.target, count.sentences, count.pairs), strict=True)
        return 6 * sum(elements * rows for elements, rows in parts)


@dataclass(frozen=True)
class Figures:
    """What was measured, of the updates after the warm-up."""

    device: str
    precision: str  # fp32 or bf16: of the matrix products
    threads: int  # of torch
    updates: int
    parameters: int
    tokens_per_second: float  # target tokens, `<eos>` included, padding not: the median over updates
    tokens_per_second_overall: float  # all tokens by the whole time
    update_ms: float  # the median
    update_gflop: float  # the mean; see `work`
    gflops: float  # GFLOP a second, overall
    product_gflops: float  # GFLOP a second of a product of two square matrices in the same type
    share: float  # gflops / product_gflops
    padding: float  # share of padding in what was computed on, both sides
    peak_memory_mb: float  # of this process since it began, libraries included; on a GPU: of the host


class Watch:
    """The time between marks, in seconds; on a GPU by its own clock, so that nothing waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.marks: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        if self.cuda:
            self.events.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            self.events[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> NDArray[np.float64]:
        """One value less than there are marks."""
        if self.cuda:
            torch.cuda.synchronize()
            both = zip(self.events[:-1], self.events[1:], strict=True)
            return np.array([start.elapsed_time(end) / 1000 for start, end in both])
        return np.diff(self.marks)


def generated(config: Config, kind: Kind, pairs: int = PAIRS) -> Corpus:
    """Random ids, always the same, rare ones as much rarer as in texts (Zipf); long sources have long targets."""
    random = np.random.Generator(np.random.PCG64(1))
    sizes = [min(side.vocab_size, kind.vocabulary) for side in (config.source, config.target)]
    if config.target.shared:
        sizes = [min(sizes)] * 2
    wanted = random.normal(kind.mean, kind.spread, pairs)
    sides = []
    for size, lengths in zip(sizes, (wanted, wanted + random.normal(0, kind.apart, pairs)), strict=True):
        ends = np.cumsum(np.clip(np.rint(lengths), kind.shortest, kind.longest).astype(np.int64) + 1)
        words = size - len(SPECIALS)
        ids = (len(SPECIALS) + words ** random.random(ends[-1]) - 1).astype(np.int32)
        ids[ends - 1] = EOS
        sides.append(np.split(ids, ends[:-1]))

    def alike(source: Rows, target: Rows, _: Rows) -> tuple[Rows, Rows]:
        return np.where(source < sizes[1], source, UNK), target

    return Corpus(Dataset(*sides, copied=alike if config.model.copying else None), *sizes)


def prepared(config: Config, note: Callable[[str], object]) -> Corpus:
    """The pairs of data.train as a training would have them. note: told what was decided. DataError."""
    found = prepare(config)
    for choice in found.choices:
        note(choice)
    sides = (found.source, found.train.sources), (found.target, found.train.targets)
    encoded = [cache.token_ids(field, texts) for field, texts in sides]
    pairs = found.train.sources, found.train.targets
    dataset = Dataset.flat(encoded[0], encoded[1], copied(config, found.source, found.target, *pairs))
    return Corpus(dataset, found.source.size, found.target.size)


def work(model: Seq2Seq, config: ModelConfig) -> Work:
    """What an update multiplies, counted from the matrices of the model.

    Only matrix products count, and of them only those with real tokens: not gates, softmax, tanh, dropout, embedding
    tables (rows of them are looked up) nor the optimizer, and not what is computed on padding or twice. A local window
    looks at all positions and weighs those outside with zero, so they count.
    """
    score = config.local_score if config.attention.startswith("local") else config.attention
    keys = {"general": "w_a", "additive": "u_a"}.get(score, "none")
    # The rows that go through a matrix, by the beginning of its name; the first that fits.
    rows = {
        "encoder.embedding.": "",
        "decoder.embedding.": "",
        "encoder.": "source",
        f"decoder.attention.score.{keys}.": "source",
        "bridge.": "sentence",
        "summary.": "sentence",
        "decoder.": "target",
        "head.": "target",
    }
    elements = dict.fromkeys(rows.values(), 0)
    for name, parameter in model.named_parameters(remove_duplicate=False):  # tied: a table and a projection
        if parameter.dim() == 2:
            elements[next(side for start, side in rows.items() if name.startswith(start))] += (
                parameter.numel()
            )
    pair = 0
    if score != "none":  # an energy from a query and a key, then a value times its weight
        size = config.attention_size if score == "additive" else 0 if score == "location" else config.hidden
        pair = (config.hidden if size is None else size) + config.annotation_size
    return Work(elements["source"], elements["target"], elements["sentence"], pair)


def measure(
    config: Config,
    kind: Kind,
    updates: int,
    warm_up: int,
    *,
    note: Callable[[str], object] = lambda _: None,
    advance: Callable[[object], object] = lambda _: None,
) -> Figures:
    """Make warm_up + updates updates of these settings' model on data.train, or if that is empty on generated pairs.

    note: told what the preparation decided; advance: called after every update. UserError for data or settings that
    training would refuse.
    """
    device = torch.device(pick_device(config.train.device))
    corpus = prepared(config, note) if config.data.train else generated(config, kind)
    model = build(config.model, corpus.source_size, corpus.target_size, seed=config.train.seed).to(device)
    updater = Updater(model.train(), config.train, device)
    watch, counts = Watch(device), list[Count]()
    for step, rows in zip(range(1, warm_up + updates + 1), _batches(corpus.dataset, config), strict=False):
        if step == warm_up + 1:
            watch.mark()
        batch = corpus.dataset.batch(rows)
        lr = rate(config.train, step=step, epochs=0, level=0)
        with enough_memory(config.train.batch_tokens):
            updater(*to_device(batch, device), lr=lr, tokens=int(batch.target_lengths.sum()))
        if step > warm_up:
            watch.mark()
            counts.append(Count.of(batch))
        advance(step)
    seconds = watch.seconds()
    updater.end()
    total, whole = Count(*map(sum, zip(*counts, strict=True))), float(seconds.sum())
    peak = _peak_memory()  # before the product, whose matrices are not part of it
    product = product_rate(device, updater.dtype or torch.float32)
    flop = work(model, config.model).flop(total)
    return Figures(
        device=str(device),
        precision="fp32" if updater.dtype is None else "bf16",
        threads=torch.get_num_threads(),
        updates=updates,
        parameters=sum(parameter.numel() for parameter in updater.parameters),
        tokens_per_second=float(np.median([one.target for one in counts] / seconds)),
        tokens_per_second_overall=total.target / whole,
        update_ms=1000 * float(np.median(seconds)),
        update_gflop=flop / updates / 1e9,
        gflops=flop / whole / 1e9,
        product_gflops=product / 1e9,
        share=flop / whole / product,
        padding=1 - (total.source + total.target) / total.positions,
        peak_memory_mb=peak,
    )


def _batches(dataset: Dataset, config: Config) -> Iterator[Rows]:
    """Of one epoch after the other, as the loop takes them."""
    train = config.train
    sampler = Sampler(
        dataset.source_lengths,
        dataset.target_lengths,
        train.batch_tokens,
        train.seed,
        batch_sentences=train.batch_sentences,
    )
    for epoch in count():
        yield from sampler.epoch(epoch)


def product_rate(device: torch.device, dtype: torch.dtype, side: int = SIDE) -> float:
    """FLOP a second of a product of two square matrices: the best of a few, after one that does not count."""
    left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    out, watch, began = torch.empty_like(left), Watch(device), time.perf_counter()
    torch.mm(left, right, out=out)
    watch.mark()
    for number in range(TRIES):
        torch.mm(left, right, out=out)
        watch.mark()
        if number and time.perf_counter() - began > LONGEST:
            break
    return float(2 * side**3 / watch.seconds().min())


def _peak_memory() -> float:
    """MB (10⁶ bytes) of memory that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
