"""Vectors in two dimensions, a map of them, and rank correlation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures.svg import Box, Panel, Picture, linear

Reals = NDArray[np.float64]


def principal(vectors: Reals) -> tuple[Reals, Reals]:
    """Coordinates [N, 2] on the first two principal components of `vectors` [N, C], and the share of the variance
    that each has, by singular values of the centred vectors.

    A component's sign is free; here the largest coordinate of each is positive.
    """
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    flat = left[:, :2] * sizes[:2]
    flat *= np.where(flat.max(axis=0) >= -flat.min(axis=0), 1.0, -1.0)
    return flat, sizes[:2] ** 2 / max(float((sizes**2).sum()), 1e-300)


def draw_map(
    picture: Picture, points: Sequence[dict[str, Any]], name: str, shares: Sequence[float], title: str
) -> Box:
    """Dots under the picture's head, with the names that have room; returns the box they are in.

    points: x, y, count and, under `name`, what each is called. shares: of the variance, see `principal`.
    """
    box = Box(84, picture.top + 26, 920, 560)
    scales = [linear([point[axis] for point in points]) for axis in ("x", "y")]
    panel = Panel(picture, box, *scales, title=title)
    first, second = (f"{100 * share:.0f} % of the variance" for share in shares)
    panel.axes(f"first component ({first})", f"second component ({second})", grid="xy")
    for point in points:
        panel.dot(point["x"], point["y"], 0, f"{point[name]}, {point['count']:,} times", size=3.2)
    panel.names([(point[name], point["x"], point["y"], 0) for point in points], size=11.5)
    return box


def ranks(values: Reals) -> Reals:
    """From 0, equal values sharing the mean of theirs; [N] to [N]."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Reals = (ends - (counts + 1) / 2)[group]
    return mean


def correlations(x: Reals, y: Reals) -> dict[str, float]:
    """Pearson's r, and Spearman's, which is that of the ranks; 0 where one side does not vary."""
    return {"pearson": _correlation(x, y), "spearman": _correlation(ranks(x), ranks(y))}


def _correlation(x: Reals, y: Reals) -> float:
    a, b = x - x.mean(), y - y.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0
