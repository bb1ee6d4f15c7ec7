"""What enters the networks: token embeddings (frames and image grids have their place here too)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from suguk.model.dropout import Dropout, drop_rows, drop_words


class TokenEmbedding(nn.Module):
    """Rows of a table, with dropout. ids: [B, T] integers → [B, T, E].

    scaled: times √E (Vaswani et al. 2017, §3.4).
    words: in training, share of words that are read as `<unk>` (Bowman et al. 2016, §3.1); rows: share of the table's
    rows that are zero, drawn once for all places where a word stands (Gal and Ghahramani 2016, §4.2).
    """

    def __init__(
        self,
        *,
        size: int,
        embedding: int,
        dropout: float = 0.0,
        variational: bool = False,
        words: float = 0.0,
        rows: float = 0.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.normal_(nn.Parameter(Tensor(size, embedding)), std=embedding**-0.5)
        )
        self.dropout, self.words, self.rows = Dropout(dropout, variational=variational), words, rows
        self.scale = math.sqrt(embedding) if scaled else 1.0

    def forward(self, ids: Tensor) -> Tensor:
        if self.training and self.words:
            ids = drop_words(ids, self.words)
        x = F.embedding(ids, self.weight)
        if self.scale != 1:
            x = x * self.scale
        if self.training and self.rows:
            x = x * drop_rows(self.weight, ids, self.rows)
        found: Tensor = self.dropout(x)
        return found
