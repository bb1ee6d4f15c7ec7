"""The default validation split: seeded, and disjoint by source text."""

import hashlib
import unicodedata

import numpy as np

from suguk.data.read import Pairs
from suguk.errors import DataError


def as_read(text: str, lowercase: bool) -> str:
    """What a model reads of a text, as `TextField` has it: two texts of which it is the same are one source."""
    text = unicodedata.normalize("NFC", text).strip()
    return unicodedata.normalize("NFC", text.lower()) if lowercase else text


def split(
    pairs: Pairs, share: float, seed: int, most: int = 2000, *, lowercase: bool = False
) -> tuple[Pairs, Pairs]:
    """(training, validation): a pure function of the source texts, as a model reads them, and the seed.

    `share` of the distinct sources goes to validation, at least one and at most `most`, with all their pairs.
    DataError if there is only one source.
    """
    ranks = np.fromiter(
        (_rank(as_read(text, lowercase), seed) for text in pairs.sources), np.uint64, len(pairs)
    )
    distinct = np.unique(ranks)
    if len(distinct) < 2:
        raise DataError(
            f"expected at least two different sources to train and validate on, found {len(distinct)}",
            where=pairs.paths[0],
            hint="add pairs",
        )
    count = min(max(1, round(share * len(distinct))), most, len(distinct) - 1)
    held_out = ranks <= distinct[count - 1]
    return pairs.keep(~held_out), pairs.keep(held_out)


def _rank(text: str, seed: int) -> int:
    """Of 64 bits, by which a source is known again: a number takes less room than a text."""
    digest = hashlib.blake2b(text.encode(), key=str(seed).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big")


def apart(pairs: Pairs, valid: Pairs, *, lowercase: bool = False) -> Pairs:
    """Without those whose source is in the validation data that were split off."""
    held_out = {as_read(source, lowercase) for source in valid.sources}
    return pairs.keep([as_read(source, lowercase) not in held_out for source in pairs.sources])
