"""From text to arrays and back: all that a trained model does around its engine. Imports no torch.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from suguk import agreement, asking, incoming
from suguk.asking import Given, Ids, Reals, Tokens
from suguk.config import Config, PredictConfig
from suguk.copying import Copied, as_copied, copier
from suguk.errors import UserError
from suguk.fields import UNK, TextField
from suguk.predictor import Attention, Constraint, Constraints, Hypothesis, Prediction, Score

FIRST_CHUNK, LARGEST_CHUNK = 16, 2048  # sources that `stream` reads ahead: few at first, for an early answer


class Found(NamedTuple):
    """Hypotheses of each row, best first: finished ones by score, then unfinished ones. Empty seats score −inf."""

    tokens: Ids  # [B, K, T] with `<pad>` after the end
    token_scores: Reals  # [B, K, T] log p of each token
    log_probs: Reals  # [B, K] their sum
    scores: Reals  # [B, K] log probability over length penalty
    lengths: Ids  # [B, K] tokens, `<eos>` included
    finished: NDArray[np.bool_]  # [B, K] ended with `<eos>`
    said: Ids  # [B, K, U] words as they were chosen, in no order; U: T where groups are asked for, else 0


class Forced(NamedTuple):
    """Given targets under the model."""

    log_probs: Reals  # [B, T] log p of each token; padding counts for nothing
    weights: Reals  # [B, T, S] attention, zero without it


class _Rows(NamedTuple):
    """One batch of a chunk: where its rows stand in the chunk, and their token ids."""

    places: list[int]
    ids: list[NDArray[np.int32]]


class TextPredictor(ABC):
    """Satisfies `suguk.predictor.Predictor`; what computes is left to `_search` and `_force`."""

    def __init__(self, config: Config, source: TextField, target: TextField) -> None:
        self.config, self.source, self.target = config, source, target
        self.copier = copier(config, source, target)

    @property
    def attends(self) -> bool:
        """Whether there is attention to show."""
        return self.config.model.attention != "none"

    @abstractmethod
    def _search(self, given: Given) -> Found:
        """given: what is asked, see `asking`."""

    @abstractmethod
    def _contexts(self, source: Ids) -> tuple[Reals, Reals]:
        """source: [B, S] ids, padded. The context vectors and the means of the encoder's states, [B, C] each."""

    @abstractmethod
    def _force(
        self, source: Ids, lengths: Ids, target: Ids, copies: Ids | None, *, attention: bool
    ) -> Forced:
        """source: [B, S] ids, padded; lengths: [B]; target: [B, T] ids ending in `<eos>`, padded.

        copies: [B, S] where the model copies, see `copying`; attention: whether the weights are wanted, else they may
        be of no steps.
        """

    def predict(
        self,
        sources: Sequence[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> list[Prediction]:
        """See `Predictor.predict`. UserError for a source of over 20,000 characters, or what a model cannot do."""
        return list(self._stream(sources, options, attention, constraints, skip_unmet, LARGEST_CHUNK))

    def stream(
        self,
        sources: Iterable[str],
        options: PredictConfig | None = None,
        *,
        attention: bool = False,
        constraints: Constraints = None,
        skip_unmet: bool = False,
    ) -> Iterator[Prediction]:
        """See `Predictor.stream`."""
        return self._stream(sources, options, attention, constraints, skip_unmet, FIRST_CHUNK)

    def _stream(
        self,
        sources: Iterable[str],
        options: PredictConfig | None,
        attention: bool,
        constraints: Constraints,
        skip_unmet: bool,
        first: int,
    ) -> Iterator[Prediction]:
        """first: how many sources to read before the first answer."""
        options = self.config.predict if options is None else asking.checked(options)
        if attention or options.coverage_penalty:
            self._check_attention()
        agreement.check(options.mbr)
        coming, size, before = incoming.stream(sources), first, 0
        same = constraints is None or isinstance(constraints, Constraint)
        asked: Iterator[Tokens]
        if constraints is None or isinstance(constraints, Constraint):
            asked = repeat(self._asked(constraints, options))
        else:
            asked = (self._asked(one, options) for one in constraints)
        while chunk := list(islice(coming, size)):
            of_chunk = list(islice(asked, len(chunk)))
            for one in self._chunk(chunk[: len(of_chunk)], of_chunk, before, options, attention):
                before += 1
                if one.problem and not skip_unmet:
                    raise UserError(one.problem, where=f"source {before:,}", hint="ask for less")
                yield one
            if len(of_chunk) < len(chunk):
                raise asking.too_few_constraints(before)
            size = min(2 * size, LARGEST_CHUNK)
        if not same and next(asked, None) is not None:
            raise asking.too_many_constraints(before)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
        """Forced decoding: log p(target | source), token by token (Cho 2014 §3.1 ranks phrase pairs by it)."""
        scores: dict[int, Score] = {}
        sources, targets = incoming.several(sources), incoming.several(targets)
        for rows, wanted, forced in self._forced(sources, targets, attention=False):
            for i, source, ids, values in zip(rows.places, rows.ids, wanted, forced.log_probs, strict=True):
                token_scores = tuple(values[: len(ids)].tolist())
                tokens = self._tokens(ids, source, sources[i])
                scores[i] = Score(float(sum(token_scores)), tokens, token_scores)
        return [scores[i] for i in range(len(sources))]

    def attend(self, sources: Sequence[str], targets: Sequence[str]) -> list[Attention]:
        """Attention of forced decoding: where the model looks while it is given each token of the target."""
        self._check_attention()
        found: dict[int, Attention] = {}
        sources, targets = incoming.several(sources), incoming.several(targets)
        for rows, wanted, forced in self._forced(sources, targets, attention=True):
            for i, source, target, weights in zip(rows.places, rows.ids, wanted, forced.weights, strict=True):
                found[i] = Attention(
                    source_tokens=as_copied(self.source, self.copier, source, sources[i]),
                    target_tokens=self._tokens(target, source, sources[i]),
                    weights=weights[: len(target), : len(source)],
                )
        return [found[i] for i in range(len(sources))]

    def _forced(
        self, sources: Sequence[str], targets: Sequence[str], *, attention: bool
    ) -> Iterator[tuple[_Rows, list[list[int]], Forced]]:
        """Batches of sources, the ids of their targets, and what the model says of them."""
        if len(sources) != len(targets):
            raise UserError(f"as many targets as sources are needed, found {len(targets)} and {len(sources)}")
        source_ids, target_ids = (
            incoming.ids(field, texts, what)
            for field, texts, what in ((self.source, sources, "source"), (self.target, targets, "target"))
        )
        longest = [max(len(a), len(b)) for a, b in zip(source_ids, target_ids, strict=True)]
        for rows in _batches(source_ids, longest, self.config.predict.batch_tokens):
            source, lengths = self.source.collate(rows.ids)
            (target, sizes), copies = self.target.collate([target_ids[i] for i in rows.places]), None
            if self.copier is not None:
                copies, target = Copied(self.copier, sources, targets)(source, target, rows.places)
            wanted = [row[:size].tolist() for row, size in zip(target, sizes, strict=True)]
            yield rows, wanted, self._force(source, lengths, target, copies, attention=attention)

    def encode(self, sources: Sequence[str], *, mean: bool = False) -> Reals:
        """A vector of each source [N, C]: the context, the encoder's last state (Cho 2014, Sutskever 2014).

        mean: the mean of all its states instead, which says more where attention reads them.
        """
        sources = incoming.several(sources)
        if not sources:  # no vector, of as many numbers
            return self.encode([""], mean=mean)[:0]
        ids = incoming.ids(self.source, sources, "source")
        found: dict[int, Reals] = {}
        for rows in _batches(ids, list(map(len, ids)), self.config.predict.batch_tokens):
            found.update(
                zip(rows.places, self._contexts(self.source.collate(rows.ids)[0])[mean], strict=True)
            )
        return np.stack([found[i] for i in range(len(sources))])

    def _check_attention(self) -> None:
        if not self.attends:
            raise UserError(
                "this model has no attention to show or to count",
                where="model.attention = none",
                hint="train one with attention",
            )

    def _chunk(
        self,
        sources: list[str],
        asked: list[Tokens],
        before: int,
        options: PredictConfig,
        attention: bool,
    ) -> list[Prediction]:
        """before: how many sources earlier chunks had."""
        ids = incoming.ids(self.source, sources, "source", before)
        for number, one in enumerate(asked, start=before + 1):
            asking.check_possible(one, options, number)
        answers: dict[int, Prediction] = {}
        for rows in _batches(ids, [len(x) * options.beam for x in ids], options.batch_tokens):
            texts, wanted = [sources[i] for i in rows.places], [asked[i] for i in rows.places]
            found = self._answer(rows, texts, wanted, options, attention)
            answers.update(zip(rows.places, found, strict=True))
        return [answers[i] for i in range(len(sources))]

    def _answer(
        self,
        rows: _Rows,
        texts: list[str],
        asked: list[Tokens],
        options: PredictConfig,
        attention: bool,
    ) -> Iterator[Prediction]:
        source, lengths = self.source.collate(rows.ids)
        copies = None if self.copier is None else self.copier.copies(source, texts)
        limits = asking.limits(lengths, asked, options)
        found = self._found(source, copies, limits, asked, options)
        weights = [
            self._weights(source, lengths, copies, found, rank, options, attention)
            for rank in range(found.tokens.shape[1])
        ]
        for b, (text, ids) in enumerate(zip(texts, rows.ids, strict=True)):
            row = Found(*(part[b] for part in found))
            if (row.log_probs == -np.inf).all():
                yield Prediction.unmet(text)
            else:
                yield self._prediction(text, ids, row, [of.get(b) for of in weights], options, attention)

    def _found(
        self, source: Ids, copies: Ids | None, limits: Ids, asked: list[Tokens], options: PredictConfig
    ) -> Found:
        """All hypotheses. Groups are searched one after the other: what one says at a step costs those after it."""
        seats = options.beam // options.groups
        words = self.target.size if copies is None else self.target.size + source.shape[1]
        given = asking.search(source, limits, options, seats, words)
        if copies is not None:
            given[asking.COPIES] = copies
        if any(one.prefix for one in asked):
            given["prefix"] = asking.prefixes([one.prefix for one in asked])
        if any(one.banned for one in asked):
            given["banned"] = asking.phrases([one.banned for one in asked], right=True)
        if any(one.required for one in asked):
            given["required"] = asking.phrases([one.required for one in asked], right=False)
        if options.groups == 1:
            return self._search(given)
        given["others"] = np.zeros((len(source), 0, int(limits.max())), np.int64)
        groups = []
        for _ in range(options.groups):
            groups.append(self._search(given))
            given["others"] = np.concatenate([given["others"], groups[-1].said], axis=1)
        whole = [np.concatenate(parts, axis=1) for parts in zip(*groups, strict=True)]
        found = Found(*whole)
        order = np.lexsort((-found.scores, ~found.finished), axis=1)
        return Found(*(part[np.arange(len(order))[:, None], order] for part in whole))

    def _weights(
        self,
        source: Ids,
        lengths: Ids,
        copies: Ids | None,
        found: Found,
        rank: int,
        options: PredictConfig,
        attention: bool,
    ) -> dict[int, Reals]:
        """Attention [T, S] of the outputs of this rank, by forced decoding, for the rows where anything needs it."""
        tokens = found.tokens[:, rank]
        compared = options.mbr != "none"  # any may be the best
        listed = (
            rank == 0 or compared or options.n_best > 1
        )  # of equal outputs a lower rank may take the place
        wanted = np.full(len(tokens), attention and (rank == 0 or compared))
        if listed and self._replaces(options):
            wanted |= (tokens == UNK).any(axis=1)
        places = np.flatnonzero(wanted)
        if not len(places):
            return {}
        longest = max(int(found.lengths[places, rank].max()), 1)
        held = None if copies is None else copies[places]
        target = tokens[places, :longest]
        forced = self._force(source[places], lengths[places], target, held, attention=True)
        return dict(zip(places.tolist(), forced.weights, strict=True))

    def _asked(self, constraint: Constraint | None, options: PredictConfig) -> Tokens:
        found = asking.tokens(constraint, self.target)
        if found.banned and self._replaces(options):  # what stands for `<unk>` could be a banned word
            return found._replace(banned=[*found.banned, [UNK]])
        return found

    def _replaces(self, options: PredictConfig) -> bool:
        words = self.source.kind == "word" and self.target.kind == "word"
        return options.replace_unknown and words and self.attends

    def _prediction(
        self,
        text: str,
        source_ids: NDArray[np.int32],
        found: Found,
        weights: list[Reals | None],
        options: PredictConfig,
        attention: bool,
    ) -> Prediction:
        every = options.mbr != "none"
        n_best: dict[Any, tuple[int, Hypothesis]] = {}
        for rank in range(len(found.scores)):
            if (len(n_best) == options.n_best and not every) or found.log_probs[rank] == -np.inf:
                break
            hypothesis = self._hypothesis(found, rank, text, source_ids, weights[rank])
            # Of two tokenisations of one text the better one stays; samples are all kept, equal ones too.
            n_best.setdefault(rank if options.sample else hypothesis.output, (rank, hypothesis))
        listed = list(n_best.values())
        if every:
            listed = agreement.ranked(listed, options.mbr, alike=options.sample)
        first, best = listed[0]
        shown, looked = None, weights[first]
        if attention and looked is not None:
            length = int(found.lengths[first])
            shown = Attention(
                source_tokens=as_copied(self.source, self.copier, source_ids, text),
                target_tokens=self._tokens(found.tokens[first, :length].tolist(), source_ids, text),
                weights=looked[:length, : len(source_ids)],
            )
        return Prediction(
            **vars(best),
            source=text,
            n_best=tuple(one for _, one in listed[: options.n_best]),
            attention=shown,
        )

    def _hypothesis(
        self, found: Found, rank: int, source: str, source_ids: NDArray[np.int32], weights: Reals | None
    ) -> Hypothesis:
        finished = bool(found.finished[rank])
        length = int(found.lengths[rank])
        ids = found.tokens[rank, :length].tolist()
        words = ids[:-1] if finished else ids
        pieces = self._pieces(words, source_ids, source)
        if weights is not None:
            pieces = self._replaced(words, pieces, source, weights)
        return Hypothesis(
            output=self.target.join(pieces),
            score=float(found.scores[rank]),
            log_prob=float(found.log_probs[rank]),
            tokens=self._tokens(words, source_ids, source),
            token_scores=tuple(found.token_scores[rank, :length].tolist()),
            finished=finished,
        )

    def _pieces(self, ids: Sequence[int], source: NDArray[np.int32], text: str) -> list[str]:
        """Vocabulary entries of a target; where the model copies, the source's own pieces too."""
        return self.target.pieces(ids) if self.copier is None else self.copier.pieces(ids, source, text)

    def _tokens(self, ids: Sequence[int], source: NDArray[np.int32], text: str) -> tuple[str, ...]:
        return tuple(self.target.shown(self._pieces(ids, source, text)))

    def _replaced(self, words: list[int], pieces: list[str], source: str, weights: Reals) -> list[str]:
        """Unknown words by the most attended source word (Luong 2015 §4, after Jean 2015)."""
        originals = self.source.split(source)
        if UNK not in words or not originals:
            return pieces
        looked_at = weights[: len(words), : len(originals)].argmax(-1).tolist()
        return [
            originals[at] if word == UNK else piece
            for word, at, piece in zip(words, looked_at, pieces, strict=True)
        ]


def _batches(ids: Sequence[Any], costs: Sequence[int], budget: int) -> Iterator[_Rows]:
    """Rows sorted by cost, cut so that rows × highest cost stays within the budget."""
    index: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: costs[i]):
        if index and (len(index) + 1) * costs[i] > budget:
            yield _Rows(index, [ids[j] for j in index])
            index = []
        index.append(i)
    if index:
        yield _Rows(index, [ids[j] for j in index])
