"""One evaluation of a model: scores of its outputs, perplexity, speed, and scores by length."""

import math
import statistics
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from suguk.config import PredictConfig
from suguk.evaluation import metrics
from suguk.evaluation.metrics import MetricValue
from suguk.predictor import Prediction, Predictor

DEFAULT = ("bleu", "chrf", "ter", "exact", "cer", "wer")
_GROUPS = 6  # by length
_EXAMPLES = 3  # from each end
_SCORED_AT_ONCE = 4096  # pairs; bounds the memory that their token scores take


@dataclass(frozen=True)
class Group:
    """The sources of one range of lengths. Scores in percent, BLEU with effective order."""

    low: int
    high: int  # inclusive
    count: int
    chrf: float
    bleu: float
    exact: float

    @property
    def label(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}–{self.high}"


@dataclass(frozen=True)
class Example:
    """One source with what the model made of it; chrf: of this output alone, in percent."""

    source: str
    output: str
    references: tuple[str, ...]
    chrf: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    perplexity: exp of the mean negative log probability of a reference's token, `<eos>` included; comparable
    only between models with the same target tokens. seconds: of the search. output_tokens: `<eos>` included.
    unit: "words" or "characters", what source lengths are counted in. examples: lowest chrF first.
    """

    scores: dict[str, MetricValue]
    perplexity: float
    groups: tuple[Group, ...]
    unit: str
    examples: tuple[Example, ...]
    sources: int
    references: int
    unfinished: int
    output_tokens: int
    seconds: float

    @property
    def sentences_per_second(self) -> float:
        return self.sources / max(self.seconds, 1e-9)

    @property
    def tokens_per_second(self) -> float:
        return self.output_tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Plain values only; an infinite perplexity is None, as JSON knows no infinity."""
        plain = asdict(self)
        plain["perplexity"] = self.perplexity if math.isfinite(self.perplexity) else None
        plain["sentences_per_second"] = self.sentences_per_second
        plain["tokens_per_second"] = self.tokens_per_second
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    def text(self) -> str:
        """For people: scores with signatures, scores by source length, worst and best outputs."""
        parts = [self._scores_text(), self._counts_text(), self._groups_text(), self._examples_text()]
        return "\n\n".join(parts)

    def _scores_text(self) -> str:
        rows = [("", "score", "signature (↑ higher is better, ↓ lower)")]
        rows += [(_arrow(name), f"{value.score:.2f}", value.signature) for name, value in self.scores.items()]
        rows.append(
            (_arrow("perplexity"), f"{self.perplexity:.2f}", "per target token of the model, <eos> included")
        )
        return _table(rows, "<><")

    def _counts_text(self) -> str:
        counted = f"{self.sources:,} sources, {self.references:,} references"
        if self.unfinished:
            counted += f"; outputs cut at the maximum length: {self.unfinished:,}"
        speed = f"{self.sentences_per_second:,.1f} sentences/s, {self.tokens_per_second:,.0f} output tokens/s"
        return f"{counted}\n{self.seconds:,.1f} s of search: {speed}"

    def _groups_text(self) -> str:
        rows = [(f"{self.unit} in source", "n", "chrF", "BLEU", "exact")]
        rows += [
            (group.label, f"{group.count:,}", f"{group.chrf:.2f}", f"{group.bleu:.2f}", f"{group.exact:.2f}")
            for group in self.groups
        ]
        return _table(rows, ">>>>>")

    def _examples_text(self) -> str:
        return "\n\n".join(_example_text(example) for example in self.examples)


def evaluate(
    model: Predictor,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    options: PredictConfig | None = None,
    names: Sequence[str] | None = None,
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
    on_prediction: Callable[[Prediction], None] | None = None,
) -> Evaluation:
    """Decode all `sources`, score the outputs, and force the references through the model for its perplexity.

    references: one or more for each source. names: of metrics.METRICS, by default DEFAULT; lowercase and
    tokenize as in metrics.corpus. on_prediction is called with each prediction in input order, for a progress
    display. Raises UserError for an unknown metric or tokenisation and for impossible counts, before anything
    is decoded.
    """
    chosen = DEFAULT if names is None else tuple(dict.fromkeys(names))
    metrics.check_counts(len(sources), "sources", references)
    metrics.corpus(
        [""], [[""]], (*chosen, "bleu", "chrf"), tokenize=tokenize
    )  # of the groups and examples too
    start = time.perf_counter()
    predictions = []
    for prediction in model.stream(sources, options):
        predictions.append(prediction)
        if on_prediction is not None:
            on_prediction(prediction)
    seconds = time.perf_counter() - start
    outputs = [prediction.output for prediction in predictions]
    unit, groups = by_length(sources, outputs, references, lowercase=lowercase, tokenize=tokenize)
    return Evaluation(
        scores=metrics.corpus(outputs, references, chosen, lowercase=lowercase, tokenize=tokenize),
        perplexity=perplexity(model, sources, references),
        groups=groups,
        unit=unit,
        examples=_examples(sources, outputs, references, lowercase=lowercase),
        sources=len(sources),
        references=sum(map(len, references)),
        unfinished=sum(not prediction.finished for prediction in predictions),
        output_tokens=sum(len(prediction.token_scores) for prediction in predictions),
        seconds=seconds,
    )


def perplexity(model: Predictor, sources: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """exp(-sum of log p / number of tokens) over every (source, reference) pair, `<eos>` included."""
    pairs = [(source, target) for source, group in zip(sources, references, strict=True) for target in group]
    log_probs: list[float] = []
    tokens = 0
    for first in range(0, len(pairs), _SCORED_AT_ONCE):
        part = pairs[first : first + _SCORED_AT_ONCE]
        scores = model.score([source for source, _ in part], [target for _, target in part])
        log_probs += [score.log_prob for score in scores]
        tokens += sum(len(score.token_scores) for score in scores)
    try:
        return math.exp(-math.fsum(log_probs) / tokens)
    except OverflowError:
        return math.inf


def by_length(
    sources: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> tuple[str, tuple[Group, ...]]:
    """The unit that source lengths are counted in, and the scores of up to six groups of about equal size.

    Lengths are words, or characters where most sources have no space: single words, scripts without spaces.
    """
    spaced = statistics.fmean(" " in source.strip() for source in sources) > 0.5
    lengths = np.array([len(source.split() if spaced else source.strip()) for source in sources])
    shares = np.arange(1, _GROUPS + 1) / _GROUPS
    edges = np.unique(np.quantile(lengths, shares, method="inverted_cdf"))
    member = np.searchsorted(edges, lengths)
    groups = []
    for k in range(len(edges)):
        rows = np.flatnonzero(member == k).tolist()
        scores = metrics.corpus(
            [outputs[row] for row in rows],
            [references[row] for row in rows],
            ("chrf", "bleu", "exact"),
            lowercase=lowercase,
            tokenize=tokenize,
            effective_order=True,
        )
        low, high = int(lengths[rows].min()), int(edges[k])
        chrf, bleu, exact = (value.score for value in scores.values())
        groups.append(Group(low, high, len(rows), chrf, bleu, exact))
    return ("words" if spaced else "characters"), tuple(groups)


def _examples(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool
) -> tuple[Example, ...]:
    """The worst and the best by sentence chrF, lowest first; of equal ones the longer sources tell more."""
    scores = metrics.sentence_chrf(outputs, references, lowercase=lowercase)
    worst = sorted(range(len(scores)), key=lambda row: (scores[row], -len(sources[row]), row))[:_EXAMPLES]
    best = sorted(range(len(scores)), key=lambda row: (-scores[row], -len(sources[row]), row))[:_EXAMPLES]
    rows = sorted({*worst, *best}, key=lambda row: (scores[row], row))
    return tuple(Example(sources[row], outputs[row], tuple(references[row]), scores[row]) for row in rows)


def _arrow(name: str) -> str:
    return f"{metrics.LABELS[name]} {'↑' if metrics.better(name) > 0 else '↓'}"


def _table(rows: Sequence[Sequence[str]], align: str) -> str:
    """Rows under a line of headings; align: `<` or `>` for each column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def _example_text(example: Example) -> str:
    lines = [f"chrF {example.chrf:6.2f}  source     {_one_line(example.source)}"]
    lines.append(f"{'':11}  output     {_one_line(example.output)}")
    lines += [f"{'':11}  reference  {_one_line(reference)}" for reference in example.references]
    return "\n".join(line.rstrip() for line in lines)


def _one_line(text: str, most: int = 200) -> str:
    shown = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text
    )
    return shown if len(shown) <= most else shown[:most] + "…"
