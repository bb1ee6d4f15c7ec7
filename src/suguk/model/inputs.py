"""What enters the networks: token embeddings (frames and image grids have their place here too)."""

from torch import Tensor, nn
from torch.nn import functional as F

from suguk.kernels.dropout import dropout


class TokenEmbedding(nn.Module):
    """Rows of a table, with dropout. ids: [...] integers → [..., E]."""

    def __init__(self, *, size: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            nn.init.normal_(nn.Parameter(Tensor(size, embedding)), std=embedding**-0.5)
        )
        self.dropout = dropout

    def forward(self, ids: Tensor) -> Tensor:
        return dropout(F.embedding(ids, self.weight), self.dropout, self.training)
