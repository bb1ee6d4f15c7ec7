"""The job of job.toml on a GPU, beside the textbook loop on the same card: target tokens a second by batch size.

    python -m benchmarks.gpu --batches 64 256 1024

Pairs are ids drawn at random, of 8 to 22 tokens a side and sorted into batches by length, as Multi30k's are; what is
computed does not depend on which ids they are. Contestants take the same batches in turns; ours as it is, and without
`train.cuda_graphs`. Also printed: the share of the rate of bfloat16 products on this device, and minutes for 20 epochs
of 29,000 pairs. `--device cpu --updates 2 --batches 4` tries the script.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers import textbook
from suguk import config
from suguk.fields import EOS, PAD
from suguk.model import build
from suguk.training import bench
from suguk.training.update import Updater

VOCABULARY, PAIRS, EPOCHS = 8000, 29_000, 20


class Batch(NamedTuple):
    """source [B, S], lengths [B], target [B, T], lengths [B], and how many tokens of the target are real."""

    source: Tensor
    source_lengths: Tensor
    target: Tensor
    target_lengths: Tensor
    tokens: int


Step = Callable[[Batch], object]


def drawn(sentences: int, count: int, device: torch.device) -> list[Batch]:
    """Batches of that many pairs, each of about one length; every row ends in `<eos>`."""
    generator = torch.Generator().manual_seed(1)
    found: list[Batch] = []
    for number in range(count):
        sides = []
        for _ in range(2):
            longest = 8 + (number * 7) % 15
            lengths = longest - torch.randint(0, 2, (sentences,), generator=generator)
            lengths[0] = longest
            ids = torch.randint(4, VOCABULARY, (sentences, longest), generator=generator)
            places = torch.arange(longest).expand_as(ids)
            ids = ids.masked_fill(places == lengths[:, None] - 1, EOS)
            ids = ids.masked_fill(places >= lengths[:, None], PAD)
            sides += [ids.to(device), lengths.to(device)]
        found.append(Batch(sides[0], sides[1], sides[2], sides[3], int(lengths.sum())))
    return found


def job(*settings: str) -> config.Config:
    return config.load(str(Path(__file__).parent / "job.toml"), config.assignments(settings))


def flop(batches: Sequence[Batch]) -> int:
    """Of the matrix products of one pass over the batches, as `suguk bench` counts them."""
    chosen = job()
    count = bench.Count(
        source=sum(int(batch.source_lengths.sum()) for batch in batches),
        target=sum(batch.tokens for batch in batches),
        sentences=sum(len(batch.source) for batch in batches),
        pairs=sum(int((batch.source_lengths * batch.target_lengths).sum()) for batch in batches),
        positions=sum(batch.source.numel() + batch.target.numel() for batch in batches),
    )
    return bench.work(build(chosen.model, VOCABULARY, VOCABULARY, seed=1), chosen.model).flop(count)


def ours(device: torch.device, *settings: str) -> Step:
    """An update of `suguk train`."""
    chosen = job(*settings)
    model = build(chosen.model, VOCABULARY, VOCABULARY, seed=1).to(device).train()
    updater = Updater(model, chosen.train, device)
    return lambda batch: updater(*batch[:4], lr=chosen.train.lr, tokens=batch.tokens)


def tutorials(device: torch.device, *, bf16: bool) -> Step:
    """An update of the textbook loop."""
    model = textbook.Seq2Seq(VOCABULARY).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=textbook.RATE)

    def step(batch: Batch) -> None:
        source, _, wanted, lengths, _ = batch
        source = source.masked_fill(source == EOS, textbook.EOS).masked_fill(source == PAD, textbook.PAD)
        given = torch.cat([torch.full_like(wanted[:, :1], textbook.BOS), wanted[:, :-1]], dim=1)
        places = torch.arange(wanted.shape[1], device=device)
        wanted = wanted.masked_fill(places >= lengths[:, None], textbook.PAD)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(source, given)
            loss = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=textbook.PAD)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), textbook.CLIP)
        optimizer.step()

    return step


def seconds(step: Step, batches: Sequence[Batch], device: torch.device) -> float:
    """Of one pass over the batches."""
    begun = time.perf_counter()
    for batch in batches:
        step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024], metavar="SENTENCES")
    parser.add_argument("--updates", type=int, default=30, metavar="N", help="in a round")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="rounds, after one that is not counted"
    )
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device))
    rate = bench.product_rate(device, torch.bfloat16)
    print(f"products in bfloat16: {rate / 1e12:.3g} TFLOP/s\n")
    print(
        "| sentences | contestant | target tokens/s | × the textbook loop | of the rate | 20 epochs, minutes |"
    )
    print("|---|---|---|---|---|---|")
    for sentences in arguments.batches:
        batches = drawn(sentences, arguments.updates, device)
        tokens, products = sum(batch.tokens for batch in batches), flop(batches)
        contestants = {"textbook": tutorials(device, bf16=False), "ours": ours(device)}
        if device.type == "cuda":
            contestants["textbook, bf16"] = tutorials(device, bf16=True)
            contestants["ours, launched one by one"] = ours(device, "train.cuda_graphs=false")
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for repeat in range(arguments.repeats + 1):
            for name, step in contestants.items():
                taken = seconds(step, batches, device)
                if repeat:
                    times[name].append(taken)
        slow = statistics.median(times["textbook"])
        for name, several in times.items():
            taken = statistics.median(several)
            minutes = EPOCHS * PAIRS / (sentences * len(batches)) * taken / 60
            print(
                f"| {sentences} | {name} | {tokens / taken:,.0f} | {slow / taken:.2f} "
                f"| {products / taken / rate:.1%} | {minutes:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
