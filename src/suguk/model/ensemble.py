"""Several models that answer as one: the mean of their probabilities at each step.

Shapes: B batch, Q hypotheses of a row, S source length, T target length, V vocabulary, C width of an encoder state.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suguk.model.memory import Memory, State
from suguk.model.seq2seq import Seq2Seq

Memories = tuple[Memory, ...]  # one a member
States = tuple[State, ...]


class Ensemble(nn.Module):
    """p(y_t | …) = 1/M Σ_m p_m(y_t | …), all members after the same prefix. Satisfies `search.step.Stepper`.

    Members share their vocabularies, and all of them copy or none; all else may differ. Attention weights are the mean
    of the members' weights.
    """

    def __init__(self, members: Sequence[Seq2Seq]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def models(self) -> list[Seq2Seq]:
        return [member for member in self.members if isinstance(member, Seq2Seq)]

    def encode(self, source: Tensor, lengths: Tensor, copies: Tensor | None = None) -> Memories:
        """See `Seq2Seq.encode`."""
        return tuple(model.encode(source, lengths, copies) for model in self.models())

    def start(self, memory: Memories) -> States:
        """See `Decoder.start`."""
        return tuple(model.start(held) for model, held in zip(self.models(), memory, strict=True))

    def step(self, token: Tensor, state: States, memory: Memories) -> tuple[Tensor, States, Tensor]:
        """token: [B, Q]. Returns log probabilities of the next word [B, Q, V], the new states, weights [B, Q, S]."""
        steps = zip(self.models(), state, memory, strict=True)
        log_probs, states, weights = zip(
            *(model.step(token, carried, held) for model, carried, held in steps), strict=True
        )
        return _mean(log_probs), states, torch.stack(weights).mean(0)

    def log_probs(
        self, source: Tensor, source_lengths: Tensor, target: Tensor, copies: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Forced decoding: log p of every target token [B, T] (padding included) and attention weights [B, T, S]."""
        found = [model.log_probs(source, source_lengths, target, copies) for model in self.models()]
        log_probs, weights = zip(*found, strict=True)
        return _mean(log_probs), torch.stack(weights).mean(0)

    def contexts(self, memory: Memories) -> tuple[Tensor, Tensor]:
        """Those of the members, side by side."""
        found = [model.contexts(held) for model, held in zip(self.models(), memory, strict=True)]
        last, mean = zip(*found, strict=True)
        return torch.cat(last, dim=-1), torch.cat(mean, dim=-1)

    @property
    def dtype(self) -> torch.dtype:
        return self.models()[0].dtype

    @property
    def words(self) -> int:
        return self.models()[0].words

    @property
    def copies(self) -> bool:
        return self.models()[0].copies


def _mean(log_probs: Sequence[Tensor]) -> Tensor:
    """Of probabilities, given and returned as their logarithms."""
    return torch.stack(list(log_probs)).logsumexp(0) - math.log(len(log_probs))
