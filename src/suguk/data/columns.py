"""Which columns of a table hold the pairs, and whether its first row names them."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from suguk.errors import DataError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that name a column and are unlikely as a pair of data.
NAMES = _words(
    "source target src tgt trg input output question answer query response word words phonemes "
    "pronunciation ipa command commands action actions cmd nl text code sentence sentences summary "
    "document article label translation original lemma form tags name names hangul korean english "
    "spanish german french x y prompt completion title description id attribution license from to "
)
CODES = _words(
    "ar bg bn ca cs da de el en eo es et eu fa fi fr ga he hi hr hu hy id is it ja ka ko la lt lv mk "
    "mn ms nl no pl pt ro ru sk sl sq sr sv sw ta th tr uk ur uz vi zh ara ces cze deu dut eng est "
    "fin fra fre ger heb hin hun ind ita jpn kor lat nld nor pol por ron rus spa swe tha tur ukr vie "
    "zho chi "
)


class Columns(NamedTuple):
    """names: from a header, else empty; width: cells of the first row; found: what was decided, for the report."""

    names: tuple[str, ...]
    width: int
    found: str = ""


def header_of(rows: Sequence[Sequence[str]], header: bool | None) -> tuple[tuple[str, ...], str]:
    """(column names or none, what was decided) from the first rows of a table.

    Recognised where every cell of the first row is a usual column name or language code, all are different, and no
    later row repeats it. `hola\\thello` or `B\\tAW1` is data.
    """
    first = tuple(cell.strip() for cell in rows[0])
    shown = " | ".join(first)
    if header is not None:
        return (first, f"header row: {shown} (--header)") if header else ((), "no header row (--no-header)")
    usual = all(_usual(cell) for cell in first)
    repeated = any(tuple(row) == tuple(rows[0]) for row in rows[1:])
    if usual and len(first) > 1 and len(set(first)) == len(first) and not repeated:
        return first, f"header row recognised: {shown} (--no-header if these are data)"
    return (), "no header row recognised (--header if the first row names the columns)"


def _usual(cell: str) -> bool:
    parts = [part for part in re.split(r"[\s_.-]+", cell.lower()) if part]
    return (
        bool(parts)
        and all(part in NAMES or part in CODES or part.isdigit() for part in parts)
        and not cell.isdigit()
    )


def pick(columns: Columns, wanted: tuple[str, str], where: str) -> tuple[int, int]:
    """Indices of the source and the target column. DataError where there is no such column."""
    if columns.width < 2:
        raise DataError(
            f"expected at least two columns, found {columns.width}",
            where=where,
            hint="source and target are separated by a tab in .tsv and by a comma in .csv; two text files are given "
            "as two paths",
        )
    at = [_index(columns, name, default, where) for default, name in enumerate(wanted)]
    if at[0] == at[1]:
        raise DataError(
            f"source and target are the same column ({at[0] + 1})", where=where, hint="--source, --target"
        )
    return at[0], at[1]


def _index(columns: Columns, name: str, default: int, where: str) -> int:
    if not name:
        return default
    if name in columns.names:
        return columns.names.index(name)
    if name.isdigit() and 1 <= int(name) <= columns.width:
        return int(name) - 1
    if name.isdigit():
        raise DataError(f"there is no column {name}: the first row has {columns.width}", where=where)
    known = ", ".join(columns.names) or "none, as there is no header row"
    near = get_close_matches(name, columns.names, n=1)
    raise DataError(
        f"there is no column named {name!r}; columns: {known}",
        where=where,
        hint=f"did you mean {near[0]}?"
        if near
        else "give its number, or --header if the first row names them",
    )
