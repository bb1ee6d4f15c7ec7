"""Validation: the score of free-running greedy decoding, and the loss of teacher forcing on the pairs."""

import json
import math
import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from suguk.config import Config, PredictConfig
from suguk.copying import copied
from suguk.data.batch import Dataset, Rows, Sampler
from suguk.data.read import Pairs, references
from suguk.errors import UserError, is_full
from suguk.evaluation import metrics
from suguk.fields import TextField
from suguk.trained import TrainedModel
from suguk.training.move import to_device

TIMED = 64  # sources decoded to guess what the first validation will take


class Example(NamedTuple):
    source: str
    target: str
    output: str


class Validation(NamedTuple):
    """loss: nats per real target token, teacher forcing; score: of `metric`, percent but for perplexity."""

    metric: str
    score: float
    loss: float
    seconds: float
    example: Example

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)

    def text(self) -> str:
        """For another process."""
        return json.dumps(self._asdict())

    @classmethod
    def parse(cls, text: str) -> "Validation":
        values = json.loads(text)
        return cls(**values | {"example": Example(*values["example"])})


def perplexity(loss: float) -> float:
    """exp(loss), infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def metric_name(config: Config, target: TextField) -> str:
    """What `train.valid_metric` = auto stands for."""
    if config.train.valid_metric != "auto":
        return config.train.valid_metric
    return "exact" if target.kind in ("char", "symbols") else "chrf"


class Validator:
    """At most `train.valid_samples` sources with all their references: a choice fixed by the seed."""

    def __init__(self, config: Config, source: TextField, target: TextField, pairs: Pairs) -> None:
        self.config, self.metric = config, metric_name(config, target)
        sources, grouped = references(pairs)
        rows = _chosen(len(sources), config.train.valid_samples, config.train.seed)
        self.sources = [sources[row] for row in rows]
        self.references = [grouped[row] for row in rows]
        flat = [
            (text, one) for text, group in zip(self.sources, self.references, strict=True) for one in group
        ]
        texts, targets = ([pair[side] for pair in flat] for side in (0, 1))
        copies = copied(config, source, target, texts, targets)
        self.dataset = Dataset(source.encode_batch(texts), target.encode_batch(targets), copied=copies)
        lengths = self.dataset.source_lengths, self.dataset.target_lengths
        self.batches = Sampler(*lengths, config.train.batch_tokens, config.train.seed).epoch(0)
        self.options = _greedy(config.predict, int(lengths[1].max()))
        self.shown = int(np.argsort([len(text) for text in self.sources], kind="stable")[len(rows) // 2])

    def __call__(self, trained: TrainedModel) -> Validation:
        start = time.perf_counter()
        loss = self.loss(trained)
        # Perplexity needs no decoding but for the example.
        decoded = [self.sources[self.shown]] if self.metric == "perplexity" else self.sources
        outputs = self._outputs(trained, decoded)
        output = outputs[self.shown if len(outputs) > 1 else 0]
        return Validation(
            metric=self.metric,
            score=self._score(outputs, loss),
            loss=loss,
            seconds=time.perf_counter() - start,
            example=Example(self.sources[self.shown], self.references[self.shown][0], output),
        )

    def _score(self, outputs: list[str], loss: float) -> float:
        if self.metric == "perplexity":
            return perplexity(loss)
        lowercase = self.config.data.lowercase
        return metrics.corpus(outputs, self.references, [self.metric], lowercase=lowercase)[self.metric].score

    def loss(self, trained: TrainedModel) -> float:
        """Mean negative log likelihood of a real target token, in nats; dropout off, no label smoothing."""
        model, device = trained.model, trained.device
        was_training = model.training
        model.eval()
        total, tokens = torch.zeros((), dtype=torch.float64, device=device), 0
        waiting = list(reversed(self.batches))
        with torch.inference_mode():
            while waiting:
                rows = waiting.pop()
                found = self._sum(trained, rows)
                if found is None:  # too much for the memory: in halves
                    waiting += reversed(np.array_split(rows, 2))
                else:
                    total += found[0]
                    tokens += found[1]
        model.train(was_training)
        return float(total) / tokens

    def _sum(self, trained: TrainedModel, rows: Rows) -> tuple[Tensor, int] | None:
        """Negative log likelihood and tokens of a batch; None where it does not fit. UserError for one pair."""
        try:
            found = trained.model.loss(*to_device(self.dataset.batch(rows), trained.device))
        except (RuntimeError, MemoryError) as fault:
            if not is_full(fault):
                raise
            if len(rows) == 1:
                raise _too_large() from None
            return None
        return found.nll, found.tokens

    def _outputs(self, trained: TrainedModel, sources: list[str]) -> list[str]:
        """Greedy outputs, of fewer sources at once where the memory asks for it. UserError if one is too much."""
        while True:
            try:
                return [prediction.output for prediction in trained.predict(sources, self.options)]
            except (RuntimeError, MemoryError) as fault:
                if not is_full(fault):
                    raise
                if self.options.batch_tokens == 1:
                    raise _too_large() from None
            fewer = self.options.batch_tokens // 2  # out here, as the fault holds what was allocated
            self.options = self.options.model_copy(update={"batch_tokens": fewer})

    def guess_seconds(self, trained: TrainedModel) -> float:
        """What a validation will take, from a small part of one; too high rather than too low.

        A model that has learned nothing ends no output, so it decodes up to the bound.
        """
        start = time.perf_counter()
        part = self.sources[:TIMED]
        if self.metric != "perplexity":
            self._outputs(trained, part)
        decoding = (time.perf_counter() - start) * len(self.sources) / len(part)
        start = time.perf_counter()
        self.loss(trained)
        return decoding + time.perf_counter() - start


def _chosen(count: int, most: int, seed: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())


def _greedy(options: PredictConfig, longest: int) -> PredictConfig:
    """The most probable word at each step, whatever else the settings ask of a search."""
    bound = min(options.max_length, math.floor(1.5 * longest) + 10)
    kept = ("batch_tokens", "replace_unknown", "length_ratio")
    return PredictConfig(beam=1, max_length=bound, **{name: getattr(options, name) for name in kept})


def _too_large() -> UserError:
    return UserError(
        "a single validation pair does not fit into the memory",
        where="data.valid",
        hint="leave the longest texts out of the validation data, or train a smaller model",
    )
