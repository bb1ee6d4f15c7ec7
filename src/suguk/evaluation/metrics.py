"""Corpus metrics of free-running outputs against one or more references for each source.

All scores are in percent and carry a signature, so that a number can be compared with another. BLEU
(Papineni et al. 2002), chrF (Popović 2015) and TER (Snover et al. 2006) are sacrebleu's (Post 2018). The
others are ours, on text in NFC without spaces around it:

- `exact`: outputs equal to one of their references;
- `cer`, `wer`, `per`: Levenshtein distance over characters, words and symbols; edits of the whole corpus
  divided by the length of its references, so above 100 is possible. Of several references the one with the
  lowest rate counts.

`wer` and `per` both split at spaces: `per` is for targets of symbols (phonemes, actions) and keeps their
case, which may tell symbols apart. Papers on pronunciation call `per` phoneme error rate, and `100 - exact`
(outputs that are wrong anywhere) the word error rate.
"""

import difflib
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, cast

from suguk.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

METRICS = ("bleu", "chrf", "ter", "exact", "cer", "wer", "per")
LABELS = {
    "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "exact": "exact", "cer": "CER", "wer": "WER", "per": "PER",
    "perplexity": "perplexity",
}  # fmt: skip
TOKENIZE = ("13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab")
_RISING = ("bleu", "chrf", "exact")


@dataclass(frozen=True)
class MetricValue:
    """score: percent; signature: what is needed to repeat it, as `NAME|key:value|…`."""

    score: float
    signature: str


def better(name: str) -> int:
    """+1 if higher is better, -1 if lower is. `name`: one of METRICS, or "perplexity"; else UserError."""
    if name not in LABELS:
        raise _unknown("metric", name, tuple(LABELS))
    return 1 if name in _RISING else -1


def corpus(
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
    effective_order: bool = False,
) -> dict[str, MetricValue]:
    """The metrics `names` of `outputs`, in the order of `names`.

    references: for each output one or more references, their number may vary; they and the outputs are compared in
    Unicode's form NFC. lowercase: compare without case (all but `per`). tokenize: sacrebleu's tokenisation for BLEU;
    "none" for text that is tokenised already.
    effective_order: BLEU of texts under four words counts the n-grams that exist instead of being 0.
    Raises UserError for an unknown metric or tokenisation, different counts, no output, or no reference.
    """
    for name in names:
        if name not in METRICS:
            raise _unknown("metric", name, METRICS)
    if tokenize not in TOKENIZE:
        raise _unknown("tokenisation of BLEU", tokenize, TOKENIZE)
    check_counts(len(outputs), "outputs", references)
    outputs, references = _nfc(outputs), list(map(_nfc, references))
    values = {}
    for name in names:
        if name in ("bleu", "chrf", "ter"):
            metric = _sacrebleu(name, lowercase=lowercase, tokenize=tokenize, effective_order=effective_order)
            values[name] = _standard(metric, outputs, references)
        else:
            values[name] = _own(name, outputs, references, lowercase=lowercase and name != "per")
    return values


def check_counts(count: int, what: str, references: Sequence[Sequence[str]]) -> None:
    """UserError unless there is something to evaluate, with at least one reference each."""
    if count != len(references):
        raise UserError(
            f"expected references for each of {count:,} {what}, found references for {len(references):,}",
            hint="check that both files have the same number of lines",
        )
    if count == 0:
        raise UserError(f"nothing to evaluate: found no {what}", hint="is the data file empty?")
    for row, group in enumerate(references, start=1):
        if isinstance(group, str) or len(group) == 0:
            raise UserError(f"expected a list of one or more references for number {row:,}, found {group!r}")


def sentence_chrf(
    outputs: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool = False
) -> list[float]:
    """chrF of each output alone, in percent; what examples are ordered by."""
    metric = _sacrebleu("chrf", lowercase=lowercase)
    return [
        float(metric.sentence_score(output, _nfc(group)).score)
        for output, group in zip(_nfc(outputs), references, strict=True)
    ]


def _nfc(texts: Sequence[str]) -> list[str]:
    """As tokenizers have them: what Unicode calls equal is equal, composed or not."""
    return [unicodedata.normalize("NFC", text) for text in texts]


def _unknown(what: str, name: str, known: Sequence[str]) -> UserError:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]}?" if near else None
    return UserError(f"unknown {what} {name!r}, expected one of: {', '.join(known)}", hint=hint)


def _sacrebleu(
    name: str, *, lowercase: bool, tokenize: str = "13a", effective_order: bool = False
) -> "Metric":
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ImportError:
        raise MissingExtra("sacrebleu", "train", f"the metric {name}") from None
    if name == "chrf":
        return CHRF(lowercase=lowercase)
    if name == "ter":
        return TER(case_sensitive=not lowercase)
    try:
        return BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=effective_order, force=True)
    except (ImportError, RuntimeError):
        raise UserError(
            f"tokenisation {tokenize} of BLEU needs more packages",
            hint=f"pip install 'sacrebleu[{tokenize[:2]}]'",
        ) from None


def _standard(metric: "Metric", outputs: Sequence[str], references: Sequence[Sequence[str]]) -> MetricValue:
    most = max(len(group) for group in references)
    # A missing reference is None to sacrebleu, as its documentation says and its annotation does not.
    streams = [[group[k] if k < len(group) else None for group in references] for k in range(most)]
    result = metric.corpus_score(list(outputs), cast(list[list[str]], streams))
    return MetricValue(float(result.score), f"{result.name}|{metric.get_signature()}")


def _own(
    name: str, outputs: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool
) -> MetricValue:
    def clean(text: str) -> str:
        return text.strip().lower() if lowercase else text.strip()

    cleaned = [clean(output) for output in outputs]
    groups = [[clean(reference) for reference in group] for group in references]
    if name == "exact":
        score = 100 * sum(map(list.__contains__, groups, cleaned)) / len(cleaned)
    else:
        score = _error_rate(cleaned, groups, list if name == "cer" else str.split)
    counts = {len(group) for group in references}
    nrefs = str(counts.pop()) if len(counts) == 1 else "var"
    case = "lc" if lowercase else "mixed"
    version = metadata.version("suguk")
    return MetricValue(score, f"{name}|nrefs:{nrefs}|case:{case}|norm:nfc|version:suguk {version}")


def _error_rate(
    outputs: Sequence[str], references: Sequence[Sequence[str]], split: Callable[[str], list[str]]
) -> float:
    """100 · edits / length of the references; of a source's references the one with the lowest rate."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise MissingExtra("rapidfuzz", "train", "an error rate") from None
    edits = length = 0
    for output, group in zip(outputs, references, strict=True):
        tokens = split(output)
        counted = [(Levenshtein.distance(tokens, symbols), len(symbols)) for symbols in map(split, group)]
        wrong, symbols_there = min(counted, key=_rate)
        edits += wrong
        length += symbols_there
    return 100 * (edits / length if length else float(edits > 0))


def _rate(counts: tuple[int, int]) -> float:
    """Edits / length; without any symbol in the reference 0 for an empty output, else worse than anything."""
    edits, length = counts
    return edits / length if length else (math.inf if edits else 0.0)
