"""`suguk score`: how probable given targets are."""

import math
from typing import TYPE_CHECKING

from suguk.cli import streams, values
from suguk.cli.faults import say

if TYPE_CHECKING:
    from suguk.predictor import Score

_AT_ONCE = 512  # pairs; lines come out while later ones are computed


def score(
    model: values.Model,
    data: values.Data,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    jsonl: values.Jsonl = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
    quiet: values.Quiet = False,
) -> None:
    """Say how probable the targets of DATA are, given their sources.

    One line for each pair: natural log probability of the target, a tab, its perplexity.
    The end of the target counts as a token. What --skip-bad leaves out has no line (--jsonl: see `line`).
    The perplexity of the whole goes to standard error.

    \b
    Examples:
      suguk score runs/es-en test.tsv
      suguk score runs/es-en test.es test.en --jsonl
      suguk score runs/es-en test.es test.en | paste - test.es test.en | sort -g | head
    """
    values.check_paths(data)
    loaded = values.open_model(model, device, engine, threads)
    pairs = values.read_pairs(
        data, source, target, header, of=loaded.config.data, skip_bad=skip_bad, quiet=quiet
    )
    total, tokens = 0.0, 0
    for rows in streams.chunks(range(len(pairs)), _AT_ONCE):
        scores = loaded.score([pairs.sources[row] for row in rows], [pairs.targets[row] for row in rows])
        for row, found in zip(rows, scores, strict=True):
            _write(pairs.lines[row], found, jsonl=jsonl)
            total += found.log_prob
            tokens += len(found.token_scores)
    if not quiet:
        say(
            f"{len(pairs):,} pairs, {tokens:,} tokens, log probability {total:.2f}, "
            f"perplexity {_perplexity(total, tokens):.4f}"
        )


def _write(number: int, found: "Score", *, jsonl: bool) -> None:
    perplexity = _perplexity(found.log_prob, len(found.token_scores))
    if not jsonl:
        streams.write_line(f"{found.log_prob:.4f}", f"{perplexity:.4f}")
        return
    streams.write_json(
        {
            "line": number,
            "log_prob": found.log_prob,
            "perplexity": perplexity if math.isfinite(perplexity) else None,
            "tokens": found.tokens,
            "token_scores": found.token_scores,
        }
    )


def _perplexity(log_prob: float, tokens: int) -> float:
    try:
        return math.exp(-log_prob / tokens) if tokens else 1.0
    except OverflowError:
        return math.inf
