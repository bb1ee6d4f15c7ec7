"""A trained model on PyTorch: the `Predictor` that answers from settings, fields and weights.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from suguk.config import Config, PredictConfig
from suguk.errors import UserError
from suguk.fields import UNK, TextField
from suguk.model import Memory, Seq2Seq, build
from suguk.predictor import LONGEST_TEXT, Attention, Hypothesis, Prediction, Score
from suguk.run_directory import read_static, read_weights
from suguk.search import Found, search

FIRST_CHUNK, LARGEST_CHUNK = 16, 2048  # sources that `stream` reads ahead: few at first, for an early answer


class _Rows(NamedTuple):
    """One batch of a chunk: where its rows stand in the chunk, and their token ids."""

    places: list[int]
    ids: list[np.ndarray[Any, np.dtype[np.int32]]]


class TrainedModel:
    """Fields, settings and weights; satisfies `suguk.predictor.Predictor`."""

    def __init__(
        self, config: Config, source: TextField, target: TextField, model: Seq2Seq, device: str | None = None
    ) -> None:
        self.config, self.source, self.target = config, source, target
        self.device = torch.device(device or "cpu")
        self.model = model.to(self.device)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "TrainedModel":
        """The best model of a run directory. ModelError says which file is missing, damaged or newer, and the cure."""
        folder = Path(path)
        config, source, target = read_static(folder)
        model = build(config.model, source.size, target.size, seed=0)
        read_weights(folder, model)
        return cls(config, source, target, model.eval(), pick_device(device))

    def predict(
        self, sources: Sequence[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> list[Prediction]:
        """See `Predictor.predict`. UserError for a source of over 20,000 characters, or attention a model has not."""
        return list(self.stream(sources, options, attention=attention))

    def stream(
        self, sources: Iterable[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> Iterator[Prediction]:
        """See `Predictor.stream`."""
        options = options or self.config.predict
        if attention and self.model.decoder.attention is None:
            raise UserError(
                "this model has no attention to show",
                where="model.attention = none",
                hint="train one with attention",
            )
        incoming, size, before = iter(sources), FIRST_CHUNK, 0
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
        longest = [np.maximum(len(a), len(b)) for a, b in zip(source_ids, target_ids, strict=True)]
        for rows in _batches(source_ids, longest, self.config.predict.batch_tokens):
            wanted = [target_ids[i] for i in rows.places]
            for i, ids, values in zip(rows.places, wanted, self._forced(rows, wanted), strict=True):
                token_scores = tuple(values[: len(ids)].tolist())
                scores[i] = Score(float(sum(token_scores)), tuple(self.target.tokens(ids)), token_scores)
        return [scores[i] for i in range(len(sources))]

    def _encode(self, sources: Sequence[str], before: int = 0) -> list[Any]:
        for number, text in enumerate(sources, start=before + 1):
            if len(text) > LONGEST_TEXT:
                raise UserError(
                    f"source {number:,} has {len(text):,} characters; at most {LONGEST_TEXT:,} are decoded",
                    hint="split it into sentences, one a line",
                )
        return list(self.source.encode_batch(sources))

    def _forced(self, rows: _Rows, targets: list[Any]) -> Tensor:
        with self._answering():
            padded, _ = self.target.collate(targets)
            log_probs, _ = self.model.log_probs(*self._source(rows), torch.from_numpy(padded).to(self.device))
            return log_probs.cpu()

    def _answering(self) -> "_Answering":
        return _Answering(self.model)

    def _source(self, rows: _Rows) -> tuple[Tensor, Tensor]:
        padded, lengths = self.source.collate(rows.ids)
        return torch.from_numpy(padded).to(self.device), torch.from_numpy(lengths).to(self.device)

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
    ) -> list[Prediction]:
        with self._answering():
            memory = self.model.encode(*self._source(rows))
            lengths = [min(options.max_length, 10 * len(ids) + 50) for ids in rows.ids]
            limits = torch.tensor(lengths, device=self.device)
            frame = torch.zeros(options.beam, max(lengths), device=self.device, dtype=memory.values.dtype)
            found = search(
                self.model, memory, limits, frame, alpha=options.length_penalty, penalty=options.penalty
            )
            weights = self._weights(found, memory, options, attention)
        return [
            self._prediction(
                text, ids, _row(found, b), [None if w is None else w[b] for w in weights], options, attention
            )
            for b, (text, ids) in enumerate(zip(texts, rows.ids, strict=True))
        ]

    def _weights(
        self, found: Found, memory: Memory, options: PredictConfig, attention: bool
    ) -> list[Tensor | None]:
        """Attention of each rank's outputs [B, T, S], by forced decoding, where anything needs it."""
        replaces = self._replaces(options)
        weights: list[Tensor | None] = []
        for rank in range(found.tokens.shape[1]):
            tokens = found.tokens[:, rank]
            listed = rank == 0 or options.n_best > 1  # of equal outputs a lower rank may take the place
            wanted = (attention and rank == 0) or (replaces and listed and bool((tokens == UNK).any()))
            weights.append(self.model.force(memory, tokens)[1].cpu() if wanted else None)
        return weights

    def _replaces(self, options: PredictConfig) -> bool:
        words = self.source.kind == "word" and self.target.kind == "word"
        return options.replace_unknown and words and self.model.decoder.attention is not None

    def _prediction(
        self,
        text: str,
        source_ids: Any,
        found: Found,
        weights: list[Tensor | None],
        options: PredictConfig,
        attention: bool,
    ) -> Prediction:
        n_best: dict[str, Hypothesis] = {}  # of two tokenisations of one text the better one stays
        for rank in range(len(found.scores)):
            if len(n_best) == options.n_best or found.log_probs[rank] == -torch.inf:
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
                weights=weights[0][:length, : len(source_ids)].float().numpy(),
            )
        return Prediction(**vars(best), source=text, n_best=tuple(n_best.values()), attention=shown)

    def _hypothesis(self, found: Found, rank: int, source: str, weights: Tensor | None) -> Hypothesis:
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

    def _replaced(self, words: list[int], source: str, weights: Tensor) -> str:
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


class _Answering:
    """Inference mode with dropout off; puts the model back as it was."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model, self.training = model, model.training
        self.mode = torch.inference_mode()

    def __enter__(self) -> None:
        self.model.eval()
        self.mode.__enter__()

    def __exit__(self, *fault: Any) -> None:
        self.mode.__exit__(*fault)
        self.model.train(self.training)


def _row(found: Found, b: int) -> Found:
    return Found(*(part[b].cpu() for part in found))


def _batches(ids: list[Any], costs: Sequence[int], budget: int) -> Iterator[_Rows]:
    """Rows sorted by cost, cut so that rows × highest cost stays within the budget."""
    index: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: costs[i]):
        if index and (len(index) + 1) * costs[i] > budget:
            yield _Rows(index, [ids[j] for j in index])
            index = []
        index.append(i)
    if index:
        yield _Rows(index, [ids[j] for j in index])


def pick_device(name: str) -> str:
    """auto: the GPU if there is one. UserError where a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", where=f"device {name}", hint="use --device cpu or auto"
        )
    try:
        torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}", hint="auto, cpu, cuda or cuda:N") from None
    return name
