"""Pairs of phrases under a model that learned them (Cho 2014 figures 3 and 5): its scores beside those of counting,
and its vectors of source phrases in two dimensions.

As in the paper, phrases come from word-aligned sentences and the model sees each pair once, however often it
occurred. The alignments are those of a model with attention (figure `alignments`).
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import alignments
from benchmarks.figures.plane import correlations, draw_map, principal
from benchmarks.figures.svg import Box, Panel, Picture, linear, logarithmic
from benchmarks.figures.workshop import SPA_ENG, Corpus, Workshop, write
from suguk.data.read import read

SHOWS = "phrase vectors in two dimensions; the model's scores beside those of counting"
SEEDS = (1,)
LONGEST = 4  # words of a phrase
OFTEN = 2  # pairs seen less often are mostly faults of the alignment
SCORED, MAPPED = 1000, 140  # pairs drawn at random; most frequent source phrases of several words
SETTINGS = (
    "model.cell=gru-reset-before", "model.context=every-step", "model.bridge=linear", "model.readout=maxout",
    "model.readout_word=true", "model.scale_embeddings=true", "model.dropout=0", "source.vocab_size=12000",
    "target.vocab_size=12000", "train.epochs=6",
)  # fmt: skip
_HEAD = "en\tes\n"
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
Links = Sequence[tuple[int, int]]


def measure(workshop: Workshop) -> dict[str, Any]:
    """Extract, count, learn, score, encode."""
    folder = workshop.out / "phrases"
    run, kept, sources = learned(workshop, folder)
    mapped = sorted({source for source, _ in kept if " " in source}, key=lambda one: (-sources[one], one))
    return {
        "pairs": len(kept),
        "occurrences": sum(kept.values()),
        **scores(workshop, run, folder, kept, sources),
        **vectors(workshop, run, folder, mapped[:MAPPED], sources),
    }


def learned(workshop: Workshop, folder: Path) -> tuple[str, dict[tuple[str, str], int], Counter[str]]:
    """The run of a model that saw each pair of phrases once, those pairs and how often each occurred, and how often
    each source phrase did."""
    counts = extracted(workshop, folder)
    kept = {pair: count for pair, count in counts.items() if count >= OFTEN}
    if len({source for source, _ in kept if " " in source}) < 3:
        raise SystemExit(
            f"too few phrases were seen {OFTEN} times: more sentences, or a model that aligns better"
        )
    pairs = folder / "pairs.tsv"
    write(pairs, _table(sorted(kept)))
    corpus = Corpus((str(pairs.absolute()),), (), (), ("--source", "en", "--target", "es"))
    run = workshop.train("phrases-en-es", corpus, *SETTINGS, seed=workshop.seeds[0])
    sources = Counter[str]()
    for (source, _), count in counts.items():
        sources[source] += count
    return run, kept, sources


def extracted(workshop: Workshop, folder: Path) -> Counter[tuple[str, str]]:
    """Every pair of phrases in the training part, lowercased, and how often it occurred."""
    run = alignments.train(workshop)
    found = read([Path(path) for path in workshop.files(SPA_ENG.train)], source="en", target="es")
    sides = [
        [" ".join(_TOKEN.findall(text.lower())) for text in texts] for texts in (found.sources, found.targets)
    ]
    sentences = folder / "sentences.tsv"
    write(sentences, _table(zip(*sides, strict=True)))
    printed = workshop.ask("phrases-links", "align", run, str(sentences), "--header")
    counts = Counter[tuple[str, str]]()
    for source, target, line in zip(*sides, printed.splitlines(), strict=True):
        links = [(int(i), int(j)) for i, j in (link.split("-") for link in line.split())]
        counts.update(phrases(source.split(), target.split(), links))
    return counts


def phrases(source: Sequence[str], target: Sequence[str], links: Links) -> Iterator[tuple[str, str]]:
    """Pairs of up to LONGEST words a side that no link leaves, with linked words at both ends (Och and Ney 2004).

    Words only: punctuation ends a phrase.
    """
    linked = {i for i, _ in links}
    for first in range(len(source)):
        for last in range(first, min(first + LONGEST, len(source))):
            inside = [j for i, j in links if first <= i <= last]
            if not inside or first not in linked or last not in linked:
                continue
            low, high = min(inside), max(inside)
            if high - low >= LONGEST or any(low <= j <= high and not first <= i <= last for i, j in links):
                continue
            words = source[first : last + 1], target[low : high + 1]
            if all(word[0].isalnum() for side in words for word in side):
                yield " ".join(words[0]), " ".join(words[1])


def scores(
    workshop: Workshop, run: str, folder: Path, kept: dict[tuple[str, str], int], sources: Counter[str]
) -> dict[str, Any]:
    """log p(target | source) of the model and of counting, for pairs drawn at random."""
    every = sorted(kept)
    chosen = sorted(random.Random(1).sample(every, min(SCORED, len(every))))
    asked = folder / "scored.tsv"
    write(asked, _table(chosen))
    printed = workshop.ask("phrases-scores", "score", run, str(asked), "--header")
    model = np.array([float(line.split("\t")[0]) for line in printed.splitlines()])
    counted = np.array([math.log(kept[pair] / sources[pair[0]]) for pair in chosen])
    times = np.array([float(kept[pair]) for pair in chosen])
    return {
        "scores": [
            {
                "source": source,
                "target": target,
                "count": kept[source, target],
                "counting": base,
                "model": score,
            }
            for (source, target), base, score in zip(chosen, counted.tolist(), model.tolist(), strict=True)
        ],
        "with_counting": correlations(model, counted),
        "with_counts": correlations(model, np.log(times)),
    }


def vectors(
    workshop: Workshop, run: str, folder: Path, chosen: list[str], sources: Counter[str]
) -> dict[str, Any]:
    """The contexts of `chosen` source phrases on their first two principal components."""
    given = "".join(f"{source}\n" for source in chosen)
    path = folder / "vectors.npy"
    workshop.ask("phrases-vectors", "encode", run, "--output", str(path), given=given, makes=path)
    flat, shares = principal(np.load(path).astype(np.float64))
    return {
        "shares": shares.tolist(),
        "map": [
            {"phrase": source, "count": sources[source], "x": x, "y": y}
            for source, (x, y) in zip(chosen, flat.tolist(), strict=True)
        ],
    }


def draw(numbers: dict[str, Any], command: str) -> str:
    """The map above, the two scatters below."""
    shown = (
        f"{numbers['pairs']:,} pairs of up to {LONGEST} words a side, seen {numbers['occurrences']:,} times."
    )
    picture = Picture(1040, "Pairs of phrases", shown)
    points = numbers["map"]
    title = f"Vectors of the {len(points)} most frequent source phrases of several words"
    box = draw_map(picture, points, "phrase", numbers["shares"], title)
    top = box.y + box.height + 84
    pairs = numbers["scores"]
    times = [pair["count"] * room for pair in pairs for room in (0.8, 1.2)]
    ours = linear([pair["model"] for pair in pairs])
    _scatter(
        picture, Box(84, top, 400, 330), linear([pair["counting"] for pair in pairs]), ours, pairs, "counting",
        "log (count of the pair / count of the source)", "Beside scores of counting", numbers["with_counting"],
    )  # fmt: skip
    _scatter(
        picture, Box(604, top, 400, 330), logarithmic(times), ours, pairs, "count",
        "occurrences of the pair", "Beside counts", numbers["with_counts"],
    )  # fmt: skip
    picture.top = top + 330 + 40
    caption = (
        "Pairs consistent with the word alignments of a model with attention, seen twice or more; the model learned "
        f"each once. Scores: natural logarithms, of {len(pairs):,} pairs drawn at random; r: Pearson's correlation "
        "(beside counts: with their logarithm), ρ: Spearman's. Map: principal components, which keep large "
        "distances; names stand where there is room, the others show when pointed at."
    )
    return picture.finish(caption, command)


def _scatter(
    picture: Picture, box: Box, x: Any, y: Any, pairs: list[dict[str, Any]], key: str, label: str, title: str,
    found: dict[str, float],
) -> None:  # fmt: skip
    about = f"{title}: r = {found['pearson']:.2f}, ρ = {found['spearman']:.2f}".replace("-", "−")
    panel = Panel(picture, box, x, y, title=about)
    panel.axes(label, "log p(target | source) of the model", grid="xy")
    for pair in pairs:
        tip = f"{pair['source']} → {pair['target']}: {pair['model']:.2f}, {pair['count']:,} times"
        panel.dot(pair[key], pair["model"], 0, tip, size=2.6, opacity=0.45)


def _table(pairs: Iterable[Sequence[str]]) -> str:
    return _HEAD + "".join(f"{source}\t{target}\n" for source, target in pairs)
