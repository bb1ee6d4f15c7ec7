"""A model small enough to be searched by hand."""

from typing import NamedTuple

import torch
from torch import Tensor

PAD, UNK, SOS, EOS = range(4)


class Seen(NamedTuple):
    """State of a toy: the last two words, and the steps so far."""

    words: Tensor  # [B, Q, 2]
    steps: Tensor  # [B, Q]


class Toy:
    """log p of the next word by row, the last two words and the parity of the step: nothing is symmetric."""

    def start(self, memory: Tensor) -> Seen:
        rows = len(memory)
        return Seen(torch.zeros(rows, 1, 2, dtype=torch.long), torch.zeros(rows, 1, dtype=torch.long))

    def step(self, token: Tensor, state: Seen, memory: Tensor) -> tuple[Tensor, Seen, Tensor]:
        """What stands for attention is the previous word and the number of the step."""
        words = torch.cat([state.words[..., 1:], token.unsqueeze(-1)], dim=-1)
        row = torch.arange(len(memory)).unsqueeze(1)
        log_probs = memory[row, state.steps % 2, words[..., 0], words[..., 1]]
        looked = torch.stack([token, state.steps], dim=-1).double()
        return log_probs, Seen(words, state.steps + 1), looked


def tables(rows: int, vocabulary: int, seed: int, scale: float = 1.0) -> Tensor:
    """[B, 2, V, V, V], float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, 2, vocabulary, vocabulary, vocabulary)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).log_softmax(-1)
