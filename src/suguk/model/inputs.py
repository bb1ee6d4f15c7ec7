"""What enters the networks: token embeddings (frames and image grids have their place here too)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from suguk.kernels.dropout import dropout


class TokenEmbedding(nn.Module):
    """Rows of a table, with dropout; scaled: times √E (Vaswani 2017 §3.4). ids: [...] integers → [..., E]."""

    def __init__(self, *, size: int, embedding: int, dropout: float = 0.0, scaled: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.normal_(nn.Parameter(Tensor(size, embedding)), std=embedding**-0.5)
        )
        self.dropout = dropout
        self.scale = math.sqrt(embedding) if scaled else 1.0

    def forward(self, ids: Tensor) -> Tensor:
        words = F.embedding(ids, self.weight)
        if self.scale != 1:
            words = words * self.scale
        return dropout(words, self.dropout, self.training)
