"""Where values are dropped in training: one `Dropout` a place. Nothing here has weights.

Shapes: B batch, T steps, D width; V vocabulary.
"""

from torch import Tensor, nn

from suguk.fields import SPECIALS, UNK
from suguk.kernels import steps
from suguk.kernels.dropout import chosen, dropout, scales


class Dropout(nn.Module):
    """Dropout of values (Srivastava et al. 2014).

    variational: one mask a row, the same at all its steps (Gal and Ghahramani 2016, §4), also where a loop goes step
    by step.
    """

    def __init__(self, share: float, *, variational: bool = False) -> None:
        super().__init__()
        self.share, self.variational = share, variational

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D], all steps or one of them."""
        if not self.variational or not self.training or self.share == 0:
            return dropout(x, self.share, self.training)
        return x * steps.held("dropout", self, lambda: scales(x[:, :1].detach(), self.share))


def drop_words(ids: Tensor, share: float) -> Tensor:
    """Ids with each word `<unk>` instead with probability `share`; padding, `<sos>` and `<eos>` stay."""
    words = ids >= len(SPECIALS)
    return ids.masked_fill(chosen(ids, share) & words, UNK)


def drop_rows(table: Tensor, ids: Tensor, share: float) -> Tensor:
    """Factors [..., 1] on the embeddings of ids: a row of the table [V, E] is zero wherever it is used, or nowhere."""
    return scales(table.detach()[:, :1], share)[ids]
