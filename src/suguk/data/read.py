"""Pairs from files: one table, or two parallel text files."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suguk.data.columns import is_place, pick
from suguk.data.lines import KINDS, ONE_PAIR, read_lines, readable, unpacked
from suguk.data.tables import READERS, Reader, comma_separated, tsv
from suguk.data.texts import Texts
from suguk.errors import DataError, Problem


@dataclass
class Pairs:
    """Sources and targets in the order of the files. paths: one table, or two parallel files."""

    paths: tuple[str, ...]
    sources: Texts = field(default_factory=Texts)
    targets: Texts = field(default_factory=Texts)
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    problems: list[Problem] = field(default_factory=list)  # rows that are not among the pairs
    repeated: int = 0  # pairs that occur before, as `check.judged` has counted them
    notes: list[str] = field(default_factory=list)  # what was decided while reading
    sides: tuple[str, str] = (
        "",
        "",
    )  # what the files call source and target: columns, or endings as in `train.en`

    def __len__(self) -> int:
        return len(self.sources)

    def place(self, index: int, side: int = 0) -> tuple[str, int]:
        """File and line of a pair, for messages. side: 0 the source, 1 the target, which may be in another file."""
        return self.paths[min(side, len(self.paths) - 1)], self.lines[index]

    def add(self, line: int, source: str, target: str) -> None:
        """One more pair."""
        self.sources.append(source)
        self.targets.append(target)
        self.lines.append(line)

    def keep(self, wanted: Sequence[object] | NDArray[np.bool_]) -> "Pairs":
        """The pairs where `wanted` is true."""
        return Pairs(
            self.paths,
            Texts(compress(self.sources, wanted)),
            Texts(compress(self.targets, wanted)),
            array("q", compress(self.lines, wanted)),
            self.problems,
            self.repeated,
            self.notes,
            self.sides,
        )


def read(
    paths: Sequence[str | Path],
    *,
    source: str | int = "",
    target: str | int = "",
    header: bool | None = None,
    skip_bad: bool = False,
    like: tuple[str, str] = ("", ""),
) -> Pairs:
    """All pairs of one table (.tsv .tab .txt .csv .jsonl .ndjson .parquet) or of two parallel text files.

    source, target: columns by name or number from 1. like: names of other data's columns, which are taken where the
    table has both and nothing else was asked for. Else the first two. header: None recognises one.
    DataError for files that cannot be read at all, for different line counts, and, unless `skip_bad`, for any bad row
    (it carries every one); with `skip_bad` the bad rows are left out and listed in `problems`. What the texts are like
    (empty, too long, repeated) is judged in `suguk.data.check`.
    """
    names, source, target = tuple(str(path) for path in paths), str(source), str(target)
    if len(names) not in (1, 2):
        raise DataError(f"expected one table or two parallel files, found {len(names)} paths", hint=KINDS)
    pairs = Pairs(names)
    if header is not None and not may_have_header(names):
        raise DataError(
            "only .tsv and .csv may have a header row",
            where=names[0],
            hint=f"leave out {'--header' if header else '--no-header'}",
        )
    if len(names) == 2:
        _read_parallel(pairs, source, target)
    else:
        _read_table(pairs, source, target, header, like)
    pairs.problems.sort(key=lambda problem: problem.line or 0)
    if not len(pairs) and not pairs.problems:
        raise DataError("there are no pairs in it", where=names[0], hint=ONE_PAIR)
    if pairs.problems and not skip_bad:
        raise refusal(pairs.problems)
    return pairs


def may_have_header(paths: Sequence[str]) -> bool:
    """Whether these are a table that may have one or not."""
    return len(paths) == 1 and _reader(paths[0]) in (tsv, comma_separated)


def refusal(problems: Sequence[Problem]) -> DataError:
    """The error that refuses data whole and tells every problem."""
    count = "1 bad row" if len(problems) == 1 else f"{len(problems):,} bad rows"
    return DataError(count, problems, hint="mend them, or leave them out with --skip-bad")


def references(pairs: Pairs) -> tuple[list[str], list[list[str]]]:
    """Distinct sources in the order of their first row, each with all its targets."""
    grouped: dict[str, list[str]] = {}
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        grouped.setdefault(source, []).append(target)
    return list(grouped), list(grouped.values())


def _read_table(pairs: Pairs, source: str, target: str, header: bool | None, like: tuple[str, str]) -> None:
    name = pairs.paths[0]
    given = [frozenset([column]) for column in (source, target) if column and not is_place(column)]
    remembered = [frozenset(like)] if not (source or target) and all(like) else []
    table = _reader(name)(name, pairs.problems, header, given or remembered)
    if not table.columns.width and pairs.problems:
        raise refusal(pairs.problems)
    names = set(table.columns.names)
    if not (source or target) and all(like) and names.issuperset(like):
        source, target = like
    at = pick(table.columns, (source, target), name)
    pairs.notes.append(f"{name}: {table.columns.decided}")
    if table.columns.width > 2 or at != (0, 1):
        called = [table.columns.called(index) for index in at]
        pairs.notes.append(f"{name}: source is column {called[0]}, target is column {called[1]}")
    if table.columns.names and all(
        table.columns.names.count(table.columns.names[index]) == 1 for index in at
    ):
        pairs.sides = table.columns.names[at[0]], table.columns.names[at[1]]
        if not (source or target) and all(like) and names.intersection(like):
            pairs.notes.append(
                f"warning: {name}: taken are {' and '.join(map(repr, pairs.sides))}, where the other data have "
                f"{' and '.join(map(repr, like))}"
            )
    _fill(pairs, table.rows(*at))


def _fill(pairs: Pairs, rows: Iterable[tuple[int, str, str]]) -> None:
    for row in rows:  # one at a time: all of them, as tuples, would take as much memory as the texts
        pairs.add(*row)


def _reader(name: str) -> Reader:
    ending = Path(unpacked(name)).suffix.lower()
    if ending in READERS and not (ending == ".parquet" and unpacked(name) != name):
        return READERS[ending]
    readable(name)
    known = " ".join(READERS)
    raise DataError(
        f"unknown kind of table {ending!r}; known: {known}" if ending else f"has no ending; known: {known}",
        where=name,
        hint="rename a table with tabs to .tsv; two parallel text files are given as two paths",
    )


def _read_parallel(pairs: Pairs, source: str, target: str) -> None:
    for name in pairs.paths:
        if Path(unpacked(name)).suffix.lower() in READERS.keys() - {".txt"}:
            hint = "a second table is given with --valid, or its rows are appended to the first"
            raise DataError("is a table, expected one of two parallel text files", where=name, hint=hint)
    if source or target:
        raise DataError("two parallel files have no columns", hint="leave out --source and --target")
    endings = [Path(unpacked(name)).suffix[1:] for name in pairs.paths]
    if all(endings) and endings[0] != endings[1]:
        pairs.sides = endings[0], endings[1]
    sides = [read_lines(name, pairs.problems) for name in pairs.paths]
    counts = [len(side.texts) for side in sides]
    if counts[0] != counts[1]:
        raise _unequal(pairs, counts)
    bad = sides[0].bad | sides[1].bad
    rows = zip(range(1, counts[0] + 1), sides[0].texts, sides[1].texts, strict=True)
    _fill(pairs, (row for row in rows if row[0] - 1 not in bad) if bad else rows)
    pairs.notes.append(f"two parallel files of {counts[0]:,} lines: {pairs.paths[0]} → {pairs.paths[1]}")


def _unequal(pairs: Pairs, counts: Sequence[int]) -> DataError:
    long = 0 if counts[0] > counts[1] else 1
    short, ends = pairs.paths[1 - long], counts[1 - long]
    message = f"has no partner: {short} ends at line {ends:,}"
    problem = Problem(pairs.paths[long], ends + 1, message, "different line counts")
    return DataError(
        f"parallel files need the same number of lines, found {counts[0]:,} in {pairs.paths[0]} and {counts[1]:,} in "
        f"{pairs.paths[1]}",
        [problem, *pairs.problems],
        hint="the missing line may be far before the end; `paste FILE FILE | less` shows where they part",
    )
