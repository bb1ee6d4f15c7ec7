"""Copying from the source: the pointer-generator (See et al. 2017, §2.2).

Shapes: B batch, Q queries (T in training), T target length, S source length, V vocabulary of the target, H hidden,
C context, E embedding.

Ids from V on are words that the target's vocabulary lacks: V + i is the word that stands in the source at position i
for the first time, so the vocabulary grows by the source's length and no more. `copies` says which id each source
position stands for: see `suguk.copying`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST = 1e-30  # probability of copying a word of the source where its attention has underflowed


class Switch(nn.Module):
    """p_gen = σ(w_h · c_t + w_s · s_t + w_x · x_t + b) (See et al. 2017, eq. 8), as its logit.

    x_t is the embedding of the previous word. The three vectors stand side by side in one.
    """

    def __init__(self, *, context: int, hidden: int, words: int) -> None:
        super().__init__()
        self.w_p = nn.Linear(context + hidden + words, 1)

    def forward(self, context: Tensor, state: Tensor, word: Tensor) -> Tensor:
        """[B, Q, C], [B, Q, H] and [B, Q, E] → [B, Q], in float32 or wider."""
        parts = [part.to(state.dtype) for part in (context, state, word)]
        logit: Tensor = self.w_p(torch.cat(parts, dim=-1)).squeeze(-1)
        return logit if logit.dtype == torch.float64 else logit.float()


def extended(log_probs: Tensor, switch: Tensor, weights: Tensor, copies: Tensor) -> Tensor:
    """log of P(w) = p_gen P_vocab(w) + (1 − p_gen) Σ_{i: w_i = w} a_i [B, Q, V + S] (See et al. 2017, eq. 9).

    log_probs: of P_vocab [B, Q, V]; switch: logit of p_gen [B, Q]; weights: a [B, Q, S]; copies: [B, S].
    """
    # log σ(x) = −softplus(−x): ONNX has the latter, and a σ whose logarithm is −∞ from −18 on.
    generated = log_probs - F.softplus(-switch).unsqueeze(-1)
    generated = torch.cat([generated, torch.full_like(weights, -torch.inf, dtype=generated.dtype)], dim=-1)
    at = copies.unsqueeze(1).expand_as(weights)
    share = weights * (-F.softplus(switch)).exp().unsqueeze(-1)
    written = generated.gather(-1, at).exp()
    # Shares of one word are added up where its probability stands, so that no table of S × S is needed.
    generated = generated.scatter_(-1, at, 0.0).scatter_add_(-1, at, share.to(generated.dtype))
    both = (written + generated.gather(-1, at).clamp(min=LEAST)).log()
    return generated.scatter_(-1, at, both)


def copied(switch: Tensor, weights: Tensor, copies: Tensor, target: Tensor) -> Tensor:
    """(1 − p_gen) Σ_{i: w_i = y} a_i of every target token y [B, T]: 0 where it does not stand in the source.

    switch: [B, T]; weights: [B, T, S]; copies: [B, S]; target: [B, T].
    """
    there = copies.unsqueeze(1) == target.unsqueeze(2)
    mass = (weights * there).sum(-1) * torch.sigmoid(-switch)
    return torch.where(there.any(-1), mass.clamp(min=LEAST), 0.0)
