"""Teacher forcing beside free running: what a model makes of references, and what comes out without them.

Shapes: B rows, S source length, T target length, R readout, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from suguk.copying import Copied, copied, copier
from suguk.fields import EOS, PAD
from suguk.predictor import Prediction
from suguk.trained import TrainedModel

AT_ONCE = 1024  # tokens of a batch: V log probabilities are held of each


class Forced(NamedTuple):
    """Sums over the references' tokens, `<eos>` included. right: those that are the model's first choice."""

    nll: float
    right: int
    tokens: int

    @property
    def loss(self) -> float:
        return self.nll / max(self.tokens, 1)

    @property
    def accuracy(self) -> float:
        return self.right / max(self.tokens, 1)


def forced(model: TrainedModel, sources: Sequence[str], targets: Sequence[str]) -> Forced:
    """Each token of the targets predicted from the true ones before it."""
    source_ids, target_ids = model.source.encode_batch(sources), model.target.encode_batch(targets)
    order = sorted(range(len(sources)), key=lambda i: (len(target_ids[i]), len(source_ids[i])))
    nll, right, tokens = 0.0, 0, 0
    copies = copied(model.config, model.source, model.target, sources, targets)
    with torch.inference_mode():
        while order:
            count = max(AT_ONCE // len(target_ids[order[-1]]), 1)  # the longest: never too many
            rows, order = order[-count:], order[:-count]
            source, lengths = model.source.collate([source_ids[i] for i in rows])
            wanted, _ = model.target.collate([target_ids[i] for i in rows])
            given = [source, lengths]
            if copies is not None:
                more, wanted = copies(source, wanted, np.array(rows))
                given.append(more)
            target, *asked = (torch.from_numpy(part).to(model.device) for part in (wanted, *given))
            log_probs, _ = model.model.forced(model.model.encode(*asked), target)
            real = target != PAD
            of_target = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
            nll -= float(of_target[real].double().sum())
            right += int((log_probs.argmax(-1) == target)[real].sum())
            tokens += int(real.sum())
    return Forced(nll, right, tokens)


def free_accuracy(model: TrainedModel, predictions: Sequence[Prediction], targets: Sequence[str]) -> float:
    """Share of the references' tokens that the outputs hold in the same order (longest common subsequence)."""
    from rapidfuzz.distance import LCSseq

    found = total = 0
    sources = [prediction.source for prediction in predictions]
    wanted_of = _pieces(model, sources, targets)
    for prediction, wanted in zip(predictions, wanted_of, strict=True):
        output = [*prediction.tokens, *(wanted[-1:] if prediction.finished else [])]
        found += LCSseq.similarity(output, wanted)
        total += len(wanted)
    return found / max(total, 1)


def _pieces(model: TrainedModel, sources: Sequence[str], targets: Sequence[str]) -> Iterator[list[str]]:
    """Tokens of the targets with `<eos>`; where the model copies, words that only the source has are themselves."""
    maker = copier(model.config, model.source, model.target)
    ids = model.target.encode_batch(targets)
    if maker is None:
        yield from map(model.target.tokens, ids)
        return
    makes = Copied(maker, sources, targets)
    for row, text in enumerate(sources):
        (source, _), (target, _) = (
            model.source.collate([model.source.encode(text)]),
            model.target.collate([ids[row]]),
        )
        _, (wanted,) = makes(source, target, [row])
        pieces = maker.pieces(wanted[:-1].tolist(), source[0].tolist(), text)
        yield [*model.target.shown(pieces), *model.target.tokens([EOS])]
