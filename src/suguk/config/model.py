"""The settings of the model, and which of them go together."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from suguk.config.base import Section

CellKind = Literal["rnn", "lstm", "gru", "gru-reset-before"]
AttentionKind = Literal["none", "dot", "scaled-dot", "general", "additive", "location", "local-m", "local-p"]


class ModelConfig(Section):
    """Encoder, bridge, attention, decoder, readout."""

    cell: CellKind = Field(
        "lstm",
        description="rnn (tanh), lstm, gru (reset gate after the recurrent product, as in PyTorch and cuDNN) or "
        "gru-reset-before (Cho 2014)",
    )
    layers: int = Field(1, ge=1, le=16, description="layers of the encoder and of the decoder")
    hidden: int = Field(256, ge=1, description="units of the decoder's hidden state, and of the encoder's")
    embedding: int = Field(256, ge=1, description="size of the token embeddings")
    encoder_layers: int | None = Field(
        None, ge=1, le=16, description="layers of the encoder, if other than layers"
    )
    encoder_hidden: int | None = Field(
        None, ge=1, description="units of the encoder in each direction, if other than hidden"
    )
    bidirectional: bool = Field(False, description="the encoder also reads from right to left")
    reverse_source: bool = Field(False, description="the encoder reads the source backwards (Sutskever 2014)")
    residual: bool = Field(
        False, description="add each layer's input to its output, from the second layer on"
    )
    bridge: Literal["copy", "zero", "linear", "backward"] = Field(
        "copy",
        description="how the encoder's last states start the decoder: copy, zero, linear (+ tanh), or backward "
        "(tanh of the first backward state: Bahdanau 2014)",
    )
    attention: AttentionKind = Field(
        "none",
        description="score function: dot, scaled-dot, general, additive, location, or in a window local-m, local-p; "
        "none for one fixed-size context",
    )
    attend: Literal["before", "within", "between", "after"] = Field(
        "after",
        description="attention looks before the cell (previous state: Bahdanau), after it (current state: Luong), "
        "between the first and the second layer (Wu et al. 2016), or within the first layer, whose step is two cells "
        "then: the first one's state looks, the second goes on from it (conditional GRU: Sennrich et al. 2017)",
    )
    attention_size: int | None = Field(
        None, ge=1, description="units inside additive attention, if not hidden"
    )
    attention_window: int = Field(
        10, ge=1, description="D of local attention: positions on each side (Luong 2015)"
    )
    attention_positions: int = Field(200, ge=1, description="source positions that location attention knows")
    local_score: Literal["dot", "general", "additive"] = Field(
        "general", description="score inside local attention: dot, general or additive"
    )
    attention_heads: int = Field(
        1,
        ge=1,
        le=64,
        description="heads of attention, each with a part of the units and weights of its own (Vaswani et al. 2017)",
    )
    coverage: bool = Field(
        False,
        description="additive attention knows how much each source position was looked at so far (See et al. 2017)",
    )
    copying: bool = Field(
        False,
        description="the output may copy words of the source, unknown ones too (pointer-generator: See et al. 2017); "
        "needs an attention to all of the source",
    )
    input_feeding: bool = Field(
        False, description="feed the attentional vector into the next step (needs attend = after: Luong 2015)"
    )
    context: Literal["start", "every-step"] = Field(
        "start",
        description="without attention: start (the context starts the decoder), or every-step (it enters every step "
        "and the output too: Cho 2014, peeky)",
    )
    readout: Literal["linear", "tanh", "maxout"] = Field(
        "linear",
        description="from state and context to the output: linear, tanh (attentional vector) or maxout",
    )
    readout_size: int | None = Field(
        None, ge=1, description="units of the tanh or maxout readout, if not hidden"
    )
    readout_rank: int | None = Field(
        None, ge=1, description="factor the output projection to this rank (Cho 2014)"
    )
    readout_word: bool = Field(False, description="the previous word enters the readout too (deep output)")
    readout_state: Literal["current", "previous"] = Field(
        "current",
        description="which decoder state the readout sees (previous: Bahdanau 2014, appendix A.2.2)",
    )
    tied: Literal["none", "target", "all"] = Field(
        "none",
        description="the output projection is the target embedding (target), or both embeddings (all); or none",
    )
    scale_embeddings: bool = Field(
        False,
        description="embeddings enter the networks times √embedding (Vaswani et al. 2017, section 3.4): tables that "
        "start small, as a tied one has to, are heard from the first update on",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="on embeddings, between layers and on the readout")
    variational_dropout: bool = Field(
        False,
        description="dropout takes one mask a sequence, the same at all its steps (Gal and Ghahramani 2016)",
    )
    recurrent_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the recurrent weights set to zero, drawn once a batch (DropConnect: Merity et al. 2018)",
    )
    word_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the words read as <unk> in training, source and fed-back target (Bowman et al. 2016)",
    )
    embedding_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the embedding tables' rows set to zero, drawn once a batch (Gal and Ghahramani 2016)",
    )
    zoneout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that a unit of h keeps its old value at a step; their mean when the model answers "
        "(Krueger et al. 2017)",
    )
    zoneout_cell: float = Field(0.0, ge=0, lt=1, description="the same for the LSTM's c")
    layer_norm: bool = Field(
        False, description="normalise the sums of lstm and gru cells at every step (Ba et al. 2016)"
    )
    init: Literal["xavier", "uniform", "normal"] = Field(
        "xavier",
        description="xavier (recurrent matrices orthogonal, forget bias 1), uniform in ±init_scale, or normal with "
        "deviation init_scale (recurrent matrices orthogonal, biases 0)",
    )
    init_scale: float = Field(0.1, gt=0, description="scale of the uniform and normal initialisation")

    @model_validator(mode="after")
    def possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _impossible(self) -> Iterable[str]:
        if self.variational_dropout and not self.dropout:
            yield "variational_dropout says how dropout is drawn, found dropout = 0"
        if self.zoneout_cell and self.cell != "lstm":
            yield f"zoneout_cell is of the c of an lstm, found cell = {self.cell}; use zoneout"
        if self.layer_norm and self.cell not in ("lstm", "gru"):
            yield f"layer_norm is made for lstm and gru, found cell = {self.cell}"
        attends = self.attention != "none"
        if self.input_feeding and not attends:
            yield "input_feeding needs an attention, found attention = none"
        if self.input_feeding and self.attend != "after":
            yield f"input_feeding feeds what attention made after the cell, found attend = {self.attend}"
        if self.input_feeding and self.readout != "tanh":
            yield f"input_feeding feeds the attentional vector of readout = tanh, found readout = {self.readout}"
        if attends and self.context == "every-step":
            yield "context = every-step is for models without attention, found attention = " + self.attention
        if attends and self.attend == "between" and self.layers < 2:
            yield f"attend = between needs at least two decoder layers, found layers = {self.layers}"
        if not attends and self.context == "start" and self.bridge in ("zero", "backward"):
            unread = "all" if self.bridge == "zero" else "half"
            yield (
                f"bridge = {self.bridge} without attention leaves {unread} of the encoder unread; use an attention, "
                "context = every-step, or bridge = linear"
            )
        if self.tied != "none" and self.readout_rank is not None:
            yield f"readout_rank factors a projection of its own, found tied = {self.tied}"
        if self.bridge == "backward" and not self.bidirectional:
            yield "bridge = backward needs bidirectional = true"
        width = self.annotation_size
        if self.bridge == "copy" and width != self.hidden:
            yield (
                f"bridge = copy needs an encoder state as wide as the decoder's ({self.hidden}), found {width}; "
                "use bridge = linear or set encoder_hidden"
            )
        if self.bridge == "copy" and (self.encoder_layers or self.layers) < self.layers:
            yield (
                f"bridge = copy needs at least as many encoder layers as decoder layers ({self.layers}), found "
                f"{self.encoder_layers}; use bridge = linear"
            )
        local = self.attention in ("local-m", "local-p")
        kind = self.local_score if local else self.attention
        if self.coverage and self.attention != "additive":
            yield f"coverage enters attention = additive, found attention = {self.attention}"
        if self.coverage and self.attention_heads > 1:
            yield f"coverage is of one head, found attention_heads = {self.attention_heads}"
        if self.copying and self.attention in ("none", "location", "local-m", "local-p"):
            yield f"copying needs an attention that reaches all of the source, found attention = {self.attention}"
        if self.attention_heads > 1:
            yield from self._impossible_heads(kind)
        elif kind in ("dot", "scaled-dot") and width != self.hidden:
            yield f"a dot score needs encoder states as wide as hidden ({self.hidden}), found {width}; use general"

    def _impossible_heads(self, kind: str) -> Iterable[str]:
        if kind in ("none", "location"):
            yield f"attention_heads needs a score of queries and keys, found attention = {kind}"
        inner = (self.attention_size or self.hidden) if kind == "additive" else self.hidden
        name = "attention_size" if kind == "additive" and self.attention_size else "hidden"
        for what, size in ((name, inner), ("the width of an encoder state", self.annotation_size)):
            if size % self.attention_heads:
                yield f"attention_heads has to divide {what} ({size}), found attention_heads = {self.attention_heads}"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def annotation_size(self) -> int:
        """C: width of one encoder state, all directions together."""
        return (self.encoder_hidden or self.hidden) * self.directions
