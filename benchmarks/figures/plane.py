"""Vectors in two dimensions, and rank correlation."""

import numpy as np
from numpy.typing import NDArray

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
