"""How big a model and its training will be, from the settings alone (no torch): what `suguk check` announces."""

from suguk.config import Config, ModelConfig

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-reset-before": 3}
FLOAT = 4  # bytes
LOGITS = 2**23  # of one group: see kernels/projection.py


def parameters(config: ModelConfig, source_size: int, target_size: int) -> int:
    """Number of weights of the model that these settings build; sizes are those of the vocabularies."""
    hidden, words, width = config.hidden, config.embedding, config.annotation_size
    attends, every_step = config.attention != "none", config.context == "every-step"
    readout_inputs = hidden + (width if attends or every_step else 0) + (words if config.readout_word else 0)
    readout = readout_inputs if config.readout == "linear" else config.readout_size or hidden
    return (
        (0 if config.tied == "all" else source_size * words)
        + target_size * words
        + _encoder(config)
        + _bridge(config)
        + _attention(config)
        + _decoder(config, readout)
        + {"linear": 0, "tanh": 1, "maxout": 2}[config.readout] * readout_inputs * readout
        + _head(config, readout, target_size)
        + (width + hidden + words + 1 if config.copying else 0)
    )


def memory(config: Config, source_size: int, target_size: int, source_length: float) -> int:
    """Bytes that training needs beside the libraries: an estimate, to see whether it fits, not a measurement.

    Weights, gradients and the two moments of Adam, 16 bytes a weight, 4 for an average if one is kept, 2 for a copy in
    bfloat16. For each token of a batch: gates and states of every layer, kept for the backward pass and met by as many
    gradients; embeddings; attention weights over the source. Of logits only a group is held, whatever the batch
    (`kernels.projection`).
    """
    model, tokens = config.model, config.train.batch_tokens
    layers = model.layers + (model.encoder_layers or model.layers) * model.directions
    token = 2 * layers * (GATES[model.cell] + 2) * model.hidden + 6 * model.embedding + 3 * source_length
    logits = min(tokens * target_size, LOGITS)
    weight = 22 if config.train.ema else 18
    return int(weight * parameters(model, source_size, target_size) + FLOAT * tokens * token + FLOAT * logits)


def _cell(config: ModelConfig, inputs: int, hidden: int) -> int:
    norms = 2 * GATES[config.cell] + (2 if config.cell == "lstm" else 0) if config.layer_norm else 0
    return hidden * (GATES[config.cell] * (inputs + hidden + 2) + norms)


def _encoder(config: ModelConfig) -> int:
    hidden, ways = config.encoder_hidden or config.hidden, config.directions
    layers = config.encoder_layers or config.layers
    first = _cell(config, config.embedding, hidden)
    return ways * (first + (layers - 1) * _cell(config, hidden * ways, hidden))


def _bridge(config: ModelConfig) -> int:
    if config.bridge in ("copy", "zero"):
        return 0
    width = config.annotation_size
    inputs = width // 2 if config.bridge == "backward" else width
    count = config.layers * (2 if config.cell == "lstm" else 1) * config.hidden * (inputs + 1)
    summary = width * (width + 1) if config.bridge == "linear" and config.context == "every-step" else 0
    return count + summary


def _attention(config: ModelConfig) -> int:
    hidden, width = config.hidden, config.annotation_size
    local = config.attention in ("local-m", "local-p")
    size = config.attention_size or hidden
    score = {
        "general": width * hidden,
        "additive": size * (hidden + width + 1 + config.coverage),
        "location": hidden * config.attention_positions,
    }.get(kind := config.local_score if local else config.attention, 0)
    if config.attention_heads > 1:
        score = hidden * (hidden + width) if kind in ("dot", "scaled-dot") else score
        score += 2 * width**2
    return score + (hidden * (hidden + 1) if config.attention == "local-p" else 0)


def _decoder(config: ModelConfig, readout: int) -> int:
    hidden, width = config.hidden, config.annotation_size
    attends = config.attention != "none"
    within = attends and config.attend == "within"
    above = attends and config.attend in ("within", "between")  # the second layer gets the context too
    context = config.context == "every-step" or (attends and config.attend == "before")
    first = config.embedding + (width if context else 0) + (readout if config.input_feeding else 0)
    second = hidden + (width if above else 0)
    rest = [second] + [hidden] * (config.layers - 2) if config.layers > 1 else []
    return sum(_cell(config, inputs, hidden) for inputs in [first, *([width] if within else []), *rest])


def _head(config: ModelConfig, readout: int, target_size: int) -> int:
    if config.tied == "none":
        rank = config.readout_rank
        return target_size + (readout * rank + rank * target_size if rank else readout * target_size)
    factored = config.readout_rank is not None or readout != config.embedding
    return target_size + (readout * config.embedding if factored else 0)
