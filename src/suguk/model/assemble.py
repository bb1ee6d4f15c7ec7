"""How the settings put a model together."""

import torch
from torch import nn

from suguk.config import ModelConfig
from suguk.model.attention import (
    AdditiveScore,
    Attention,
    CoverageScore,
    DotScore,
    GeneralScore,
    LocationScore,
    MonotonicWindow,
    PredictiveWindow,
)
from suguk.model.bridge import CopyBridge, LinearBridge, ZeroBridge
from suguk.model.cells import Habits, Stack
from suguk.model.copying import Switch
from suguk.model.decoder import Decoder
from suguk.model.encoder import Encoder
from suguk.model.heads import TokenHead
from suguk.model.initialise import initialise
from suguk.model.inputs import TokenEmbedding
from suguk.model.multihead import AdditiveHeads, MultiHeadAttention, ProductHeads
from suguk.model.readout import LinearReadout, MaxoutReadout, TanhReadout
from suguk.model.seq2seq import Seq2Seq


def build(config: ModelConfig, source_size: int, target_size: int, *, seed: int | None = None) -> Seq2Seq:
    """The model that the settings describe, initialised. Sizes are those of the vocabularies.

    seed: makes the initial weights a function of the settings and the seed alone.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = _assemble(config, source_size, target_size)
        initialise(model, kind=config.init, scale=config.init_scale)
    return model


def _assemble(config: ModelConfig, source_size: int, target_size: int) -> Seq2Seq:
    source, target = (
        TokenEmbedding(
            size=size,
            embedding=config.embedding,
            dropout=config.dropout,
            variational=config.variational_dropout,
            words=config.word_dropout,
            rows=config.embedding_dropout,
            scaled=config.scale_embeddings,
        )
        for size in (source_size, target_size)
    )
    if config.tied == "all":
        target.weight = source.weight
    decoder = _decoder(config, target)
    width = config.annotation_size
    made_from_context = config.context == "every-step" and config.bridge == "linear"
    return Seq2Seq(
        encoder=Encoder(
            embedding=source,
            kind=config.cell,
            hidden=config.encoder_hidden or config.hidden,
            layers=config.encoder_layers or config.layers,
            bidirectional=config.bidirectional,
            reverse_source=config.reverse_source,
            residual=config.residual,
            dropout=config.dropout,
            variational=config.variational_dropout,
            habits=_habits(config),
        ),
        bridge=_bridge(config),
        # Cho 2014 A.1.1: c = tanh(V h_N); elsewhere the context is the encoder's last state itself.
        summary=nn.Sequential(nn.Linear(width, width), nn.Tanh()) if made_from_context else nn.Identity(),
        decoder=decoder,
        head=TokenHead(
            readout=int(decoder.readout.size),  # type: ignore[arg-type]
            size=target_size,
            rank=config.readout_rank,
            tied=None if config.tied == "none" else target.weight,
        ),
    )


def _habits(config: ModelConfig) -> Habits:
    parts = (config.zoneout, config.zoneout_cell) if config.cell == "lstm" else (config.zoneout,)
    return Habits(
        recurrent_dropout=config.recurrent_dropout,
        zoneout=parts if any(parts) else (),
        layer_norm=config.layer_norm,
    )


def _bridge(config: ModelConfig) -> nn.Module:
    if config.bridge == "copy":
        return CopyBridge(layers=config.layers)
    if config.bridge == "zero":
        return ZeroBridge(layers=config.layers, hidden=config.hidden)
    return LinearBridge(
        inputs=config.annotation_size,
        hidden=config.hidden,
        layers=config.layers,
        parts=2 if config.cell == "lstm" else 1,
        backward_only=config.bridge == "backward",
    )


def _attention(config: ModelConfig) -> Attention | None:
    if config.attention == "none":
        return None
    local = config.attention in ("local-m", "local-p")
    kind = config.local_score if local else config.attention
    hidden, width = config.hidden, config.annotation_size
    score: nn.Module
    heads = config.attention_heads
    if heads > 1 and kind == "additive":
        score = AdditiveHeads(hidden=hidden, values=width, size=config.attention_size or hidden, heads=heads)
    elif heads > 1:
        score = ProductHeads(kind=kind, hidden=hidden, values=width, heads=heads)
    elif kind in ("dot", "scaled-dot"):
        score = DotScore(hidden=hidden, scaled=kind == "scaled-dot")
    elif kind == "general":
        score = GeneralScore(hidden=hidden, values=width)
    elif kind == "additive":
        form = CoverageScore if config.coverage else AdditiveScore
        score = form(hidden=hidden, values=width, size=config.attention_size or hidden)
    else:
        score = LocationScore(hidden=hidden, positions=config.attention_positions)
    window: nn.Module | None = None
    if config.attention == "local-m":
        window = MonotonicWindow(window=config.attention_window)
    elif config.attention == "local-p":
        window = PredictiveWindow(hidden=hidden, window=config.attention_window)
    if heads > 1:
        return MultiHeadAttention(score=score, values=width, heads=heads, window=window)
    return Attention(score=score, window=window)


def _decoder(config: ModelConfig, embedding: TokenEmbedding) -> Decoder:
    attention = _attention(config)
    hidden, width, words = config.hidden, config.annotation_size, config.embedding
    every_step = config.context == "every-step"
    within, between = (attention is not None and config.attend == place for place in ("within", "between"))
    before = attention is not None and config.attend == "before"
    readout_inputs = hidden
    readout_inputs += width if attention is not None or every_step else 0
    readout_inputs += words if config.readout_word else 0
    readout: LinearReadout | TanhReadout | MaxoutReadout
    if config.readout == "linear":
        readout = LinearReadout(inputs=readout_inputs)
    else:
        kind = TanhReadout if config.readout == "tanh" else MaxoutReadout
        readout = kind(inputs=readout_inputs, size=config.readout_size or hidden)
    cell_inputs = words
    cell_inputs += width if before or every_step else 0
    cell_inputs += readout.size if config.input_feeding else 0

    def stack(inputs: int, layers: int) -> Stack:
        return Stack(
            kind=config.cell,
            inputs=inputs,
            hidden=hidden,
            layers=layers,
            dropout=config.dropout,
            variational=config.variational_dropout,
            residual=config.residual,
            habits=_habits(config),
        )

    return Decoder(
        embedding=embedding,
        below=stack(cell_inputs, 1 if within or between else config.layers),
        second=stack(width, 1) if within else None,
        above=stack(hidden + width, config.layers - 1) if (within or between) and config.layers > 1 else None,
        attention=attention,
        attend=config.attend,
        readout=readout,
        context_every_step=every_step,
        input_feeding=config.input_feeding,
        readout_word=config.readout_word,
        readout_previous=config.readout_state == "previous",
        dropout=config.dropout,
        variational=config.variational_dropout,
        coverage=config.coverage,
        switch=Switch(context=width, hidden=hidden, words=words) if config.copying else None,
    )
