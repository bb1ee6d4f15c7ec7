"""The default validation split: seeded, and disjoint by source text."""

import hashlib

from suguk.data.read import Pairs
from suguk.errors import DataError


def split(pairs: Pairs, share: float, seed: int, most: int = 2000) -> tuple[Pairs, Pairs]:
    """(training, validation): a pure function of the source texts and the seed.

    `share` of the distinct sources goes to validation, at least one and at most `most`, with all their pairs.
    DataError if there is only one source.
    """
    distinct = set(pairs.sources)
    if len(distinct) < 2:
        raise DataError(
            f"expected at least two different sources to train and validate on, found {len(distinct)}",
            where=pairs.paths[0],
            hint="add pairs",
        )
    count = min(max(1, round(share * len(distinct))), most, len(distinct) - 1)
    chosen = set(sorted(distinct, key=lambda text: _rank(text, seed))[:count])
    held_out = [text in chosen for text in pairs.sources]
    return pairs.keep([not held for held in held_out]), pairs.keep(held_out)


def _rank(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode(), key=str(seed).encode(), digest_size=16).digest()
