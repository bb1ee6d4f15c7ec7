"""Figures of the text of both sides: lengths, vocabulary, what is unknown."""

from collections.abc import Sequence

import numpy as np

from suguk.data.read import Pairs
from suguk.fields import SPECIALS, TextField
from suguk.report.contents import Bin, Side

LOOKED_AT = 20_000  # training texts
BINS = 24


def side(name: str, field: TextField, train: Sequence[str] | None, evaluated: Sequence[str]) -> Side:
    """train: texts of the training, a part of them if there are many."""
    known = None if train is None else train[:: max(1, -(-len(train) // LOOKED_AT))]
    encoded = field.encode_batch(known or ())
    lengths = np.array([len(ids) - 1 for ids in encoded])
    used = {int(i) for ids in encoded for i in ids} - set(range(len(SPECIALS)))
    return Side(
        name=name,
        tokenizer=field.kind,
        vocabulary=field.size,
        unknown_rate=field.unknown_rate(evaluated),
        mean_length=float(lengths.mean()) if len(lengths) else None,
        longest=int(lengths.max()) if len(lengths) else None,
        lengths=bins(lengths.tolist()),
        used=len(used) / max(field.size - len(SPECIALS), 1) if known else None,
        unseen_words=None if train is None else _unseen(train, evaluated, lowercase=field.lowercase),
    )


def _unseen(train: Sequence[str], evaluated: Sequence[str], *, lowercase: bool) -> float:
    def words(text: str) -> list[str]:
        return (text.lower() if lowercase else text).split()

    asked = [word for text in evaluated for word in words(text)]
    wanted = set(asked)
    for text in train:
        wanted.difference_update(words(text))
    return sum(word in wanted for word in asked) / max(len(asked), 1)


def bins(values: Sequence[int]) -> tuple[Bin, ...]:
    """Counts in ranges of equal width; the last one holds the longest hundredth too, which may be far away."""
    if not values:
        return ()
    low, far = min(values), int(np.quantile(values, 0.99))
    width = max(1, -(-(far - low + 1) // BINS))
    count = max(1, -(-(far - low + 1) // width))
    member = np.minimum((np.array(values) - low) // width, count - 1)
    totals = np.bincount(member, minlength=count).tolist()
    edges = [low + k * width for k in range(count)]
    highs = [edge + width - 1 for edge in edges]
    highs[-1] = max(highs[-1], max(values))
    return tuple(Bin(*row) for row in zip(edges, highs, totals, strict=True))


def both(
    names: tuple[str, str],
    fields: tuple[TextField, TextField],
    train: Pairs | None,
    sources: Sequence[str],
    targets: Sequence[str],
) -> tuple[Side, Side]:
    return (
        side(names[0], fields[0], None if train is None else train.sources, sources),
        side(names[1], fields[1], None if train is None else train.targets, targets),
    )
