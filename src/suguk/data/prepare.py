"""From the settings to all that training starts from: read, checked, split, tokenised."""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from suguk import config as settings
from suguk.config import Config, DataConfig
from suguk.data import cache
from suguk.data.check import judged, leaks
from suguk.data.epochs import Mix
from suguk.data.longest import room
from suguk.data.read import Pairs, may_have_header, read
from suguk.data.split import apart, split
from suguk.data.texts import Texts
from suguk.data.vocabulary import vocabulary
from suguk.errors import ConfigError, DataError, Problem
from suguk.fields import TextField
from suguk.predictor import LONGEST_TEXT


class Prepared(NamedTuple):
    """Ready to train on. config: with the chosen tokenizers in the place of `auto`, and the columns that were taken."""

    train: Pairs
    valid: Pairs
    source: TextField
    target: TextField
    config: Config
    fingerprint: dict[str, Any]  # of the files, to know them again at a resume
    choices: list[str]  # what was decided and why, in sentences
    skipped: list[Problem]  # bad pairs that --skip-bad left out
    parts: tuple[int, ...]  # how many pairs of `train`, one after another, are of each corpus


class Parts(NamedTuple):
    """The pairs of a run, before any vocabulary is made of them."""

    train: Pairs
    valid: Pairs
    choices: list[str]
    skipped: list[Problem]
    sizes: tuple[int, ...]  # how many pairs of `train`, one after another, are of each corpus


def prepare(config: Config, fields: tuple[TextField, TextField] | None = None) -> Prepared:
    """Read, check, split, build vocabularies. DataError with every problem unless `data.skip_bad`.

    fields: of a run that this one goes on from, in the place of new ones.
    """
    found = parts(config)
    train, valid = found.train, found.valid
    source, target, chosen = vocabulary(train, config) if fields is None else (*fields, [])
    known: dict[str, Any] = {
        side: {"tokenizer": field.kind} for side, field in (("source", source), ("target", target))
    }
    known["data"] = {"columns": _columns(config.data, train)}
    known["predict"], told = room(config, train, source, target)
    return Prepared(
        train=train,
        valid=valid,
        source=source,
        target=target,
        config=settings.build(settings.merge(config.model_dump(exclude_none=True), known)),
        fingerprint=fingerprint(config, found),
        choices=found.choices + chosen + told,
        skipped=found.skipped,
        parts=found.sizes,
    )


def parts(config: Config) -> Parts:
    """Read, check, split: the same pairs whenever the files are the same. DataError as for `prepare`."""
    if not config.data.train:
        raise ConfigError("there is no training data", where="data.train", hint="suguk train DATA… --out DIR")
    first, also, given = unjudged(config)
    several = [first, *also] + ([] if given is None else [given])
    found = [judged(pairs, config.data.max_length, duplicates=False) for pairs in several]
    corpora = [pairs for _, pairs in found[: 1 + len(also)]]
    problems = _refused(found, config)
    choices = [note for _, pairs in found for note in pairs.notes]
    if given is not None:
        valid = found[-1][1]
    else:
        lowercase = config.data.lowercase
        corpora[0], valid = split(corpora[0], config.data.valid_share, config.train.seed, lowercase=lowercase)
        corpora[1:] = [apart(pairs, valid, lowercase=lowercase) for pairs in corpora[1:]]
        choices.append(f"validation: {len(valid):,} pairs split off, no source of them in training")
    for pairs in (*corpora, valid):
        if not len(pairs):
            raise DataError("no good pair is left", where=pairs.paths[0])
    train, mixed = _joined(corpora, config.data.weights)
    choices += mixed + _warnings(found, train, valid, lowercase=config.data.lowercase)
    return Parts(train, valid, choices, problems, tuple(map(len, corpora)))


def held_out(config: Config) -> Pairs:
    """The pairs of `data.valid` alone, where the training data are not at hand. DataError as for `prepare`."""
    data = config.data
    pairs = read(data.valid, skip_bad=True, **beside(data, data.valid))
    found = judged(pairs, data.max_length, duplicates=False)
    _refused([found], config)
    return found[1]


def _refused(found: list[tuple[list[Problem], Pairs]], config: Config) -> list[Problem]:
    """The bad pairs, if they may be left out."""
    problems = [problem for several, _ in found for problem in several if problem.fatal]
    if problems and not config.data.skip_bad:
        raise DataError(
            f"{len(problems):,} bad pairs; the data are refused as a whole",
            problems,
            hint="mend them, or leave them out with --skip-bad; `suguk check` reports in full"
            + _longer(problems, config.data.max_length),
        )
    return problems


def _joined(corpora: list[Pairs], weights: Sequence[float]) -> tuple[Pairs, list[str]]:
    """One after another; and, where they are several, what an epoch has of each."""
    if len(corpora) == 1 and not weights:
        return corpora[0], []
    first, counts = corpora[0], Mix(list(map(len, corpora)), weights or [1.0] * len(corpora)).counts
    train = Pairs(
        first.paths,
        Texts(text for pairs in corpora for text in pairs.sources),
        Texts(text for pairs in corpora for text in pairs.targets),
        array("q", (line for pairs in corpora for line in pairs.lines)),
        sides=first.sides,
    )
    return train, [
        f"{', '.join(pairs.paths)}: {len(pairs):,} pairs, {count:,} of them in every epoch"
        for pairs, count in zip(corpora, counts, strict=True)
    ]


def _longer(problems: list[Problem], most: int) -> str:
    overlong = any(problem.kind.startswith("overlong") for problem in problems)
    hint = f"; for longer lines --set data.max_length=N (now {most:,})"
    return hint if overlong and most < LONGEST_TEXT else ""


def beside(data: DataConfig, paths: Sequence[str]) -> dict[str, Any]:
    """How `read` is to take other data than `data.train`, as options of it.

    The columns are those of the training table; parallel files beside it have none, and only .tsv and .csv a header.
    """
    source, target = (data.source, data.target) if len(paths) <= len(data.train) else ("", "")
    header = data.header if may_have_header(paths) else None
    return {"source": source, "target": target, "header": header, "like": data.names}


def _columns(data: DataConfig, train: Pairs) -> tuple[str, str]:
    """What the columns of the training table are called; parallel files and tables without names tell nothing."""
    return train.sides if len(train.paths) == 1 and all(train.sides) else data.columns


def unjudged(config: Config) -> tuple[Pairs, list[Pairs], Pairs | None]:
    """What `data` names as it is read, with bad rows in `problems`: training, other corpora, validation data."""
    data = config.data
    named: dict[str, Any] = {"source": data.source, "target": data.target, "like": data.columns}
    train = read(data.train, header=data.header, skip_bad=True, **named)
    data = data.model_copy(update={"columns": _columns(data, train)})
    also = [read(paths, skip_bad=True, **beside(data, paths)) for paths in data.also]
    valid = read(data.valid, skip_bad=True, **beside(data, data.valid)) if data.valid else None
    return train, also, valid


def _warnings(
    found: list[tuple[list[Problem], Pairs]], train: Pairs, valid: Pairs, *, lowercase: bool
) -> list[str]:
    duplicates = sum(pairs.repeated for _, pairs in found)
    leaking = leaks(train, valid, lowercase=lowercase)
    warnings = []
    if duplicates:
        warnings.append(f"warning: {duplicates:,} duplicate pairs are kept (`suguk check` lists them)")
    if leaking:
        warnings.append(
            f"warning: {len(leaking):,} validation pairs have a source that is in training too, the first at "
            f"{leaking[0].path}:{leaking[0].line} (`suguk check` lists them)"
        )
    skipped = sum(problem.fatal for several, _ in found for problem in several)
    if skipped:
        warnings.append(f"warning: {skipped:,} bad pairs are left out")
    return warnings


def fingerprint(config: Config, found: Parts) -> dict[str, Any]:
    """sha256 of what was read, pair by pair: the same whatever the files are called."""
    train, valid = found.train, found.valid
    plain: dict[str, Any] = {
        "training_pairs": len(train),
        "validation_pairs": len(valid),
        "training_sha256": cache.digest(train.sources, train.targets),
        "validation_sha256": cache.digest(valid.sources, valid.targets),
        "source_column": config.data.source,
        "target_column": config.data.target,
    }
    if len(found.sizes) > 1:  # where one corpus ends and the next begins decides what an epoch draws
        plain["corpora"] = list(found.sizes)
    return plain
