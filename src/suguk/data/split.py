"""The default validation split: seeded, and disjoint by source text."""

import hashlib
from collections.abc import Sequence


def split(sources: Sequence[str], share: float, seed: int, most: int = 2000) -> list[bool]:
    """For each pair: does it go to validation? A pure function of the texts and the seed.

    All pairs of a source text go the same way. `share` of the distinct sources, at least one and at most `most`.
    """
    distinct = list(dict.fromkeys(sources))
    count = min(max(1, round(share * len(distinct))), most, max(0, len(distinct) - 1))
    chosen = set(sorted(distinct, key=lambda text: _rank(text, seed))[:count])
    return [text in chosen for text in sources]


def _rank(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode(), key=str(seed).encode(), digest_size=16).digest()
