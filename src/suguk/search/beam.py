"""Beam search as tensor algebra; greedy search is a beam of one.

Shapes: B rows (sources), K seats of the beam, T longest output, V vocabulary, F longest prefix, W candidates of a
hypothesis, A traced steps, S source length.

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
WIDEST = 1024  # seats of a beam, at most


class Beam(NamedTuple):
    """What the loop carries."""

    step: Tensor  # 0-dim: tokens produced so far
    tokens: Tensor  # [B, K, T] with `<pad>` after the end
    token_scores: Tensor  # [B, K, T] log p of each token
    log_probs: Tensor  # [B, K] sum over the tokens; −inf: an empty seat
    lengths: Tensor  # [B, K] tokens, `<eos>` included
    finished: Tensor  # [B, K] ended with `<eos>`
    last: Tensor  # [B, K] the token to feed next
    weights: Tensor  # [B, K, A, S] attention of the first A steps
    state: State


class Found(NamedTuple):
    """Hypotheses of each row, best first: finished ones by score, then unfinished ones. Empty seats score −inf."""

    tokens: Tensor  # [B, K, T]
    token_scores: Tensor  # [B, K, T]
    log_probs: Tensor  # [B, K]
    scores: Tensor  # [B, K] log probability over length penalty
    lengths: Tensor  # [B, K]
    finished: Tensor  # [B, K]
    weights: Tensor  # [B, K, A, S]


class Wish(NamedTuple):
    """What is asked of a search. Frame and trace set the sizes of all that the loop carries."""

    limits: Tensor  # [B] most tokens of each row, `<eos>` included
    frame: Tensor  # [K, T] zeros of the type that log probabilities are summed in
    trace: Tensor  # [A, S] zeros: of how many steps attention is kept
    prefix: Tensor | None  # [B, F] tokens that outputs begin with; −1, and all after them: free


def begin(stepper: Stepper, memory: Memory, wish: Wish) -> Beam:
    """One live, empty hypothesis a row in seat 0."""
    frame = wish.frame
    tokens = torch.zeros_like(wish.limits)[:, None, None] + torch.zeros_like(frame, dtype=torch.long)
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
        weights=torch.zeros_like(seats, dtype=wish.trace.dtype)[:, :, None, None] + wish.trace,
        state=spread(stepper.start(memory), seats),
    )


def closed(beam: Beam, limits: Tensor) -> Tensor:
    """[B, K]: seats that are not extended, because the hypothesis is finished or its row's limit is reached."""
    return beam.finished | (beam.step >= limits).unsqueeze(1)


def unfinished(beam: Beam, limits: Tensor) -> Tensor:
    """0-dim: does any row still have something to extend? The only value that a loop must wait for."""
    live = ~closed(beam, limits) & (beam.log_probs > -torch.inf)
    return live.any() & (beam.step < beam.tokens.shape[2])


def advance(stepper: Stepper, beam: Beam, memory: Memory, wish: Wish, *, alone: bool = False) -> Beam:
    """One more token for every live hypothesis; the K best of all candidates take the seats that are free.

    alone: every seat keeps to itself, which is the same where K = 1, and far less to do.
    """
    log_p, state, looked = stepper.step(beam.last, beam.state, memory)
    stays = closed(beam, wish.limits)
    gains, words = _candidates(log_p, beam, wish.prefix)
    totals = (beam.log_probs.unsqueeze(-1) + gains).masked_fill(stays.unsqueeze(-1), -torch.inf)
    old, parent, total, word = (_kept if alone else _seated)(beam, stays, totals, words)
    before = beam._replace(state=state)
    if parent is not None:  # everything that a hypothesis carries follows its parent
        before = Beam(beam.step, *select(before[1:], parent))
        looked = select(looked, parent)
    grown = ~old & (total > -torch.inf)  # an impossible candidate leaves its seat empty
    word = torch.where(grown, word, PAD)
    gained = torch.where(grown, total - before.log_probs, 0.0)
    return before._replace(
        step=beam.step + 1,
        tokens=_written(before.tokens, word, beam.step, grown),
        token_scores=_written(before.token_scores, gained, beam.step, grown),
        log_probs=total,
        lengths=before.lengths + grown.long(),
        finished=(old & before.finished) | (word == EOS),
        last=word,
        weights=_written(before.weights, looked, beam.step, grown),
    )


def _written(record: Tensor, entry: Tensor, step: Tensor, grown: Tensor) -> Tensor:
    """A record [B, K, T, …] with this step's entry [B, K, …] where the hypothesis has grown [B, K]."""
    here = (torch.arange(record.shape[2], device=record.device) == step) & grown.unsqueeze(-1)
    return torch.where(here.reshape(here.shape + (1,) * (record.dim() - 3)), entry.unsqueeze(2), record)


def _candidates(log_p: Tensor, beam: Beam, prefix: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log probabilities and words of what may follow each hypothesis, both [B, K, W].

    `<pad>` and `<sos>` are never produced. More than K words of one hypothesis can never be needed.
    """
    seats, vocabulary = log_p.shape[1:]
    if vocabulary > WIDEST + 2:
        gains, words = log_p.topk(seats + 2, dim=2)
    else:
        gains, words = log_p, torch.arange(vocabulary, device=log_p.device).expand_as(log_p)
    gains = gains.masked_fill((words == PAD) | (words == SOS), -torch.inf)
    if prefix is None:
        return gains, words
    length = prefix.shape[1]
    asked = prefix.index_select(1, beam.step.clamp(max=length - 1).reshape(1))
    asked = torch.where(beam.step < length, asked, -1).unsqueeze(2)  # [B, 1, 1]
    gain = log_p.gather(2, asked.clamp(min=0).expand(log_p.shape[0], seats, -1))
    only = torch.arange(gains.shape[2], device=gains.device) == 0
    free = asked < 0
    return torch.where(free, gains, gain.masked_fill(~only, -torch.inf)), torch.where(free, words, asked)


def _kept(beam: Beam, stays: Tensor, totals: Tensor, words: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    """As `_seated`, where every seat takes its own best candidate."""
    best, at = totals.max(dim=2)
    word = words.gather(2, at.unsqueeze(2)).squeeze(2)
    return stays, None, torch.where(stays, beam.log_probs, best), word


def _seated(
    beam: Beam, stays: Tensor, totals: Tensor, words: Tensor
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Who sits where: does the hypothesis stay [B, K], its parent's seat (None: its own), log probability, new word.

    stays: [B, K]; totals, words: [B, K, W].
    """
    seats, width = totals.shape[1:]
    kept = beam.log_probs.masked_fill(~stays, -torch.inf)
    # All candidates of a row, the K best of them: [B, K·W] → [B, K].
    best, flat = totals.flatten(1).topk(seats, dim=1)
    # Seats that stay come first, then the candidates: of 2K claims K are met.
    order = torch.arange(seats, device=best.device)
    keep = torch.where(kept > -torch.inf, KEPT - order * 1e25, -torch.inf)
    claim = torch.cat([keep.to(best.dtype), best], dim=1).topk(seats, dim=1).indices
    old = claim < seats
    choice = (claim - seats).clamp(min=0)
    owner = order.unsqueeze(1).expand(seats, width).flatten()  # whose candidate it is
    parent = torch.where(old, claim.clamp(max=seats - 1), owner[flat].gather(1, choice))
    total = torch.where(old, kept.gather(1, parent), best.gather(1, choice))
    return old, parent, total, words.flatten(1).gather(1, flat).gather(1, choice)


def length_penalty(lengths: Tensor, alpha: Tensor | float, offset: Tensor | float) -> Tensor:
    """((k + |Y|) / (k + 1))^α; k = 5: Wu et al. 2016, eq. 14; k = 0: |Y|^α. |Y| counts `<eos>`; α = 0: 1."""
    size = lengths.clamp(min=1).to(torch.float32)
    return ((offset + size) / (offset + 1)) ** alpha


def ranked(beam: Beam, alpha: Tensor | float, offset: Tensor | float) -> Found:
    """The end result, in order of score."""
    scores = beam.log_probs / length_penalty(beam.lengths, alpha, offset).to(beam.log_probs.dtype)
    seats = scores.shape[1]
    by_score = scores.topk(seats, dim=1).indices
    index = torch.arange(seats, device=scores.device)
    ended_first = (beam.finished.gather(1, by_score).long() * seats - index).topk(seats, dim=1).indices
    order = by_score.gather(1, ended_first)
    listed = (
        beam.tokens, beam.token_scores, beam.log_probs, scores, beam.lengths, beam.finished, beam.weights
    )  # fmt: skip
    return Found(*select(listed, order))


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
    trace: Tensor | None = None,
    prefix: Tensor | None = None,
    alpha: Tensor | float = 0.0,
    offset: Tensor | float = 5.0,
    loop: Loop = eager_loop,
) -> Found:
    """The K most probable outputs of each row that a beam of K finds.

    limits: [B] most tokens of each row, `<eos>` included, at most T; frame: [K, T] zeros, whose shape sets the beam's
    width and the longest output; trace, prefix: see `Wish`, by default no attention is kept and nothing is asked for;
    alpha, offset: see `length_penalty`; loop: how to repeat (`eager_loop`, or `torch.while_loop` behind the same
    signature).
    """
    wish = Wish(limits, frame, frame.new_zeros(0, 1) if trace is None else trace, prefix)
    beam = begin(stepper, memory, wish)
    one = torch.ones_like(frame[:, 0]).sum() == 1  # a tensor: in a graph it is asked when that runs
    beam = loop(
        lambda beam: one & unfinished(beam, limits),
        lambda beam: advance(stepper, beam, memory, wish, alone=True),
        beam,
    )
    beam = loop(
        lambda beam: unfinished(beam, limits), lambda beam: advance(stepper, beam, memory, wish), beam
    )
    return ranked(beam, alpha, offset)
