"""From text to arrays and back: all that a trained model does around its engine. Imports no torch.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from suguk.config import Config, PredictConfig
from suguk.errors import UserError
from suguk.fields import UNK, TextField
from suguk.predictor import LONGEST_TEXT, Attention, Hypothesis, Prediction, Score

FIRST_CHUNK, LARGEST_CHUNK = 16, 2048  # sources that `stream` reads ahead: few at first, for an early answer

Ids = NDArray[np.int64]
Reals = NDArray[np.float32]


class Found(NamedTuple):
    """Hypotheses of each row, best first: finished ones by score, then unfinished ones. Empty seats score −inf."""

    tokens: Ids  # [B, K, T] with `<pad>` after the end
    token_scores: Reals  # [B, K, T] log p of each token
    log_probs: Reals  # [B, K] their sum
    scores: Reals  # [B, K] log probability over length penalty
    lengths: Ids  # [B, K] tokens, `<eos>` included
    finished: NDArray[np.bool_]  # [B, K] ended with `<eos>`


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

    @property
    def attends(self) -> bool:
        """Whether there is attention to show."""
        return self.config.model.attention != "none"

    @abstractmethod
    def _search(self, source: Ids, lengths: Ids, limits: Ids, options: PredictConfig) -> Found:
        """source: [B, S] ids, padded; lengths: [B]; limits: [B], most tokens of each row's outputs."""

    @abstractmethod
    def _force(self, source: Ids, lengths: Ids, target: Ids, *, attention: bool) -> Forced:
        """source: [B, S] ids, padded; lengths: [B]; target: [B, T] ids ending in `<eos>`, padded.

        attention: whether the weights are wanted; else they may be of no steps.
        """

    def predict(
        self, sources: Sequence[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> list[Prediction]:
        """See `Predictor.predict`. UserError for a source of over 20,000 characters, or attention a model has not."""
        return list(self._stream(sources, options, attention=attention, first=LARGEST_CHUNK))

    def stream(
        self, sources: Iterable[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> Iterator[Prediction]:
        """See `Predictor.stream`."""
        return self._stream(sources, options, attention=attention, first=FIRST_CHUNK)

    def _stream(
        self, sources: Iterable[str], options: PredictConfig | None, *, attention: bool, first: int
    ) -> Iterator[Prediction]:
        """first: how many sources to read before the first answer."""
        options = options or self.config.predict
        if attention and not self.attends:
            raise UserError(
                "this model has no attention to show",
                where="model.attention = none",
                hint="train one with attention",
            )
        incoming, size, before = iter(sources), first, 0
        while chunk := list(islice(incoming, size)):
            yield from self._chunk(chunk, before, options, attention)
            before += len(chunk)
            size = min(2 * size, LARGEST_CHUNK)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
        """Forced decoding: log p(target | source), token by token (Cho 2014 §3.1 ranks phrase pairs by it)."""
        if len(sources) != len(targets):
            raise UserError(f"as many targets as sources are needed, found {len(targets)} and {len(sources)}")
        source_ids, target_ids = self._encode(sources), self.target.encode_batch(targets)
        scores: dict[int, Score] = {}
        longest = [max(len(a), len(b)) for a, b in zip(source_ids, target_ids, strict=True)]
        for rows in _batches(source_ids, longest, self.config.predict.batch_tokens):
            wanted = [target_ids[i] for i in rows.places]
            given = *self.source.collate(rows.ids), self.target.collate(wanted)[0]
            forced = self._force(*given, attention=False)
            for i, ids, values in zip(rows.places, wanted, forced.log_probs, strict=True):
                token_scores = tuple(values[: len(ids)].tolist())
                scores[i] = Score(float(sum(token_scores)), tuple(self.target.tokens(ids)), token_scores)
        return [scores[i] for i in range(len(sources))]

    def _encode(self, sources: Sequence[str], before: int = 0) -> list[NDArray[np.int32]]:
        for number, text in enumerate(sources, start=before + 1):
            if len(text) > LONGEST_TEXT:
                raise UserError(
                    f"source {number:,} has {len(text):,} characters; at most {LONGEST_TEXT:,} are decoded",
                    hint="split it into sentences, one a line",
                )
        return list(self.source.encode_batch(sources))

    def _chunk(
        self, sources: list[str], before: int, options: PredictConfig, attention: bool
    ) -> list[Prediction]:
        """before: how many sources earlier chunks had."""
        ids = self._encode(sources, before)
        answers: dict[int, Prediction] = {}
        for rows in _batches(ids, [len(x) * options.beam for x in ids], options.batch_tokens):
            texts = [sources[i] for i in rows.places]
            answers.update(zip(rows.places, self._answer(rows, texts, options, attention), strict=True))
        return [answers[i] for i in range(len(sources))]

    def _answer(
        self, rows: _Rows, texts: list[str], options: PredictConfig, attention: bool
    ) -> Iterator[Prediction]:
        source, lengths = self.source.collate(rows.ids)
        limits = np.minimum(10 * lengths + 50, options.max_length)
        found = self._search(source, lengths, limits, options)
        weights = [
            self._weights(source, lengths, found, rank, options, attention)
            for rank in range(found.tokens.shape[1])
        ]
        for b, (text, ids) in enumerate(zip(texts, rows.ids, strict=True)):
            row = Found(*(part[b] for part in found))
            yield self._prediction(text, ids, row, [of.get(b) for of in weights], options, attention)

    def _weights(
        self,
        source: Ids,
        lengths: Ids,
        found: Found,
        rank: int,
        options: PredictConfig,
        attention: bool,
    ) -> dict[int, Reals]:
        """Attention [T, S] of the outputs of this rank, by forced decoding, for the rows where anything needs it."""
        tokens = found.tokens[:, rank]
        listed = rank == 0 or options.n_best > 1  # of equal outputs a lower rank may take the place
        wanted = np.full(len(tokens), attention and rank == 0)
        if listed and self._replaces(options):
            wanted |= (tokens == UNK).any(axis=1)
        places = np.flatnonzero(wanted)
        if not len(places):
            return {}
        longest = max(int(found.lengths[places, rank].max()), 1)
        forced = self._force(source[places], lengths[places], tokens[places, :longest], attention=True)
        return dict(zip(places.tolist(), forced.weights, strict=True))

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
        n_best: dict[str, Hypothesis] = {}  # of two tokenisations of one text the better one stays
        for rank in range(len(found.scores)):
            if len(n_best) == options.n_best or found.log_probs[rank] == -np.inf:
                break
            hypothesis = self._hypothesis(found, rank, text, weights[rank])
            n_best.setdefault(hypothesis.output, hypothesis)
        best = next(iter(n_best.values()))
        shown = None
        if attention and weights[0] is not None:
            length = int(found.lengths[0])
            shown = Attention(
                source_tokens=tuple(self.source.tokens(source_ids)),
                target_tokens=tuple(self.target.tokens(found.tokens[0, :length].tolist())),
                weights=weights[0][:length, : len(source_ids)],
            )
        return Prediction(**vars(best), source=text, n_best=tuple(n_best.values()), attention=shown)

    def _hypothesis(self, found: Found, rank: int, source: str, weights: Reals | None) -> Hypothesis:
        finished = bool(found.finished[rank])
        length = int(found.lengths[rank])
        ids = found.tokens[rank, :length].tolist()
        words = ids[:-1] if finished else ids
        return Hypothesis(
            output=self.target.decode(words) if weights is None else self._replaced(words, source, weights),
            score=float(found.scores[rank]),
            log_prob=float(found.log_probs[rank]),
            tokens=tuple(self.target.tokens(words)),
            token_scores=tuple(found.token_scores[rank, :length].tolist()),
            finished=finished,
        )

    def _replaced(self, words: list[int], source: str, weights: Reals) -> str:
        """Unknown words by the most attended source word (Luong 2015 §4, after Jean 2015)."""
        originals = self.source.split(source)
        if UNK not in words or not originals:
            return self.target.decode(words)
        looked_at = weights[: len(words), : len(originals)].argmax(-1).tolist()
        pieces = self.target.pieces(words)
        return self.target.join(
            [
                originals[at] if word == UNK else piece
                for word, at, piece in zip(words, looked_at, pieces, strict=True)
            ]
        )


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
