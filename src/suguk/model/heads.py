"""What comes out: a distribution over tokens, and the loss against given ones.

Shapes: N real target tokens of a batch, R readout, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suguk.fields import UNK
from suguk.kernels.projection import cross_entropy


class Loss(NamedTuple):
    """Sums over the batch's real target tokens, `<eos>` included, padding not.

    Training minimises total / tokens: every real token of a batch weighs the same, whatever its sentence's length
    (or, with train.loss_per = sentence, total over the batch's sentences).
    """

    total: Tensor  # 0-dim: cross-entropy with label smoothing, to call backward on
    nll: Tensor  # 0-dim, detached: plain negative log likelihood, exp(nll / tokens) is the perplexity
    tokens: int


class TokenHead(nn.Module):
    """softmax(W_o r + b_o); W_o may be factored to a rank (Cho 2014 A.1.2) and tied to an embedding table."""

    def __init__(
        self, *, readout: int, size: int, rank: int | None = None, tied: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        width = rank or readout
        if tied is not None:
            width = tied.shape[1]
        self.factor = nn.Linear(readout, width, bias=False) if width != readout or rank else nn.Identity()
        self.weight = nn.Parameter(torch.empty(size, width)) if tied is None else tied
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, readout: Tensor) -> Tensor:
        """Log probabilities [..., V], in float32 or wider, from a readout [..., R]."""
        logits = F.linear(self.factor(readout), self.weight, self.bias)
        return torch.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), dim=-1)

    def loss(
        self,
        readout: Tensor,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        mixture: tuple[Tensor, Tensor] | None = None,
    ) -> Loss:
        """readout: [N, R], targets: [N]: see `kernels.reference.cross_entropy`.

        mixture: where the model copies, the logit of p_gen and the probability of copying the target, [N] each (see
        `copying`). A target that the vocabulary lacks is never generated.
        """
        if mixture is not None:
            known = targets < len(self.weight)
            generate = F.logsigmoid(mixture[0]).masked_fill(~known, -torch.inf)
            mixture, targets = (generate, mixture[1]), torch.where(known, targets, UNK)
        total, nll = cross_entropy(
            self.factor(readout),
            self.weight,
            self.bias,
            targets,
            label_smoothing=label_smoothing,
            mixture=mixture,
        )
        return Loss(total, nll, len(targets))
