"""What is in the data and what is wrong with it: everything at once, each with file and line."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from suguk import files
from suguk.config import Config
from suguk.data.read import Pairs
from suguk.data.size import memory, parameters
from suguk.data.split import apart, as_read, split
from suguk.data.vocabulary import Vocabulary, recipe_for, vocabulary
from suguk.errors import ConfigError, Problem, UserError
from suguk.predictor import LONGEST_TEXT

SHOWN = 20  # problems that the text names one by one
PERCENT_LONG = 0.95


@dataclass
class Report:
    """What `suguk check` says. problems: fatal ones refuse the data, the others are warnings."""

    problems: list[Problem]
    notes: list[str] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)

    @property
    def fatal(self) -> list[Problem]:
        """Those that refuse the data."""
        return [problem for problem in self.problems if problem.fatal]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "ok": not self.fatal,
            "problems": [vars(problem) for problem in self.problems],
            "notes": self.notes,
            "statistics": self.statistics,
            "choices": self.choices,
        }

    def text(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from self.notes
        yield from _table(self.statistics)
        yield from self.choices
        for title, several in (("error", self.fatal), ("warning", [p for p in self.problems if not p.fatal])):
            for kind, count in Counter(problem.kind for problem in several).items():
                yield f"{title}: {count:,} × {kind}"
            yield from (f"  {problem}" for problem in several[:SHOWN])
            if len(several) > SHOWN:
                yield f"  … and {len(several) - SHOWN:,} more (--json lists all)"
        if self.fatal:
            yield "these data would be refused; mend them, or leave the bad pairs out with `suguk train --skip-bad`"
        else:
            yield "no errors: `suguk train` takes these data"


def check(
    train: Pairs,
    valid: Pairs | None,
    config: Config,
    chars: Config | None = None,
    also: Sequence[Pairs] = (),
) -> Report:
    """Problems, statistics, what `auto` chooses, vocabulary, unknown rate and memory. Never raises for bad pairs.

    chars: the settings instead of `config` where a side turns out to be of characters or symbols, as in training
    without a recipe. also: other corpora to train on, of which problems are told; the rest is of `train`.
    """
    problems, train = _judged(train, config)
    report = Report(problems, list(train.notes))
    if valid is not None:
        more, valid = _judged(valid, config)
        report.problems += [*more, *leaks(train, valid, lowercase=config.data.lowercase)]
        report.notes += valid.notes
    corpora = []
    for pairs in also:
        more, good = _judged(pairs, config)
        report.problems += more
        if valid is not None:
            report.problems += leaks(good, valid, lowercase=config.data.lowercase)
        corpora.append(good)
    if not len(train) or (valid is not None and not len(valid)):
        report.problems.append(_nothing(train if valid is None or not len(train) else valid))
        return report
    try:
        if valid is None:
            share, seed = config.data.valid_share, config.train.seed
            train, valid = split(train, share, seed, lowercase=config.data.lowercase)
            report.notes.append(f"validation: {len(valid):,} pairs split off, no source of them in training")
            corpora = [apart(pairs, valid, lowercase=config.data.lowercase) for pairs in corpora]
        for pairs in corpora:
            report.notes += [*pairs.notes, f"{', '.join(pairs.paths)}: {len(pairs):,} pairs"]
            if not len(pairs):
                report.problems.append(_nothing(pairs))
        found, config = _chosen(train, config, chars, report)
    except ConfigError:
        raise
    except UserError as fault:
        problem = Problem(fault.where or train.paths[0], None, fault.message, "fault that ends training")
        report.problems.append(problem)
        return report
    report.choices += found.choices
    report.statistics = _statistics(train, valid, found, config)
    return report


def _nothing(pairs: Pairs) -> Problem:
    return Problem(pairs.paths[0], None, "no good pair is left", "too little data")


def _chosen(train: Pairs, config: Config, chars: Config | None, report: Report) -> tuple[Vocabulary, Config]:
    found = vocabulary(train, config)
    if chars is None:
        return found, config
    recipe, reason = recipe_for(found.source, found.target)
    report.choices.append(f"recipe: {recipe}, as {reason}")
    return (found, config) if recipe == "small" else (vocabulary(train, chars), chars)


def judged(pairs: Pairs, max_length: int, *, duplicates: bool = True) -> tuple[list[Problem], Pairs]:
    """(every problem of these pairs by line, the pairs without bad rows); duplicates are warned of and stay.

    duplicates: whether each is a problem; if not they are only counted, as `repeated` of the pairs.
    """
    max_length = min(max_length, LONGEST_TEXT)  # what is validated on is decoded, and longer texts are not
    problems, good = list(pairs.problems), bytearray(b"\1") * len(pairs)
    hashes = array("q")
    for index, pair in enumerate(zip(pairs.sources, pairs.targets, strict=True)):
        source, target = pair
        bad = source.isspace() or target.isspace() or "\0" in source or "\0" in target
        if bad or not (0 < len(source) <= max_length and 0 < len(target) <= max_length):
            problems += _faults(pairs, index, max_length)
            good[index] = False
        hashes.append(hash(pair))
    pairs.repeated = 0
    for before, index in _repeated(pairs, hashes, good):
        pairs.repeated += 1
        if duplicates:
            told = f"the same pair as line {pairs.lines[before]:,}"
            problems.append(Problem(*pairs.place(index), told, "duplicate pair", fatal=False))
    problems.sort(key=lambda problem: problem.line or 0)
    return problems, pairs if all(good) else pairs.keep(good)


def _repeated(pairs: Pairs, hashes: "array[int]", good: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, later) rows of the same good pair. Only pairs of one hash are compared: all of them fill the memory."""
    values = np.frombuffer(hashes, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(np.diff(values[order]) == 0)
    first: dict[tuple[str, str], int] = {}
    for index in sorted({*order[same].tolist(), *order[same + 1].tolist()}):
        pair = pairs.sources[index], pairs.targets[index]
        if good[index] and (before := first.setdefault(pair, index)) != index:
            yield before, index


def _faults(pairs: Pairs, index: int, max_length: int) -> Iterator[Problem]:
    for side, (name, texts) in enumerate((("source", pairs.sources), ("target", pairs.targets))):
        text, place = texts[index], pairs.place(index, side)
        if not text or text.isspace():
            yield Problem(*place, f"the {name} is empty", f"empty {name}")
        elif "\0" in text:
            told = f"the {name} holds U+0000, which no text has: is the file UTF-16, or no text at all?"
            yield Problem(*place, told, f"no text in the {name}")
        elif len(text) > max_length:
            told = f"the {name} has {len(text):,} characters; at most {max_length:,} are taken"
            yield Problem(*place, told, f"overlong {name}")


def leaks(train: Pairs, valid: Pairs, *, lowercase: bool = False) -> list[Problem]:
    """Validation pairs whose source text is in training too: their scores would flatter the model. Warnings."""
    sources = [as_read(source, lowercase) for source in valid.sources]
    held_out = set(sources)
    lines: dict[str, int] = {}
    for text, line in zip(train.sources, train.lines, strict=True):
        source = as_read(text, lowercase)
        if source in held_out:
            lines[source] = line
    found = []
    for index, source in enumerate(sources):
        if source in lines:
            message = f"this source is in the training data too ({train.paths[0]}:{lines[source]})"
            found.append(Problem(*valid.place(index), message, "validation source in training", fatal=False))
    return found


def write_problems(problems: Sequence[Problem], path: str | Path) -> None:
    """One line a problem: file, line, what is wrong, separated by tabs."""
    rows = ["file\tline\tproblem"]
    rows += [f"{problem.path}\t{problem.line or ''}\t{problem.message}" for problem in problems]
    files.write(
        path, ("\n".join(rows) + "\n").encode(errors="surrogateescape")
    )  # names of files may be any bytes


def _judged(pairs: Pairs, config: Config) -> tuple[list[Problem], Pairs]:
    """Problems and good pairs; what training would leave out with `data.skip_bad` does not refuse the data."""
    problems, good = judged(pairs, config.data.max_length)
    if config.data.skip_bad:
        problems = [replace(problem, fatal=False) for problem in problems]
    return problems, good


def _statistics(train: Pairs, valid: Pairs, found: Vocabulary, config: Config) -> dict[str, Any]:
    sides: dict[str, dict[str, Any]] = {}
    for name, texts, held_out, field_ in (
        ("source", train.sources, valid.sources, found.source),
        ("target", train.targets, valid.targets, found.target),
    ):
        sides[name] = {
            "distinct": len(set(texts)),
            "characters": _lengths([len(text) for text in texts]),
            "words": _lengths([len(text.split()) for text in texts]),
            "tokenizer": field_.kind,
            "vocabulary": field_.size,
            "unknown_rate_in_validation": field_.unknown_rate(held_out),
            "tokens_a_text": mean(
                len(ids) for ids in field_.encode_batch(texts[:: max(1, len(texts) // 2000)])
            ),
        }
    ratios = [
        len(target) / max(len(source), 1) for source, target in zip(train.sources, train.targets, strict=True)
    ]
    sizes = (found.source.size, found.target.size)
    return {
        "training_pairs": len(train),
        "validation_pairs": len(valid),
        "length_ratio": {"mean": mean(ratios), "median": median(ratios)},
        **sides,
        "parameters": parameters(config.model, *sizes),
        "memory_bytes": memory(config, *sizes, sides["source"]["tokens_a_text"]),
    }


def _lengths(values: list[int]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "mean": mean(ordered),
        "median": median(ordered),
        "p95": ordered[min(int(PERCENT_LONG * len(ordered)), len(ordered) - 1)],
        "max": ordered[-1],
    }


def _table(statistics: dict[str, Any]) -> Iterator[str]:
    if not statistics:
        return
    yield f"{statistics['training_pairs']:,} training pairs, {statistics['validation_pairs']:,} for validation"
    yield f"{'':8}{'distinct':>10}{'words: mean':>13}{'95 %':>7}{'max':>7}{'characters: mean':>18}{'95 %':>7}{'max':>7}"
    for side in ("source", "target"):
        of = statistics[side]
        words, characters = of["words"], of["characters"]
        yield (
            f"{side:8}{of['distinct']:>10,}{words['mean']:>13.1f}{words['p95']:>7,}{words['max']:>7,}"
            f"{characters['mean']:>18.1f}{characters['p95']:>7,}{characters['max']:>7,}"
        )
    yield f"a target has {statistics['length_ratio']['mean']:.2f} times its source's characters on average"
    for side in ("source", "target"):
        of = statistics[side]
        yield (
            f"{side} vocabulary: {of['vocabulary']:,} ({of['tokenizer']}), {of['tokens_a_text']:.1f} tokens a text, "
            f"{of['unknown_rate_in_validation']:.2%} unknown in validation"
        )
    yield (
        f"model: {statistics['parameters']:,} parameters; training needs about "
        f"{statistics['memory_bytes'] / 1e6:,.0f} MB beside the libraries (an estimate: 18 bytes a parameter, 22 with "
        "train.ema, and the activations of one batch)"
    )
