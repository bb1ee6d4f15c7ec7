"""Beam search as tensor algebra; greedy search is a beam of one.

Shapes: B rows (sources), K seats of the beam, T longest output, V vocabulary.

The search is `begin`, `unfinished`, `advance`, `ranked`: functions of tensors whose shapes never change, so that eager
PyTorch runs them in a Python loop and `torch.while_loop` makes an ONNX `Loop` of the same functions. Therefore no size
here is a Python number taken from outside the carried tensors: K and T are the dimensions of `frame`.

A hypothesis that produces `<eos>` keeps its seat and is never extended; the others share the seats that are left, so
the beam narrows as hypotheses finish (Sutskever 2014 §3.2; Bahdanau 2014). While all live hypotheses have the same
length they compete by log probability; the length penalty only orders the end result.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from suguk.search.step import Memory, State, Stepper, select, spread

PAD, SOS, EOS = 0, 2, 3
KEPT = 1e30  # above every log probability: finished seats are never given away


class Beam(NamedTuple):
    """What the loop carries."""

    step: Tensor  # 0-dim: tokens produced so far
    tokens: Tensor  # [B, K, T] with `<pad>` after the end
    token_scores: Tensor  # [B, K, T] log p of each token
    log_probs: Tensor  # [B, K] sum over the tokens; −inf: an empty seat
    lengths: Tensor  # [B, K] tokens, `<eos>` included
    finished: Tensor  # [B, K] ended with `<eos>`
    last: Tensor  # [B, K] the token to feed next
    state: State


class Found(NamedTuple):
    """Hypotheses of each row, best first: finished ones by score, then unfinished ones. Empty seats score −inf."""

    tokens: Tensor  # [B, K, T]
    token_scores: Tensor  # [B, K, T]
    log_probs: Tensor  # [B, K]
    scores: Tensor  # [B, K] log probability over length penalty
    lengths: Tensor  # [B, K]
    finished: Tensor  # [B, K]


def begin(stepper: Stepper, memory: Memory, limits: Tensor, frame: Tensor) -> Beam:
    """One live, empty hypothesis a row in seat 0. limits: [B], most tokens of each row; frame: [K, T] zeros
    of the type that log probabilities are summed in."""
    tokens = (
        frame.new_zeros((1,), dtype=torch.long)
        + torch.zeros_like(limits)[:, None, None]
        + torch.zeros_like(frame, dtype=torch.long)
    )
    seats = tokens[:, :, 0]
    first = torch.arange(frame.shape[0], device=frame.device) == 0
    log_probs = torch.zeros_like(seats, dtype=frame.dtype).masked_fill(~first, -torch.inf)
    return Beam(
        step=torch.zeros((), dtype=torch.long, device=frame.device),
        tokens=tokens,
        token_scores=torch.zeros_like(tokens, dtype=frame.dtype),
        log_probs=log_probs,
        lengths=torch.zeros_like(seats),
        finished=torch.zeros_like(seats, dtype=torch.bool),
        last=seats + SOS,
        state=spread(stepper.start(memory), seats),
    )


def closed(beam: Beam, limits: Tensor) -> Tensor:
    """[B, K]: seats that are not extended, because the hypothesis is finished or its row's limit is reached."""
    return beam.finished | (beam.step >= limits).unsqueeze(1)


def unfinished(beam: Beam, limits: Tensor) -> Tensor:
    """0-dim: does any row still have something to extend? The only value that a loop must wait for."""
    live = ~closed(beam, limits) & (beam.log_probs > -torch.inf)
    return live.any() & (beam.step < beam.tokens.shape[2])


def advance(stepper: Stepper, beam: Beam, memory: Memory, limits: Tensor) -> Beam:
    """One more token for every live hypothesis; the K best of all candidates take the seats that are free."""
    seats = beam.tokens.shape[1]
    log_p, state = stepper.step(beam.last, beam.state, memory)
    log_p = _never(log_p)
    stays = closed(beam, limits)
    # 1. All candidates of a row, the K best of them: [B, K·V] → [B, K].
    totals = (beam.log_probs.unsqueeze(-1) + log_p).masked_fill(stays.unsqueeze(-1), -torch.inf)
    best, flat = totals.flatten(1).topk(seats, dim=1)
    vocabulary = log_p.shape[2]
    parents, words = flat // vocabulary, flat % vocabulary
    # 2. Seats that stay come first, then the candidates: of 2K claims K are met.
    kept = beam.log_probs.masked_fill(~stays, -torch.inf)
    order = torch.arange(seats, device=best.device)
    keep = torch.where(kept > -torch.inf, KEPT - order * 1e25, -torch.inf)
    claim = torch.cat([keep.to(best.dtype), best], dim=1).topk(seats, dim=1).indices
    old = claim < seats
    choice = (claim - seats).clamp(min=0)
    parent = torch.where(old, claim.clamp(max=seats - 1), parents.gather(1, choice))
    # 3. Everything a hypothesis carries follows its parent; new tokens are written at this step.
    total = torch.where(old, kept.gather(1, parent), best.gather(1, choice))
    grown = ~old & (total > -torch.inf)  # an impossible candidate leaves its seat empty
    word = torch.where(grown, words.gather(1, choice), PAD)
    gained = torch.where(grown, total - beam.log_probs.gather(1, parent), 0.0).to(total.dtype)
    here = (torch.arange(beam.tokens.shape[2], device=best.device) == beam.step) & grown.unsqueeze(-1)
    tokens = torch.where(here, word.unsqueeze(-1), select(beam.tokens, parent))
    scores = torch.where(here, gained.unsqueeze(-1), select(beam.token_scores, parent))
    return Beam(
        step=beam.step + 1,
        tokens=tokens,
        token_scores=scores,
        log_probs=total,
        lengths=beam.lengths.gather(1, parent) + grown.long(),
        finished=(old & beam.finished.gather(1, parent)) | (word == EOS),
        last=word,
        state=select(state, parent),
    )


def _never(log_p: Tensor) -> Tensor:
    """`<pad>` and `<sos>` are never produced."""
    word = torch.arange(log_p.shape[2], device=log_p.device)
    return log_p.masked_fill((word == PAD) | (word == SOS), -torch.inf)


def length_penalty(lengths: Tensor, alpha: Tensor | float, kind: str) -> Tensor:
    """wu: ((5 + |Y|) / 6)^α (Wu et al. 2016, eq. 14); average: |Y|^α. |Y| counts `<eos>`; α = 0: 1."""
    size = lengths.clamp(min=1).to(torch.float32)
    return ((5 + size) / 6) ** alpha if kind == "wu" else size**alpha


def ranked(beam: Beam, alpha: Tensor | float, kind: str) -> Found:
    """The end result, in order of score."""
    scores = beam.log_probs / length_penalty(beam.lengths, alpha, kind).to(beam.log_probs.dtype)
    seats = scores.shape[1]
    by_score = scores.topk(seats, dim=1).indices
    index = torch.arange(seats, device=scores.device)
    ended_first = (beam.finished.gather(1, by_score).long() * seats - index).topk(seats, dim=1).indices
    order = by_score.gather(1, ended_first)
    tokens, token_scores, *rest = (
        select(part, order)
        for part in (beam.tokens, beam.token_scores, beam.log_probs, scores, beam.lengths, beam.finished)
    )
    return Found(tokens, token_scores, *rest)


Loop = Callable[[Callable[[Beam], Tensor], Callable[[Beam], Beam], Beam], Beam]


def eager_loop(condition: Callable[[Beam], Tensor], body: Callable[[Beam], Beam], beam: Beam) -> Beam:
    """`torch.while_loop`, run by Python."""
    while condition(beam):
        beam = body(beam)
    return beam


def search(
    stepper: Stepper,
    memory: Memory,
    limits: Tensor,
    frame: Tensor,
    *,
    alpha: Tensor | float = 0.0,
    penalty: str = "wu",
    loop: Loop = eager_loop,
) -> Found:
    """The K most probable outputs of each row that a beam of K finds.

    limits: [B] most tokens of each row, `<eos>` included, at most T; frame: [K, T] zeros, whose shape sets the beam's
    width and the longest output; loop: how to repeat (`eager_loop`, or `torch.while_loop` behind the same signature).
    """
    beam = loop(
        lambda beam: unfinished(beam, limits),
        lambda beam: advance(stepper, beam, memory, limits),
        begin(stepper, memory, limits, frame),
    )
    return ranked(beam, alpha, penalty)
