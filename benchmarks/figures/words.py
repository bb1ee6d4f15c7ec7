"""The words of a model that learned pairs of phrases (Cho 2014 figure 4): its table of source words in two dimensions,
and which words lie nearest to which.

The model is that of figure `phrases`. It was told nothing about words: what is alike here is used alike there.
"""

from collections import Counter
from typing import Any

import numpy as np

from benchmarks.figures import phrases
from benchmarks.figures.plane import Reals, draw_map, principal
from benchmarks.figures.svg import Picture
from benchmarks.figures.workshop import Workshop
from suguk.trained import TrainedModel

SHOWS = "word vectors in two dimensions, and the nearest words of some"
SEEDS = (1,)
MAPPED, EVERY, NEAREST = 220, 11, 5  # most frequent words; one in so many of them is listed; its neighbours


def measure(workshop: Workshop) -> dict[str, Any]:
    """Learn phrases, read the table, flatten, compare."""
    run, _, sources = phrases.learned(workshop, workshop.out / "phrases")
    words, table = embeddings(run, sources)
    flat, shares = principal(table)
    named = {
        word: [words[k] for k in near] for word, near in zip(words, nearest(table, NEAREST), strict=True)
    }
    return {
        "shares": shares.tolist(),
        "map": [
            {"word": word, "count": sources[word], "x": x, "y": y}
            for word, (x, y) in zip(words, flat.tolist(), strict=True)
        ],
        "nearest": {word: named[word] for word in words[::EVERY]},
    }


def embeddings(run: str, counts: Counter[str]) -> tuple[list[str], Reals]:
    """The most frequent words that the encoder has a vector of, and those vectors [N, E]."""
    model = TrainedModel.load(run, "cpu")
    known = [word for word in counts if " " not in word and not model.source.unknown_rate([word])]
    words = sorted(known, key=lambda word: (-counts[word], word))[:MAPPED]
    ids = [model.source.encode(word)[0] for word in words]
    return words, model.model.encoder.embedding.weight.detach().numpy()[ids].astype(np.float64)


def nearest(table: Reals, count: int) -> list[list[int]]:
    """For each row the others of greatest cosine with it, the nearest first; [N][at most count]."""
    long = np.linalg.norm(table, axis=1, keepdims=True)
    alike = (table @ table.T) / np.maximum(long * long.T, 1e-300)
    np.fill_diagonal(alike, -np.inf)
    return [[int(k) for k in np.argsort(-row, kind="stable")[: min(count, len(row) - 1)]] for row in alike]


def draw(numbers: dict[str, Any], command: str) -> str:
    """The map, and the list under it in two columns."""
    points = numbers["map"]
    picture = Picture(1040, "Words", f"The table of the encoder, its {len(points)} most frequent words.")
    box = draw_map(picture, points, "word", numbers["shares"], "Vectors of words")
    top = box.y + box.height + 84
    picture.text(box.x, top - 12, "The nearest words, by cosine in all dimensions", size=14, bold=True)
    half = (len(numbers["nearest"]) + 1) // 2
    for k, (word, near) in enumerate(numbers["nearest"].items()):
        x, y = box.x + 470 * (k // half), top + 14 + 20 * (k % half)
        picture.text(x, y, word, bold=True)
        picture.text(x + 110, y, ", ".join(near))
    picture.top = top + 20 * half + 10
    caption = (
        "Map: principal components, which keep large distances; names stand where there is room, the others show when "
        f"pointed at. List: every {EVERY}th of the words on the map by frequency, with the {NEAREST} others on it that "
        "are nearest; none is chosen by hand."
    )
    return picture.finish(caption, command)
