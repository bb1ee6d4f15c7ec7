"""What else may be asked of a search: words to avoid or to have, diverse groups, samples.

Shapes: B rows (sources), K seats of the beam, T longest output, V vocabulary, W candidates of a hypothesis; P banned
phrases of N tokens, C required ones of L, R windows of G tokens, O words of other groups, D rows with draws (B or 0).

Everything that is asked for is a tensor, and a size of 0 asks for nothing: one graph serves all of it. A hypothesis is
judged by its tokens alone, so nothing but the beam is carried from step to step.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PAD, SOS, EOS = 0, 2, 3
WIDEST = 1024  # seats of a beam, at most
FREE = -1  # in phrases and prefixes: no token
GRID = 2**24  # draws are told apart in steps of 1/GRID
PRIME = 2**31 - 1  # 5 has no common factor with PRIME − 1, so x⁵ permutes the residues
FACTOR, SUMMAND = 1_588_635_695, 1_013_904_223  # any large numbers


class Menu(NamedTuple):
    """What is asked for. In PyTorch one row may stand for all where [B, …] is said."""

    shortest: Tensor  # 0-dim: fewest tokens of an output, `<eos>` included
    banned: Tensor  # [B, P, N] phrases that must not be produced, FREE before their first token
    required: Tensor  # [B, C, L] phrases that must be, FREE after their last token
    repeat: Tensor  # [R, G]: no G tokens come twice; only the first R places of an output are looked at
    others: Tensor  # [B, O, U] words that groups before this one chose at each step; U: T where groups are asked for
    diversity: Tensor  # 0-dim: what each of those costs a candidate (λ of Vijayakumar et al. 2016)
    draws: Tensor  # [D, K, T] of the unit interval: words are drawn with them, each seat for itself
    choices: Tensor  # [W] draw among the W most probable words only; 0: among all
    top_p: Tensor  # 0-dim: draw among the most probable words that have this mass together (Holtzman et al. 2020)
    temperature: Tensor  # 0-dim: log probabilities are divided by it before a word is drawn

    @classmethod
    def nothing(cls, frame: Tensor) -> "Menu":
        """The neutral value of each. frame: [K, T], for its device and type."""
        none = torch.zeros((), dtype=torch.long, device=frame.device)
        one = frame.new_ones(())
        return cls(
            shortest=none,
            banned=none.new_zeros(1, 0, 1),
            required=none.new_zeros(1, 0, 1),
            repeat=none.new_zeros(0, 1),
            others=none.new_zeros(1, 0, 0),
            diversity=one * 0,
            draws=frame.new_zeros(0, *frame.shape),
            choices=none.new_zeros(0),
            top_p=one,
            temperature=one,
        )


def plenty(words: int) -> bool:
    """Whether there are more words than a beam can have seats, `<pad>` and `<sos>` apart.

    In a graph of a model that copies, the number of words is only known when that runs; then as far as it can be said.
    """
    if isinstance(words, int):
        return words > WIDEST + 2
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(words > WIDEST + 2)


def some(tensor: Tensor) -> Tensor:
    """0-dim: does it hold anything? A tensor, so that a graph asks when it runs."""
    return torch.ones_like(tensor, dtype=torch.long).sum() > 0


def wanted(menu: Menu) -> Tensor:
    """0-dim: is anything asked for?"""
    found = menu.shortest > 1
    for part in (menu.banned, menu.required, menu.repeat, menu.draws, record(menu)):
        found = found | some(part)
    return found


def record(menu: Menu) -> Tensor:
    """[U] zeros, as long as what groups say is to be kept."""
    return torch.zeros_like(torch.arange(menu.others.shape[2], device=menu.others.device))


def asked(prefix: Tensor, step: Tensor) -> Tensor:
    """[B, 1]: the token that the prefix [B, F] has at this step, which is less than F; FREE: any."""
    return prefix.index_select(1, step.reshape(1))


def allowed(
    log_p: Tensor, tokens: Tensor, step: Tensor, prefix: Tensor | None, menu: Menu, done: "Progress"
) -> Tensor:
    """log_p [B, K, V] with −∞ for what must not follow. A prefix goes before all else that is asked for."""
    rows, seats = log_p.shape[:2]
    none = torch.zeros_like(tokens.narrow(2, 0, 1))
    early = torch.where(step + 1 < menu.shortest, EOS, PAD)
    incomplete = torch.where((done.next != PAD).any(2, keepdim=True), EOS, PAD)
    never = [none + PAD, none + SOS, none + early, incomplete]
    never.append(_following(menu.banned.unsqueeze(1), tokens, step) + none)
    never.append(_following(_windows(menu.repeat, tokens, step), tokens, step))
    gains = log_p.scatter(2, torch.cat(never, dim=2), -torch.inf)
    if prefix is None:
        return gains
    token = asked(prefix, step).unsqueeze(2)  # [B, 1, 1]
    at = token.clamp(min=0).expand(rows, seats, 1)
    free = token < 0
    only = torch.where(free, gains.gather(2, at), log_p.gather(2, at))
    return torch.where(free, gains, -torch.inf).scatter(2, at, only)


def _said(tokens: Tensor, at: Tensor) -> Tensor:
    """Tokens [B, K, T] at places `at` [...] → [B, K, ...]; −2, which is no token, before the first."""
    places = at.flatten()
    found = tokens.index_select(2, places.clamp(min=0, max=tokens.shape[2] - 1))
    return torch.where(places < 0, -2, found).reshape(*tokens.shape[:2], *at.shape)


def _following(phrases: Tensor, tokens: Tensor, step: Tensor) -> Tensor:
    """[B, K, P]: the last token of each phrase [B, K, P, N] whose other tokens were just said, else `<pad>`."""
    size = phrases.shape[3]
    place = torch.arange(size, device=tokens.device)
    said = _said(tokens, step + place - (size - 1)).unsqueeze(2)
    wrong = (phrases != said) & (phrases != FREE) & (place < size - 1)
    return torch.where(wrong.long().sum(3) == 0, phrases.select(3, -1), PAD)


def _windows(repeat: Tensor, tokens: Tensor, step: Tensor) -> Tensor:
    """[B, K, R, G]: what was said in each window so far, as phrases; `<pad>` in those that are not over."""
    count, size = repeat.shape
    begin = torch.arange(count, device=tokens.device).unsqueeze(1)
    place = begin + torch.arange(size, device=tokens.device)
    return torch.where(begin + size <= step, _said(tokens, place), PAD)


class Progress(NamedTuple):
    """How far hypotheses are with their required phrases; of none there is one, which is met."""

    next: Tensor  # [B, K, C + 1] the token that goes on with a phrase, `<pad>` where it was said in full
    met: Tensor  # [B, K] tokens of phrases that were said in full
    so_far: Tensor  # [B, K, C + 1] tokens of each phrase that were just said
    most: int  # tokens of all phrases, FREE ones too


def progress(required: Tensor, tokens: Tensor, step: Tensor) -> Progress:
    """Of the phrases [B, C, L] in the tokens [B, K, T]."""
    device = tokens.device
    phrases = torch.cat([required, torch.full_like(required.sum(1, keepdim=True), FREE)], dim=1)
    phrases = phrases.unsqueeze(1) + torch.zeros_like(tokens.select(2, 0).select(1, 0)).reshape(
        -1, 1, 1, 1
    )  # [B, 1, C + 1, L]
    length = (phrases != FREE).long().sum(3)
    place = torch.arange(phrases.shape[3], device=device)
    # In full: anywhere among what was said.
    begin = torch.arange(tokens.shape[2], device=device).unsqueeze(1)
    said = _said(tokens, begin + place).unsqueeze(2)  # [B, K, 1, T, L]
    wrong = ((said != phrases.unsqueeze(3)) & (phrases.unsqueeze(3) != FREE)).long().sum(4)
    over = begin.squeeze(1) + length.unsqueeze(3) <= step  # [B, 1, C + 1, T]
    met = ((wrong == 0) & over).long().amax(3) > 0
    # Its first n tokens: the last n that were said.
    counts = place.unsqueeze(1)
    said = _said(tokens, torch.where(place < counts, step - counts + place, -1)).unsqueeze(2)
    wrong = ((said != phrases.unsqueeze(3)) & (place < counts)).long().sum(4)  # [B, K, C + 1, L]
    right = (wrong == 0) & (place < length.unsqueeze(3))
    so_far = torch.where(right, place, 0).amax(3)
    follows = phrases.expand(-1, tokens.shape[1], -1, -1).gather(3, so_far.unsqueeze(3)).squeeze(3)
    return Progress(
        next=torch.where(met, PAD, follows),
        met=torch.where(met, length, 0).sum(2),
        so_far=so_far,
        most=phrases.shape[2] * phrases.shape[3],
    )


def candidates(
    gains: Tensor, log_probs: Tensor, live: Tensor, step: Tensor, menu: Menu, done: Progress
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys by which candidates compete (a higher one is better), their log probabilities and words: [B, K, W].

    A word that an earlier group chose at this step costs `diversity` when candidates are compared, not in their log
    probability. With required phrases, hypotheses that have said equally many of their tokens are a bank; the best of
    each bank come first, the fullest bank first, then the second best of each, as seats allow (Post and Vilar 2018).
    """
    seats, vocabulary = gains.shape[1:]
    totals = torch.where(live.unsqueeze(2), log_probs.unsqueeze(2) + gains, -torch.inf)
    now = torch.arange(menu.others.shape[2], device=gains.device) == step
    chosen = (
        torch.where(now, menu.others, PAD).sum(2).unsqueeze(1) + live.long().unsqueeze(2) * 0
    )  # [B, K, O]
    keys = totals.scatter_add(2, chosen, -menu.diversity.to(totals.dtype).expand(chosen.shape))
    follows = done.next  # [B, K, C + 1]
    same = follows.unsqueeze(3) == follows.unsqueeze(2)  # [B, K, C + 1, C + 1]
    twice = same.long().tril(-1).sum(3) > 0
    # A word that goes on with several phrases counts for the one that is furthest.
    furthest = torch.where(same, done.so_far.unsqueeze(2), 0).amax(3)
    wanted_keys = keys.gather(2, follows).masked_fill(twice | (follows == PAD), -torch.inf)
    rest = keys.scatter(2, follows, -torch.inf)
    if not plenty(vocabulary):  # there may be more seats than words
        rest = torch.cat(
            [rest, torch.full_like(rest.narrow(2, 0, 1), -torch.inf).expand(-1, -1, seats)], dim=2
        )
    best, words = rest.topk(seats, dim=2)
    words = torch.where(best > -torch.inf, words, PAD)
    keys, words = torch.cat([wanted_keys, best], dim=2), torch.cat([follows, words], dim=2)
    bank = done.met.unsqueeze(2) + torch.cat([furthest + 1, torch.zeros_like(best).long()], dim=2)
    keys = _by_bank(keys.flatten(1), bank.flatten(1), done.most).reshape(keys.shape)
    return keys, totals.gather(2, words), words


def _by_bank(keys: Tensor, bank: Tensor, most: int) -> Tensor:
    """New keys [B, M]: by rank within the bank, then by bank. −∞ stays."""
    ordered, order = keys.topk(keys.shape[1], dim=1)
    mine = bank.gather(1, order)
    member = mine.unsqueeze(2) == torch.arange(most + 1, device=keys.device)
    rank = member.long().cumsum(1).gather(2, mine.unsqueeze(2)).squeeze(2)
    place = (rank * (most + 2) - mine).to(keys.dtype)
    return keys.scatter(1, order, torch.where(ordered > -torch.inf, -place, -torch.inf))


def _uniform(draws: Tensor, words: Tensor) -> Tensor:
    """A number of the unit interval for each draw [D, K, 1] and each of `words` [V], as good as independent: [D, K, V].

    The fractions of d · h_w / (2³¹ − 1), where 1 ≤ d ≤ GRID is the draw and h_w the number of the word, mixed by powers
    that permute the residues: exact in every engine.
    """
    mixed = torch.ones_like(words, dtype=torch.long).cumsum(0)
    for _ in range(2):
        mixed = (mixed * FACTOR + SUMMAND) % PRIME
        square = mixed * mixed % PRIME
        mixed = square * square % PRIME * mixed % PRIME
    times = ((draws.double() * GRID).floor() + 1) * (mixed.double() / PRIME)
    return times - times.floor()


def sampled(gains: Tensor, step: Tensor, menu: Menu) -> tuple[Tensor, Tensor]:
    """Words that the draws choose and their log probabilities [B, K]; anything where there are no draws.

    The word with the largest p_w / −log u_w, which is w with probability p_w (Gumbel 1954; Maddison et al. 2014, as
    log p_w + a Gumbel number). So where rounding differs, between engines, only words decide that are all but even.
    """
    rows = torch.arange(menu.draws.shape[0], device=gains.device)
    log_p = gains.index_select(0, rows)  # [D, K, V]
    chance = (log_p / menu.temperature.to(log_p.dtype)).softmax(2)
    ranked = chance.topk(menu.choices.shape[0], dim=2).values
    inside = ranked.cumsum(2) - ranked < menu.top_p
    none = torch.full_like(chance.narrow(2, 0, 1), 2.0)
    least = torch.cat([torch.where(inside, ranked, 2.0), none], dim=2).amin(2, keepdim=True)
    chance = torch.where((chance >= least) | (least > 1), chance, 0.0)
    uniform = _uniform(menu.draws.index_select(2, step.reshape(1)), gains.select(1, 0).select(0, 0))
    word = (chance / -uniform.log().to(chance.dtype)).argmax(2)
    gain = log_p.gather(2, word.unsqueeze(2)).squeeze(2)
    # As many rows as there are sources, whether there are draws or not.
    every = torch.arange(gains.shape[0], device=gains.device)
    at = every + some(menu.draws).long() * gains.shape[0]
    zeros = torch.zeros_like(gains.select(2, 0))
    return (
        torch.cat([zeros.long(), word]).index_select(0, at),
        torch.cat([zeros, gain]).index_select(0, at),
    )
