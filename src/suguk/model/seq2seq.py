"""Encoder, bridge, decoder and head as one module, and how the settings put them together.

Shapes: B batch, S source length, T target length, Q hypotheses of a row, V vocabulary.
"""

import torch
from torch import Tensor, nn

from suguk.config import ModelConfig
from suguk.fields import SOS
from suguk.model.attention import (
    AdditiveScore,
    Attention,
    DotScore,
    GeneralScore,
    LocationScore,
    MonotonicWindow,
    PredictiveWindow,
)
from suguk.model.bridge import CopyBridge, LinearBridge, ZeroBridge
from suguk.model.cells import Stack
from suguk.model.decoder import Decoder
from suguk.model.encoder import Encoder
from suguk.model.heads import Loss, TokenHead
from suguk.model.initialise import initialise
from suguk.model.inputs import TokenEmbedding
from suguk.model.memory import Memory, State
from suguk.model.readout import LinearReadout, MaxoutReadout, TanhReadout


class Seq2Seq(nn.Module):
    """p(target | source). Satisfies `search.step.Stepper`."""

    def __init__(
        self, *, encoder: Encoder, bridge: nn.Module, summary: nn.Module, decoder: Decoder, head: TokenHead
    ) -> None:
        super().__init__()
        self.encoder, self.bridge, self.summary = encoder, bridge, summary
        self.decoder, self.head = decoder, head

    def encode(self, source: Tensor, lengths: Tensor) -> Memory:
        """source: [B, S] ids ending in `<eos>`, padded; lengths: [B]. All that decoding needs, prepared once."""
        encoded = self.encoder(source, lengths)
        context = self.summary(encoded.last[-1][0])
        attention = self.decoder.attention
        keys = encoded.states if attention is None else attention.prepare(encoded.states)
        top = (context, *encoded.last[-1][1:])  # the decoder starts from the context too: h'_0 = tanh(V' c)
        return Memory(keys, encoded.states, encoded.mask, context, self.bridge((*encoded.last[:-1], top)))

    def start(self, memory: Memory) -> State:
        """Before the first word: see `Decoder.start`."""
        return self.decoder.start(memory)

    def step(self, token: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """token: [B, Q]. Returns log probabilities of the next word [B, Q, V], the new state, weights [B, Q, S]."""
        readout, state, weights = self.decoder.step(token, state, memory)
        return self.head(readout), state, weights

    def force(self, memory: Memory, target: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing of given targets [B, T]: readouts [B, T, R] and attention weights [B, T, S]."""
        sos = torch.full_like(target[:, :1], SOS)
        readouts: tuple[Tensor, Tensor] = self.decoder(torch.cat([sos, target[:, :-1]], dim=1), memory)
        return readouts

    @staticmethod
    def contexts(memory: Memory) -> tuple[Tensor, Tensor]:
        """The source as one vector, [B, C] each: the context, and the mean of the encoder's states."""
        real = memory.mask.unsqueeze(-1).to(memory.values.dtype)
        return memory.context, (memory.values * real).sum(1) / real.sum(1)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.head.bias.dtype

    @property
    def words(self) -> int:
        """V: in the target's vocabulary."""
        return len(self.head.bias)

    def loss(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        target_lengths: Tensor,
        *,
        label_smoothing: float = 0.0,
    ) -> Loss:
        """Cross-entropy under teacher forcing, over real tokens only. target: [B, T] ending in `<eos>`, padded."""
        readouts, _ = self.force(self.encode(source, source_lengths), target)
        real = torch.arange(target.shape[1], device=target.device) < target_lengths.unsqueeze(1)
        return self.head.loss(readouts[real], target[real], label_smoothing=label_smoothing)

    def log_probs(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Forced decoding: log p of every target token [B, T] (padding included) and attention weights [B, T, S]."""
        readouts, weights = self.force(self.encode(source, source_lengths), target)
        return self.head(readouts).gather(-1, target.unsqueeze(-1)).squeeze(-1), weights


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
    source = TokenEmbedding(size=source_size, embedding=config.embedding, dropout=config.dropout)
    target = TokenEmbedding(size=target_size, embedding=config.embedding, dropout=config.dropout)
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
    if kind in ("dot", "scaled-dot"):
        score = DotScore(hidden=hidden, scaled=kind == "scaled-dot")
    elif kind == "general":
        score = GeneralScore(hidden=hidden, values=width)
    elif kind == "additive":
        score = AdditiveScore(hidden=hidden, values=width, size=config.attention_size or hidden)
    else:
        score = LocationScore(hidden=hidden, positions=config.attention_positions)
    window: nn.Module | None = None
    if config.attention == "local-m":
        window = MonotonicWindow(window=config.attention_window)
    elif config.attention == "local-p":
        window = PredictiveWindow(hidden=hidden, window=config.attention_window)
    return Attention(score=score, window=window)


def _decoder(config: ModelConfig, embedding: TokenEmbedding) -> Decoder:
    attention = _attention(config)
    hidden, width, words = config.hidden, config.annotation_size, config.embedding
    every_step = config.context == "every-step"
    between = attention is not None and config.attend == "between"
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
            residual=config.residual,
        )

    return Decoder(
        embedding=embedding,
        below=stack(cell_inputs, 1 if between else config.layers),
        above=stack(hidden + width, config.layers - 1) if between else None,
        attention=attention,
        attend=config.attend,
        readout=readout,
        context_every_step=every_step,
        input_feeding=config.input_feeding,
        readout_word=config.readout_word,
        readout_previous=config.readout_state == "previous",
        dropout=config.dropout,
    )
