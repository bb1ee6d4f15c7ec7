"""Which output agrees most with the others: minimum Bayes risk decoding (Kumar and Byrne 2004; Eikema and Aziz 2020).

The expected utility of an output is the mean of a metric against all outputs as references. Samples count alike;
hypotheses of a beam count by their probability. Imports no torch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from suguk.errors import MissingExtra
from suguk.predictor import Hypothesis

Metric = Literal["none", "chrf", "bleu"]
ORDERS, BETA = 6, 2  # of chrF: characters of the longest n-grams, weight of recall (Popović 2015)


def check(metric: Metric) -> None:
    """UserError if what it needs is not installed."""
    if metric == "bleu":
        try:
            import sacrebleu  # noqa: F401
        except ImportError:
            raise MissingExtra("sacrebleu", "train", "mbr = bleu") from None


def ranked(
    listed: Sequence[tuple[int, Hypothesis]], metric: Metric, *, alike: bool
) -> list[tuple[int, Hypothesis]]:
    """In order of expected utility, which becomes the score; of equal outputs the first. alike: samples."""
    log_probs = np.array([one.log_prob for _, one in listed])
    chances = np.ones(len(listed)) if alike else np.exp(log_probs - log_probs.max())
    outputs = list(dict.fromkeys(one.output for _, one in listed))
    weights = np.zeros(len(outputs))
    for (_, one), chance in zip(listed, chances, strict=True):
        weights[outputs.index(one.output)] += chance
    utility = (chrf(outputs) if metric == "chrf" else _bleu(outputs)) @ (weights / weights.sum())
    scored = [(rank, replace(one, score=float(utility[outputs.index(one.output)]))) for rank, one in listed]
    return sorted(scored, key=lambda found: -found[1].score)


def chrf(texts: Sequence[str]) -> NDArray[np.float64]:
    """[N, N]: sentence chrF of each text (row) with each as its reference, 0 to 100; as sacrebleu computes it."""
    plain = ["".join(text.split()) for text in texts]
    precision, recall, orders = (np.zeros((len(texts), len(texts))) for _ in range(3))
    for n in range(1, ORDERS + 1):
        counts = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in plain]
        columns = {gram: at for at, gram in enumerate(dict.fromkeys(gram for one in counts for gram in one))}
        table = np.zeros((len(texts), len(columns)), np.int32)
        for row, one in zip(table, counts, strict=True):
            row[[columns[gram] for gram in one]] = list(one.values())
        matches = np.array([np.minimum(row, table).sum(1) for row in table], float)
        total = table.sum(1).astype(float)
        precision += matches / np.maximum(total[:, None], 1)
        recall += matches / np.maximum(total, 1)
        orders += (total[:, None] > 0) & (total > 0)
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    below = BETA**2 * precision + recall
    found = 100 * (1 + BETA**2) * precision * recall / np.where(below > 0, below, 1)
    same: NDArray[Any] = np.equal.outer(plain, plain)
    return np.where(same & (orders == 0), 100.0, found)  # two empty texts agree


def _bleu(texts: Sequence[str]) -> NDArray[np.float64]:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(effective_order=True)
    return np.array([[metric.sentence_score(a, [b]).score for b in texts] for a in texts])
