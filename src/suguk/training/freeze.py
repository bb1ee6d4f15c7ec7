"""Parts of a model whose weights training leaves as they are."""

from collections.abc import Iterable, Sequence

from torch import nn

from suguk.config.train import Part
from suguk.errors import ConfigError
from suguk.model import Seq2Seq


def freeze(model: Seq2Seq, parts: Sequence[Part]) -> list[nn.Parameter]:
    """The parameters that are left to train; those of `parts` take no gradient from now on.

    ConfigError if none is left.
    """
    frozen = {id(parameter) for part in parts for parameter in _weights(model, part)}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    left = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not left:
        raise ConfigError(
            "every weight of the model is frozen", where="train.freeze", hint="name fewer parts"
        )
    return left


def _weights(model: Seq2Seq, part: Part) -> Iterable[nn.Parameter]:
    """A tied table belongs to each part that uses it."""
    encoder, decoder = model.encoder, model.decoder
    embeddings = [*encoder.embedding.parameters(), *decoder.embedding.parameters()]
    attention = [] if decoder.attention is None else [*decoder.attention.parameters()]
    readout = [*decoder.readout.parameters()]
    if part == "encoder":
        return _without(encoder, embeddings)
    if part == "decoder":
        return _without(decoder, [*embeddings, *attention, *readout])
    if part == "bridge":
        return [*model.bridge.parameters(), *model.summary.parameters()]
    return {
        "embeddings": embeddings,
        "attention": attention,
        "readout": readout,
        "head": [*model.head.parameters()],
    }[part]


def _without(module: nn.Module, others: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(parameter) for parameter in others}
    return [parameter for parameter in module.parameters() if id(parameter) not in known]
