"""What is asked of a search, as arrays: the inputs of an exported graph and of PyTorch's search. Imports no torch.

Shapes: B rows (sources), S source length, K seats of the beam, T longest output, F longest prefix, P banned phrases of
at most N tokens, C required ones of at most L, O words of other groups. docs/guides/anywhere.md says what each means.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from suguk.config import PredictConfig
from suguk.config.predict import FREE_TOKENS
from suguk.errors import TooManyConstraintsError, UserError
from suguk.fields import UNK, TextField
from suguk.incoming import check_characters
from suguk.predictor import Constraint

FREE = -1  # in prefixes and phrases: no token
GRID = 2**24  # draws are multiples of 1/GRID: float32 holds them exactly, and none rounds to 1

Ids = NDArray[np.int64]
Reals = NDArray[np.float32]
Given = dict[str, NDArray[Any]]
Phrases = Sequence[Sequence[int]]

INPUTS = (
    "source", "limits", "frame", "trace", "prefix", "alpha", "offset", "beta", "shortest", "banned", "required",
    "repeat", "others", "diversity", "draws", "choices", "top_p", "temperature",
)  # fmt: skip
COPIES = "copies"  # an input more, of models that copy


class Tokens(NamedTuple):
    """A constraint in token ids."""

    prefix: list[int]
    required: list[list[int]]
    banned: list[list[int]]


def checked(options: PredictConfig) -> PredictConfig:
    """UserError for what is no options."""
    if not isinstance(options, PredictConfig):
        hint = "suguk.config.options(model.config.predict, beam=10)"
        raise UserError(f"expected the options of a search, found {options!r:.40}", hint=hint)
    return options


def limits(lengths: Ids, asked: Sequence[Tokens], options: PredictConfig) -> Ids:
    """[B]: most tokens of each output. lengths: [B] of the sources.

    `length_ratio` times the source's tokens + 50, and more where more is asked for, but at most `max_length`.
    """
    more = np.array([len(one.prefix) + sum(map(len, one.required)) for one in asked], np.int64)
    free = np.floor(options.length_ratio * lengths).astype(np.int64) + FREE_TOKENS
    wanted: Ids = np.maximum(free + more, options.min_length)
    return np.minimum(wanted, options.max_length)


def plain(source: Ids, limits: Ids, beam: int, longest: int) -> Given:
    """A search for which nothing is asked. source: [B, S]; limits: [B], at most `longest`."""
    rows = len(source)
    given: Given = {
        "source": source,
        "limits": limits,
        "frame": np.zeros((beam, longest), np.float32),
        "trace": np.zeros(0, np.float32),
        "prefix": np.full((rows, 1), FREE),
        "shortest": np.array(0),
        "banned": np.zeros((rows, 0, 1), np.int64),
        "required": np.zeros((rows, 0, 1), np.int64),
        "repeat": np.zeros((0, 1), np.int64),
        "others": np.zeros((rows, 0, 0), np.int64),
        "draws": np.zeros((0, beam, longest), np.float32),
        "choices": np.zeros(0, np.int64),
    }
    scalars = {"alpha": 0, "offset": 0, "beta": 0, "diversity": 0, "top_p": 1, "temperature": 1}
    return given | {name: np.array(value, np.float32) for name, value in scalars.items()}


def forced(source: Ids, target: Ids, lengths: Ids, *, attention: bool) -> Given:
    """A search with all of its output asked for. target: [B, T], padded; lengths: [B]."""
    longest = target.shape[1]
    trace = np.zeros(longest if attention else 0, np.float32)
    return plain(source, lengths, 1, longest) | {"trace": trace, "prefix": target}


def search(source: Ids, limits: Ids, options: PredictConfig, seats: int, vocabulary: int) -> Given:
    """A search with these options. seats: K; vocabulary: words of the target."""
    longest = int(limits.max())
    given = plain(source, limits, seats, longest)
    scalars = {
        "alpha": options.length_penalty,
        "offset": options.offset,
        "beta": options.coverage_penalty,
        "diversity": options.diversity,
        "top_p": options.top_p,
        "temperature": options.temperature,
    }
    given |= {name: np.array(value, np.float32) for name, value in scalars.items()}
    given["shortest"] = np.array(options.min_length)
    if options.coverage_penalty:
        given["trace"] = np.zeros(longest, np.float32)
    if 0 < options.no_repeat_ngram < longest:  # longer ones cannot come twice
        given["repeat"] = np.zeros((longest, options.no_repeat_ngram), np.int64)
    if options.sample:
        given["draws"] = draws(source, options.seed, seats, longest)
        kept = options.top_k or (vocabulary if options.top_p < 1 else 0)
        given["choices"] = np.zeros(min(kept, vocabulary), np.int64)
    return given


def phrases(rows: Sequence[Phrases], *, right: bool) -> Ids:
    """Phrases of each row as [B, P, N], FREE where there is none; right: they end together, else they begin so."""
    count = max(map(len, rows), default=0)
    longest = max((len(phrase) for row in rows for phrase in row), default=1)
    found = np.full((len(rows), count, longest), FREE)
    if right:
        found[:, :, -1] = 0  # the last token must be one: `<pad>`, which is banned anyway
    for at, row in zip(found, rows, strict=True):
        for place, phrase in zip(at, row, strict=False):
            place[longest - len(phrase) if right else 0 :][: len(phrase)] = phrase
    return found


def prefixes(rows: Sequence[Sequence[int]]) -> Ids:
    """[B, F], FREE after each."""
    longest = max(1, *map(len, rows))
    return np.array([[*row, *[FREE] * (longest - len(row))] for row in rows])


def draws(source: Ids, seed: int, seats: int, longest: int) -> Reals:
    """[B, K, T] of the unit interval, from the seed, each source and the seat: all else changes nothing."""
    found = []
    for row in source:
        text = row[row != 0].astype("<i8").tobytes()
        key = np.array([seed, int.from_bytes(hashlib.sha256(text).digest()[:8], "little")], np.uint64)
        for seat in range(seats):
            counter = np.array([0, 0, 0, seat], np.uint64)  # far apart: each seat has 2¹⁹² numbers
            random = np.random.Generator(np.random.Philox(key=key, counter=counter))
            found.append(np.floor(random.random(longest) * GRID) / GRID)
    return np.array(found, np.float32).reshape(len(source), seats, longest)


def tokens(constraint: Constraint | None, target: TextField) -> Tokens:
    """UserError for a word that is empty or holds something unknown."""
    if constraint is None:
        return Tokens([], [], [])
    if not isinstance(constraint, Constraint):
        raise UserError(
            f"expected a Constraint, found {constraint!r:.40}", hint="Constraint(banned=('very',))"
        )
    words = [*constraint.required, *constraint.banned]
    for text in (constraint.prefix, *words):
        check_characters(text, f"constraint {text!a}")
    forms = {text: target.forms(text) for text in words}
    for text, several in forms.items():
        if not several[0]:
            raise UserError("it is empty", where=f"constraint {text!r}", hint="leave it out")
    prefix = target.encode(constraint.prefix)[:-1].tolist()
    known = {text: [row for row in several if UNK not in row] for text, several in forms.items()}
    for text, several in ((constraint.prefix, [prefix] * (UNK not in prefix)), *known.items()):
        if not several:
            raise UserError(
                "it can be neither asked for nor banned: not all of it is in the target's vocabulary",
                where=f"constraint {text!r}",
                hint="leave it out, or use words of the training data",
            )
    banned = [row for text in constraint.banned for row in known[text]]
    return Tokens(prefix, [known[text][0] for text in constraint.required], banned)


def too_few_constraints(found: int) -> UserError:
    """found: how many there are."""
    return UserError(
        f"a constraint for each source is needed, found {found:,} and more sources",
        where=f"source {found + 1:,}",
        hint="an empty line in a file of constraints asks for nothing",
    )


def too_many_constraints(sources: int) -> TooManyConstraintsError:
    """sources: how many there are."""
    return TooManyConstraintsError(
        f"a constraint for each source is needed, found more than {sources:,}",
        where=f"constraint {sources + 1:,}",
        hint="one line a source, in their order",
    )


def check_possible(asked: Tokens, options: PredictConfig, number: int) -> None:
    """UserError for what no search with these options can find. number: of the source, from 1."""
    tokens, seats = sum(map(len, asked.required)), options.beam // options.groups
    where = f"constraint of source {number:,}"
    if tokens and options.sample:
        raise UserError(
            "samples cannot be made to hold words", where=where, hint="search with a beam instead"
        )
    if tokens >= seats:
        raise UserError(
            f"its required words have {tokens} tokens, so a beam of {tokens + 1} is the least, found {seats}"
            + (" in a group" if options.groups > 1 else ""),
            where=where,
            hint="use a wider beam: twice as wide is a good start",
        )
    for phrase in asked.required:
        if any(_holds(phrase, banned) for banned in asked.banned):
            raise UserError("it requires what it bans", where=where, hint="leave out one of the two")
        if len(phrase) >= options.max_length:
            raise UserError(
                f"a phrase of {len(phrase)} tokens in outputs of at most {options.max_length}",
                where=where,
                hint="raise the maximum length",
            )
    if any(_holds(asked.prefix, banned) for banned in asked.banned):
        raise UserError("its prefix holds what it bans", where=where, hint="leave out one of the two")
    if len(asked.prefix) >= options.max_length:
        raise UserError(
            f"a prefix of {len(asked.prefix)} tokens in outputs of at most {options.max_length}",
            where=where,
            hint="raise the maximum length",
        )


def _holds(phrase: Sequence[int], part: Sequence[int]) -> bool:
    """Whether the tokens of `part` stand in `phrase` side by side."""
    return any(list(phrase[at : at + len(part)]) == list(part) for at in range(len(phrase) - len(part) + 1))
