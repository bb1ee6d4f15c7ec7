"""Texts that a model is given from outside: checked, and as token ids. Imports no torch."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from suguk.errors import UserError
from suguk.fields import TextField
from suguk.predictor import LONGEST_TEXT


def stream(texts: Iterable[str]) -> Iterator[str]:
    """One after the other. UserError for what is not several texts: one text is as many as it has letters."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise UserError(
            f"expected a list of texts, found {str(texts)[:40]!r}", hint="give a list, of one text too"
        )
    return iter(texts)


def several(texts: Iterable[str]) -> list[str]:
    """As a list. UserError, see `stream`."""
    return list(stream(texts))


def ids(field: TextField, texts: Sequence[str], what: str, before: int = 0) -> list[NDArray[np.int32]]:
    """Token ids of each text. what: source or target; before: how many came before these.

    UserError names the first that is no text, or none that can be read.
    """
    for number, text in enumerate(texts, start=before + 1):
        where = f"{what} {number:,}"
        if not isinstance(text, str):
            raise UserError(f"expected a text, found {text!r:.40}", where=where)
        if len(text) > LONGEST_TEXT:
            raise UserError(
                f"{len(text):,} characters; at most {LONGEST_TEXT:,} are read",
                where=where,
                hint="split it into sentences, one a line",
            )
        check_characters(text, where)
    return list(field.encode_batch(texts))


def is_text(text: str) -> bool:
    """Whether it has no surrogates, which JSON can spell and no text holds."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def check_characters(text: str, where: str) -> None:
    """UserError for what is no text."""
    if not is_text(text):
        raise UserError("half a surrogate pair is no character", where=where, hint="take it out")
