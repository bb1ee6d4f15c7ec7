"""The pairs that a report speaks of: the run's own, as training read and split them, or others."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from suguk.config import Config
from suguk.data.check import judged
from suguk.data.prepare import fingerprint, held_out, parts
from suguk.data.read import Pairs, read, references
from suguk.errors import DataError, UserError
from suguk.predictor import LONGEST_TEXT


class Gathered(NamedTuple):
    """train: None where the training data are no longer there; changed: they are not those of the training."""

    train: Pairs | None
    sources: list[str]
    references: list[list[str]]
    available: int  # distinct sources that there are, before the limit
    label: str
    sides: tuple[str, str]
    changed: bool
    missing: str  # why there are no training data


def gather(
    config: Config, data: Sequence[str], about: dict[str, Any], limit: int, seed: int, **columns: Any
) -> Gathered:
    """data: paths, or none for the run's validation data; columns: as for `read`. DataError, with the cure.

    At most `limit` sources, with all their references: a choice fixed by the seed.
    """
    train, valid, missing, changed = None, None, "", False
    try:
        found = parts(config)
        train, valid = found.train, found.valid
        recorded = about.get("data")
        changed = recorded is not None and recorded != fingerprint(config, found)
    except UserError as fault:
        missing = str(fault.message) if fault.where is None else f"{fault.where}: {fault.message}"
    if data:
        valid, label = _given(data, like=config.data.names, **columns), ", ".join(data)
    elif valid is not None:
        label = "validation data" if config.data.valid else "validation part split off the training data"
    elif config.data.valid:
        valid, label = held_out(config), "validation data"
    else:
        raise DataError(
            f"the validation data of this run were split off its training data, which cannot be read ({missing})",
            hint="name data to report on: suguk report RUN DATA",
        )
    sources, grouped = references(valid)
    rows = _chosen(len(sources), limit, seed)
    return Gathered(
        train=train,
        sources=[sources[row] for row in rows],
        references=[grouped[row] for row in rows],
        available=len(sources),
        label=label,
        sides=_sides(valid, train),
        changed=changed,
        missing=missing,
    )


def _given(data: Sequence[str], **columns: Any) -> Pairs:
    skip_bad = columns.pop("skip_bad", False)
    problems, pairs = judged(read(data, skip_bad=True, **columns), LONGEST_TEXT)
    fatal = [problem for problem in problems if problem.fatal]
    if fatal and not skip_bad:
        raise DataError(
            f"{len(fatal):,} bad pairs", fatal, hint="mend them, or leave them out with --skip-bad"
        )
    if not len(pairs):
        raise DataError("there is no good pair in it", where=data[0])
    return pairs


def _chosen(count: int, most: int, seed: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())


def _sides(*several: Pairs | None) -> tuple[str, str]:
    """What the first files with names call the two sides."""
    named = (pairs.sides for pairs in several if pairs is not None and all(pairs.sides))
    return next(named, ("source", "target"))
