"""Which columns of a table hold the pairs, and whether its first row names them."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from suguk.errors import DataError

# Words that name a column and hardly ever are a pair of data by themselves.
WORDS = """
    source target src tgt trg input output question questions answer answers query response word words phoneme phonemes
    pronunciation ipa command commands action actions cmd bash nl text code sentence sentences summary document article
    label labels translation original lemma form tags name names prompt completion title description attribution
    license id key value date expression result number numbers reading spelling hangul korean english spanish german
    french italian japanese chinese portuguese russian dutch
"""
CODES = """
    ar bg bn ca cs da de el en eo es et eu fa fi fr ga he hi hr hu hy id is it ja ka ko la lt lv mk mn ms nl no pl pt ro
    ru sk sl sq sr sv sw ta th tr uk ur uz vi zh ara ces cze deu dut eng est fin fra fre ger heb hin hun ind ita jpn kor
    lat nld nor pol por ron rus spa swe tha tur ukr vie zho chi
"""
NAMES = frozenset(WORDS.split()) | frozenset(CODES.split())
NUMERIC = re.compile(r"[\d\s.,:/+\-]+")
LOOK = 1000  # rows that are looked at


class Columns(NamedTuple):
    """names: from a header, else empty; width: cells of the first row; decided: about the header, for the report."""

    names: tuple[str, ...]
    width: int
    decided: str = ""

    def called(self, index: int) -> str:
        """For messages: the column's name, or its number."""
        return repr(self.names[index]) if self.names else str(index + 1)


def recognise(
    rows: Sequence[Sequence[str]], header: bool | None, wanted: Sequence[frozenset[str]] = ()
) -> Columns:
    """The columns of a table whose first rows these are. header: None decides from the rows.

    The first row names the columns if all names of one of `wanted` stand in it; if each cell is a usual column name or
    language code, all differ and they are not just values of their columns; or if there is no digit in it above a
    column of nothing but numbers. `hola\\thello`, `Go.\\tVe.` and `B\\tAW1` are data.
    """
    first = tuple(cell.strip() for cell in rows[0])
    shown = " | ".join(first)
    if header is not None:
        decided = f"header row, as told: {shown}" if header else "no header row, as told"
        return Columns(first if header else (), len(first), decided)
    if _is_header(first, rows[1:LOOK], wanted):
        return Columns(first, len(first), f"header row recognised: {shown} (--no-header if this is data)")
    return Columns((), len(first), "no header row recognised (--header if the first row names the columns)")


def _is_header(
    first: tuple[str, ...], rest: Sequence[Sequence[str]], wanted: Sequence[frozenset[str]]
) -> bool:
    if any(names.issubset(first) for names in wanted):
        return True
    if len(set(first)) < max(2, len(first)):
        return False
    columns = [[row[i] for row in rest if len(row) == len(first)] for i in range(len(first))]
    if all(_usual(cell) for cell in first):
        return not all(cell in column for cell, column in zip(first, columns, strict=True))
    wordy = not any(character.isdigit() for cell in first for character in cell)
    return wordy and any(len(column) > 2 and all(map(_is_number, column)) for column in columns)


def _is_number(cell: str) -> bool:
    return bool(NUMERIC.fullmatch(cell)) and any(map(str.isdigit, cell))


def is_place(name: str) -> bool:
    """Whether a column is given by its number."""
    return name.isascii() and name.isdecimal()


def _usual(cell: str) -> bool:
    """`es`, `Source text`, `question_1`."""
    parts = [part for part in re.split(r"[\s_.-]+", cell.lower()) if not part.isdigit()]
    return bool(parts) and all(part in NAMES for part in parts)


def pick(columns: Columns, wanted: tuple[str, str], where: str) -> tuple[int, int]:
    """Indices of the source and the target column. DataError where there is no such column."""
    if columns.width < 2:
        raise DataError(
            f"expected at least two columns, found {columns.width}",
            where=where,
            hint="a tab between source and target in .tsv and .txt, a comma in .csv; two text files as two paths",
        )
    at = [_index(columns, name, default, where) for default, name in enumerate(wanted)]
    if at[0] == at[1]:
        hint = "name both with --source and --target"
        raise DataError(f"source and target are both column {columns.called(at[0])}", where=where, hint=hint)
    return at[0], at[1]


def _index(columns: Columns, name: str, default: int, where: str) -> int:
    if not name:
        return default
    if columns.names.count(name) > 1:
        raise DataError(
            f"several columns are named {name!r}",
            where=where,
            hint="give its number, counted from 1",
        )
    if name in columns.names:
        return columns.names.index(name)
    if is_place(name):
        if 1 <= int(name) <= columns.width:
            return int(name) - 1
        raise DataError(f"there is no column {name}: columns are 1 to {columns.width}", where=where)
    if not columns.names:
        hint = "give its number, or --header if the first row names the columns"
        raise DataError(f"there is no column {name!r}, as no header row was found", where=where, hint=hint)
    near = get_close_matches(name, columns.names, n=1)
    raise DataError(
        f"there is no column {name!r}; columns: {', '.join(columns.names)}",
        where=where,
        hint=f"did you mean {near[0]}?" if near else None,
    )
