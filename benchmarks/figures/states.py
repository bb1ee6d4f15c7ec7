"""The encoder's last states of sentences that differ in who does what, in word order and in voice (Sutskever 2014
figure 2), in two dimensions by principal components."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.figures.plane import Reals, principal
from benchmarks.figures.svg import Box, Panel, Picture, linear
from benchmarks.figures.workshop import SPA_ENG, Workshop

SHOWS = "sentence states in two dimensions: who does what, word order, voice"
SEEDS = (1,)
SETTINGS = (
    "model.layers=2", "model.scale_embeddings=true", "model.reverse_source=true", "source.vocab_size=12000",
    "target.vocab_size=12000", "train.epochs=4",
)  # fmt: skip
# Panels; in each, sentences by what they say.
SENTENCES = {
    "Who does what to whom": {
        "Tom acts": ("Tom loves Mary.", "Tom helped Mary.", "Tom is waiting for Mary.", "Tom saw Mary."),
        "Mary acts": ("Mary loves Tom.", "Mary helped Tom.", "Mary is waiting for Tom.", "Mary saw Tom."),
    },
    "Word order and voice": {
        "I gave, Tom received": (
            "I gave Tom a book yesterday.",
            "Yesterday I gave Tom a book.",
            "I gave a book to Tom yesterday.",
            "Tom was given a book by me yesterday.",
        ),
        "Tom gave, I received": (
            "Tom gave me a book yesterday.",
            "Yesterday Tom gave me a book.",
            "Tom gave a book to me yesterday.",
            "I was given a book by Tom yesterday.",
        ),
    },
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """Coordinates of every sentence, and how far apart sentences are that say the same and that do not."""
    run = workshop.train("states-en-es", SPA_ENG, *SETTINGS, seed=workshop.seeds[0])
    every = [one for panel in SENTENCES.values() for group in panel.values() for one in group]
    path = workshop.out / "answers" / "states.npy"
    words = ["encode", run, "--output", str(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    workshop.ask("states", *words, given="".join(f"{one}\n" for one in every), makes=path)
    vectors = dict(zip(every, np.load(path).astype(np.float64), strict=True))
    return {"panels": [panel(title, groups, vectors) for title, groups in SENTENCES.items()]}


def panel(title: str, groups: Mapping[str, tuple[str, ...]], vectors: dict[str, Reals]) -> dict[str, Any]:
    """same, other: mean Euclidean distance of two different sentences of one group, and of two groups."""
    sentences = [(one, name) for name, group in groups.items() for one in group]
    stacked = np.stack([vectors[one] for one, _ in sentences])
    flat, shares = principal(stacked)
    distances = np.linalg.norm(stacked[:, None] - stacked[None], axis=-1)
    member = np.array([name for _, name in sentences])
    same = (member[:, None] == member[None]) & ~np.eye(len(member), dtype=bool)
    return {
        "title": title,
        "shares": shares.tolist(),
        "same": float(distances[same].mean()),
        "other": float(distances[member[:, None] != member[None]].mean()),
        "points": [
            {"sentence": one, "group": name, "x": x, "y": y}
            for (one, name), (x, y) in zip(sentences, flat.tolist(), strict=True)
        ],
    }


def draw(numbers: dict[str, Any], command: str) -> str:
    """A panel each; shape and colour tell what is said."""
    picture = Picture(
        940,
        "What the encoder keeps of a sentence",
        "Last states of the encoder, on their first two principal components.",
    )
    for found in numbers["panels"]:
        points = found["points"]
        groups = list(dict.fromkeys(point["group"] for point in points))
        box = Box(84, picture.top + 52, 820, 300)
        axes = [widened([point[axis] for point in points]) for axis in ("x", "y")]
        drawn = Panel(
            picture, box._replace(y=box.y - 22), linear(axes[0]), linear(axes[1]), title=found["title"]
        )
        drawn.box = box
        left = box.x
        for series, name in enumerate(groups):
            key = Panel(picture, Box(left, box.y - 18, 10, 10), linear([0, 1]), linear([0, 1]))
            key.dot(0.5, 0.5, series, name)
            picture.text(left + 16, box.y - 8.5, name, size=12)
            left += 200
        first, second = (f"{100 * share:.0f} % of the variance" for share in found["shares"])
        drawn.axes(f"first component ({first})", f"second ({second})", grid="xy")
        for point in points:
            drawn.dot(point["x"], point["y"], groups.index(point["group"]), point["sentence"], size=5)
        drawn.names(
            [(point["sentence"], point["x"], point["y"], groups.index(point["group"])) for point in points],
            all_of_them=True,
        )
        line = (
            f"Mean distance in all dimensions: {found['same']:.3g} between sentences of one kind, "
            f"{found['other']:.3g} between those of two."
        )
        picture.text(box.x, box.y + box.height + 62, line, size=12, kind="muted")
        picture.top = box.y + box.height + 72
    caption = (
        "Components of each panel's own sentences, by singular values of the centred states; each axis has its own "
        "scale. Distances are Euclidean."
    )
    return picture.finish(caption, command)


def widened(values: list[float]) -> list[float]:
    """With room for names around."""
    room = 0.12 * (max(values) - min(values))
    return [min(values) - room, max(values) + room]
