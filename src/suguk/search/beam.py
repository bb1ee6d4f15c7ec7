"""Beam search as tensor algebra; greedy search is a beam of one.

Shapes: B rows (sources), K seats of the beam, T longest output, V vocabulary, F longest prefix, W candidates of a
hypothesis, A traced steps, S source length.

The search is `begin`, `advance`, `ranked`: functions of tensors whose shapes never change, so that eager
PyTorch runs them in a Python loop and `torch.while_loop` makes an ONNX `Loop` of the same functions. Therefore no size
here is a Python number taken from outside the carried tensors: K and T are the dimensions of `frame`.

What users may ask for beyond that (words to avoid or to have, samples, diverse groups) is in `menu`; it has a loop of
its own, so that a plain search does nothing for it.

A hypothesis that produces `<eos>` keeps its seat and is never extended; the others share the seats that are left, so
the beam narrows as hypotheses finish (Sutskever 2014 §3.2; Bahdanau 2014). While all live hypotheses have the same
length they compete by log probability; the length penalty only orders the end result.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from suguk.search import menu
from suguk.search.menu import EOS, PAD, SOS, Menu
from suguk.search.step import Memory, State, Stepper, select, spread

KEPT = 1e30  # above every log probability: finished seats are never given away
FEW = 8  # rows: fewer are not worth parting
LEAST = 1e-9  # of attention on a source token, where its logarithm is taken


class Beam(NamedTuple):
    """What the loop carries."""

    step: Tensor  # 0-dim: tokens produced so far
    said: Tensor  # [B, K, U] the word of each step as it was chosen, whoever lived on; U: T, or 0 where nobody asks
    tokens: Tensor  # [B, K, T] with `<pad>` after the end
    token_scores: Tensor  # [B, K, T] log p of each token
    log_probs: Tensor  # [B, K] sum over the tokens; −inf: an empty seat
    live: Tensor  # [B, K] to be extended: not empty, without `<eos>`, and its row's limit is not reached
    last: Tensor  # [B, K] the token to feed next
    weights: Tensor  # [B, K, A, S] attention of the first A steps, whether the hypothesis has grown or not
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
    said: Tensor  # [B, K, U] of the seats, see `Beam`


class Wish(NamedTuple):
    """What is asked of a search. Frame and trace set the sizes of all that the loop carries."""

    limits: Tensor  # [B] most tokens of each row, `<eos>` included
    frame: Tensor  # [K, T] zeros of the type that log probabilities are summed in
    trace: Tensor  # [A, S] zeros: of how many steps attention is kept
    prefix: Tensor | None  # [B, F] tokens that outputs begin with, and −1, which is free, for T more
    menu: Menu  # the rest of it


class Choice(NamedTuple):
    """Who sits where after a step."""

    new: Tensor  # [B, K] a hypothesis with one more word; else one that stays as it is
    parent: Tensor | None  # [B, K] the seat that it comes from; None: its own
    total: Tensor  # [B, K] log probability
    word: Tensor  # [B, K] the new word
    gain: Tensor | None = None  # [B, K] its log probability; None: what `total` grew by, which is rounded


def begin(stepper: Stepper, memory: Memory, wish: Wish) -> Beam:
    """One live, empty hypothesis a row in seat 0; where samples are drawn, in every seat."""
    frame = wish.frame
    tokens = torch.zeros_like(wish.limits)[:, None, None] + torch.zeros_like(frame, dtype=torch.long)
    seats = tokens[:, :, 0]
    taken = (torch.arange(frame.shape[0], device=frame.device) == 0) | menu.some(wish.menu.draws)
    log_probs = torch.zeros_like(seats, dtype=frame.dtype).masked_fill(~taken, -torch.inf)
    return Beam(
        step=torch.zeros((), dtype=torch.long, device=frame.device),
        tokens=tokens,
        token_scores=torch.zeros_like(tokens, dtype=frame.dtype),
        log_probs=log_probs,
        live=taken & (wish.limits > 0).unsqueeze(1),
        last=seats + SOS,
        weights=torch.zeros_like(seats, dtype=wish.trace.dtype)[:, :, None, None] + wish.trace,
        said=seats[:, :, None] + menu.record(wish.menu),
        state=spread(stepper.start(memory), seats),
    )


Chooser = Callable[[Tensor, Beam, Wish], Choice]


def advance(stepper: Stepper, beam: Beam, memory: Memory, wish: Wish, choose: Chooser) -> Beam:
    """One more token for every live hypothesis. choose: who follows, of `alone`, `together` and `as_wished`."""
    log_p, state, looked = stepper.step(beam.last, beam.state, memory)
    new, parent, total, word, gain = choose(log_p, beam, wish)
    before = beam._replace(state=state)
    if parent is not None:  # everything that a hypothesis carries follows its parent
        before = Beam(beam.step, beam.said, *select(before[2:], parent))
        looked = select(looked, parent)
    grown = new & (total > -torch.inf)  # an impossible candidate leaves its seat empty
    word = torch.where(grown, word, PAD)
    gained = torch.where(grown, total - before.log_probs if gain is None else gain, 0.0)
    if choose is as_wished:
        before = before._replace(said=_written(before.said, word, beam.step))
    return before._replace(
        step=beam.step + 1,
        tokens=_written(before.tokens, word, beam.step),
        token_scores=_written(before.token_scores, gained, beam.step),
        log_probs=total,
        live=grown & (word != EOS) & (beam.step + 1 < wish.limits).unsqueeze(1),
        last=word,
        weights=_written(before.weights, looked, beam.step),
    )


def _written(record: Tensor, entry: Tensor, step: Tensor) -> Tensor:
    """A record [B, K, T, …] with this step's entry [B, K, …]."""
    here = torch.arange(record.shape[2], device=record.device) == step
    while here.dim() < record.dim() - 2:
        here = here.unsqueeze(-1)
    return torch.where(here, entry.unsqueeze(2), record)


def _words(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities and words that may follow [B, K, W], the best K among them; never `<pad>` or `<sos>`."""
    seats, vocabulary = log_p.shape[1:]
    if menu.plenty(vocabulary):
        gains, words = log_p.topk(seats + 2, dim=2)
    else:
        gains, words = log_p, torch.arange(vocabulary, device=log_p.device).expand_as(log_p)
    return gains.masked_fill((words == PAD) | (words == SOS), -torch.inf), words


def alone(log_p: Tensor, beam: Beam, wish: Wish) -> Choice:
    """Every seat keeps to itself and takes its own best word: the same as `together` where K = 1, and less to do."""
    word = (log_p + _barred(log_p)).argmax(2)
    if wish.prefix is not None:
        asked = menu.asked(wish.prefix, beam.step)
        word = torch.where(asked < 0, word, asked)
    gained = log_p.gather(2, word.unsqueeze(2)).squeeze(2)
    total = torch.where(beam.live, beam.log_probs + gained, beam.log_probs)
    return Choice(beam.live, None, total, word, gained)


def _barred(log_p: Tensor) -> Tensor:
    """[V]: −∞ for `<pad>` and `<sos>`, which never follow, else 0. In a graph a constant, but where a model copies."""
    special = torch.arange(EOS + 1, device=log_p.device)
    never = torch.zeros_like(special, dtype=log_p.dtype)
    never = never.masked_fill((special == PAD) | (special == SOS), -torch.inf)
    return F.pad(never, (0, log_p.shape[2] - EOS - 1))


def together(log_p: Tensor, beam: Beam, wish: Wish) -> Choice:
    """The K best of all candidates take the seats that are free; more than K words of one can never be needed."""
    del wish
    gains, words = _words(log_p)
    totals = torch.where(beam.live.unsqueeze(-1), beam.log_probs.unsqueeze(-1) + gains, -torch.inf)
    return _seated(beam, totals, totals, words)


def as_wished(log_p: Tensor, beam: Beam, wish: Wish) -> Choice:
    """As `together`, with all that the menu offers; samples are drawn where there are draws."""
    done = menu.progress(wish.menu.required, beam.tokens, beam.step)
    gains = menu.allowed(log_p, beam.tokens, beam.step, wish.prefix, wish.menu, done)
    keys, totals, words = menu.candidates(gains, beam.log_probs, beam.live, beam.step, wish.menu, done)
    found = _seated(beam, keys, totals, words)
    assert found.parent is not None
    drawn, gained = menu.sampled(gains, beam.step, wish.menu)  # of no row, or of each
    draws = menu.some(wish.menu.draws)
    own = torch.arange(drawn.shape[1], device=drawn.device).expand_as(drawn)
    return Choice(
        new=(draws & beam.live) | (~draws & found.new),
        parent=torch.where(draws, own, found.parent),
        total=torch.where(draws, beam.log_probs + torch.where(beam.live, gained, 0.0), found.total),
        word=torch.where(draws, drawn, found.word),
    )


def _seated(beam: Beam, keys: Tensor, totals: Tensor, words: Tensor) -> Choice:
    """keys, by which candidates compete, their log probabilities and words: [B, K, W]."""
    seats, width = totals.shape[1:]
    kept = beam.log_probs.masked_fill(beam.live, -torch.inf)
    # All candidates of a row, the K best of them: [B, K·W] → [B, K].
    best, flat = keys.flatten(1).topk(seats, dim=1)
    # Seats that stay come first, then the candidates: of 2K claims K are met.
    order = torch.arange(seats, device=best.device)
    keep = torch.where(kept > -torch.inf, KEPT - order * 1e25, -torch.inf)
    claim = torch.cat([keep.to(best.dtype), best], dim=1).topk(seats, dim=1).indices
    new = claim >= seats
    choice = (claim - seats).clamp(min=0)
    owner = order.unsqueeze(1).expand(seats, width).flatten()  # whose candidate it is
    parent = torch.where(new, owner[flat].gather(1, choice), claim.clamp(max=seats - 1))
    if keys is not totals:
        best = totals.flatten(1).gather(1, flat)
    total = torch.where(new, best.gather(1, choice), kept.gather(1, parent))
    return Choice(new, parent, total, words.flatten(1).gather(1, flat).gather(1, choice))


class Ranking(NamedTuple):
    """How the end result is ordered: log p / `length_penalty` + β · `coverage_penalty`."""

    alpha: Tensor | float = 0.0
    offset: Tensor | float = 5.0
    beta: Tensor | float = 0.0  # needs attention of all steps: see `Wish.trace`
    real: Tensor | None = None  # [B, S] source tokens; None: β is 0


PLAIN = Ranking()


def length_penalty(lengths: Tensor, alpha: Tensor | float, offset: Tensor | float) -> Tensor:
    """((k + |Y|) / (k + 1))^α; k = 5: Wu et al. 2016, eq. 14; k = 0: |Y|^α. |Y| counts `<eos>`; α = 0: 1."""
    size = lengths.clamp(min=1).to(torch.float32)
    return ((offset + size) / (offset + 1)) ** alpha


def coverage_penalty(weights: Tensor, real: Tensor) -> Tensor:
    """Σ_s log min(Σ_t a_ts, 1) [B, K]: 0 where all of the source was attended to (Wu et al. 2016, eq. 14).

    weights: [B, K, T, S] attention of all steps; real: [B, S], what is not padding.
    """
    covered = weights.sum(2).clamp(min=LEAST, max=1.0)
    return torch.where(real.unsqueeze(1), covered.log(), 0.0).sum(2)


def ranked(beam: Beam, how: Ranking) -> Found:
    """The end result, in order of score."""
    # A seat that became empty may hold the words of one that it once came from.
    tokens = torch.where((beam.log_probs > -torch.inf).unsqueeze(2), beam.tokens, PAD)
    lengths, finished = (tokens != PAD).long().sum(2), (tokens == EOS).any(2)
    penalty = length_penalty(lengths, how.alpha, how.offset).to(beam.log_probs.dtype)
    scores = beam.log_probs / penalty
    places = torch.arange(beam.weights.shape[2], device=lengths.device)
    weights = torch.where((places < lengths.unsqueeze(2)).unsqueeze(3), beam.weights, 0.0)
    if how.real is not None:
        scores = scores + how.beta * coverage_penalty(weights, how.real).to(scores.dtype)
    seats = scores.shape[1]
    by_score = scores.topk(seats, dim=1).indices
    index = torch.arange(seats, device=scores.device)
    ended_first = (finished.gather(1, by_score).long() * seats - index).topk(seats, dim=1).indices
    order = by_score.gather(1, ended_first)
    listed = (
        tokens, beam.token_scores, beam.log_probs, scores, lengths, finished, weights, beam.said,
    )  # fmt: skip
    return Found(*select(listed, order))


Held = tuple[
    Memory, Wish, Tensor
]  # what a loop reads and never changes; the last says whether it runs at all
Condition = Callable[[Beam, Held], Tensor]
Body = Callable[[Beam, Held], Beam]
Loop = Callable[[Condition, Body, Beam, Held], Beam]


def eager_loop(condition: Condition, body: Body, beam: Beam, given: Held) -> Beam:
    """`torch.while_loop`, run by Python. Rows that are done are put aside whenever they have become the half.

    Outputs of a batch differ in length: without that, the last one to end costs as much as all of them.
    """
    memory, wish, when = given
    if not when:
        return beam
    whole, rows = beam, torch.arange(len(beam.last), device=beam.last.device)
    plain = not menu.wanted(wish.menu)  # what else is asked for stays as it is
    while condition(beam, (memory, wish, when)):
        beam = body(beam, (memory, wish, when))
        live = beam.live.any(1)
        if plain and len(live) >= FEW and 2 * int(live.sum()) <= len(live):
            whole = _with_rows(whole, beam, rows)
            rows, limits = rows[live], wish.limits[live]
            prefix = None if wish.prefix is None else wish.prefix.expand(len(live), -1)[live]
            # The menu asks for nothing, but what it says of each row has to fit the rows that are left.
            each = {"banned": wish.menu.banned, "required": wish.menu.required, "others": wish.menu.others}
            each = {name: part[live] if len(part) == len(live) else part for name, part in each.items()}
            wish = wish._replace(limits=limits, prefix=prefix, menu=wish.menu._replace(**each))
            memory = pytree.tree_map(lambda part: part[live], memory)  # noqa: B023
            beam = Beam(beam.step, *pytree.tree_map(lambda part: part[live], tuple(beam[1:])))  # noqa: B023
    return _with_rows(whole, beam, rows)


def _with_rows(whole: Beam, beam: Beam, rows: Tensor) -> Beam:
    """A beam with some of its rows as they are now."""
    if len(rows) == len(whole.last):
        return beam
    parts = pytree.tree_map(
        lambda all_rows, some: all_rows.index_copy(0, rows, some), tuple(whole[1:]), tuple(beam[1:])
    )
    return Beam(beam.step, *parts)


def search(
    stepper: Stepper,
    memory: Memory,
    limits: Tensor,
    frame: Tensor,
    *,
    trace: Tensor | None = None,
    prefix: Tensor | None = None,
    wishes: Menu | None = None,
    ranking: Ranking = PLAIN,
    loop: Loop = eager_loop,
) -> Found:
    """The K most probable outputs of each row that a beam of K finds, or K samples.

    limits: [B] most tokens of each row, `<eos>` included, at most T; frame: [K, T] zeros, whose shape sets the beam's
    width and the longest output; trace, prefix: see `Wish`, by default no attention is kept and nothing is asked for;
    wishes: what else is asked for; ranking: how the end result is ordered; loop: how to repeat (`eager_loop`, or
    `torch.while_loop` behind the same signature).
    """
    traced = frame.new_zeros(0, 1) if trace is None else trace
    limits = limits.clamp(max=frame.shape[1])
    if prefix is not None:
        prefix = F.pad(prefix, (0, frame.shape[1]), value=menu.FREE)
    wish = Wish(limits, frame, traced, prefix, Menu.nothing(frame) if wishes is None else wishes)
    beam = begin(stepper, memory, wish)
    # Tensors: in a graph they are asked when that runs.
    one = torch.ones_like(frame.select(1, 0)).sum() == 1
    plain = ~menu.wanted(wish.menu)
    free = plain if prefix is None else plain & (prefix < 0).all()
    for when, choose in ((plain & one, alone), (free & ~one, together), (one | ~one, as_wished)):
        beam = loop(_goes_on, _step(stepper, choose), beam, (memory, wish, when))
    return ranked(beam, ranking)


def _goes_on(beam: Beam, given: Held) -> Tensor:
    return given[2] & beam.live.any()


def _step(stepper: Stepper, choose: Chooser) -> Body:
    return lambda beam, given: advance(stepper, beam, *given[:2], choose)
