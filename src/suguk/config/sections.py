"""The sections of the settings: frozen, typed, documented here and nowhere else."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TokenizerKind = Literal["auto", "word", "char", "byte", "bpe", "unigram", "symbols"]
CellKind = Literal["rnn", "lstm", "gru", "gru-reset-before"]
AttentionKind = Literal["none", "dot", "scaled-dot", "general", "additive", "location", "local-m", "local-p"]
Metric = Literal["auto", "bleu", "chrf", "ter", "exact", "cer", "wer", "per", "perplexity"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the pairs come from."""

    train: tuple[str, ...] = Field((), description="training data: one table, or two parallel text files")
    valid: tuple[str, ...] = Field((), description="validation data; empty: split off the training data")
    source: str = Field("", description="source column of a table, name or number from 1; empty: the first")
    target: str = Field("", description="target column of a table, name or number from 1; empty: the second")
    header: bool | None = Field(None, description="the table has a header row; unset: recognised")
    valid_share: float = Field(
        0.02, gt=0, lt=1, description="share of sources split off for validation (at most 2,000 sources)"
    )
    max_length: int = Field(
        3000, ge=1, description="longest side of a training pair, in characters; longer lines are problems"
    )
    skip_bad: bool = Field(False, description="drop bad pairs, count them and list them in a file")
    lowercase: bool = Field(False, description="lowercase both sides (also of what is predicted from)")


class SideConfig(Section):
    """How one side's text becomes tokens."""

    tokenizer: TokenizerKind = Field(
        "auto",
        description="word, char, byte, bpe, unigram or symbols (split at spaces); auto chooses from the data",
    )
    vocab_size: int = Field(8000, ge=5, description="most entries in the vocabulary, special tokens included")


class TargetConfig(SideConfig):
    shared: bool = Field(False, description="one tokenizer and vocabulary for both sides (joint)")


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
    attention: AttentionKind = Field("none", description="score function, or none for one fixed-size context")
    attend: Literal["before", "between", "after"] = Field(
        "after",
        description="attention looks before the cell (previous state: Bahdanau), after it (current state: Luong), "
        "or between the first and the second layer (Wu et al. 2016)",
    )
    attention_size: int | None = Field(
        None, ge=1, description="units inside additive attention, if not hidden"
    )
    attention_window: int = Field(
        10, ge=1, description="D of local attention: positions on each side (Luong 2015)"
    )
    attention_positions: int = Field(200, ge=1, description="source positions that location attention knows")
    local_score: Literal["dot", "general", "additive"] = Field(
        "general", description="score inside local attention"
    )
    input_feeding: bool = Field(
        False, description="feed the attentional vector into the next step (needs attend = after: Luong 2015)"
    )
    context: Literal["start", "every-step"] = Field(
        "start",
        description="without attention: the context starts the decoder, or enters every step and the output "
        "too (Cho 2014, peeky)",
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
        "none", description="share the output projection with the target embedding, or with both embeddings"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="on embeddings, between layers and on the readout")
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
        if kind in ("dot", "scaled-dot") and width != self.hidden:
            yield f"a dot score needs encoder states as wide as hidden ({self.hidden}), found {width}; use general"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def annotation_size(self) -> int:
        """C: width of one encoder state, all directions together."""
        return (self.encoder_hidden or self.hidden) * self.directions


class TrainConfig(Section):
    """The loop around the model."""

    epochs: int = Field(20, ge=1, description="passes over the training data, at most")
    minutes: float | None = Field(
        None, gt=0, description="time budget: training ends in time, with the best model so far"
    )
    batch_tokens: int = Field(1024, ge=1, description="tokens of a batch: rows times the longer padded side")
    batch_sentences: int | None = Field(
        None, ge=1, description="most pairs of a batch; unset: only tokens count"
    )
    optimizer: Literal["sgd", "adam", "adamw", "adadelta"] = Field("adam", description="the optimizer")
    lr: float = Field(1e-3, gt=0, description="learning rate, the highest one where a schedule warms up")
    weight_decay: float = Field(0.0, ge=0, description="weight decay (of adamw: decoupled)")
    schedule: Literal["constant", "inverse-sqrt", "linear", "plateau", "halving"] = Field(
        "constant",
        description="constant; inverse-sqrt after warmup updates; linear: after warmup down to 0 at the end of epochs "
        "or minutes; plateau: times decay when neither metric nor loss improved for patience validations; halving: "
        "times decay every halve_every epochs from halve_after on",
    )
    warmup: int = Field(400, ge=0, description="updates of linear warm-up (inverse-sqrt, linear)")
    decay: float = Field(0.5, gt=0, lt=1, description="factor of plateau and halving")
    patience: int = Field(2, ge=1, description="validations without any improvement before plateau decays")
    halve_after: float = Field(5.0, ge=0, description="epochs before halving starts")
    halve_every: float = Field(0.5, gt=0, description="epochs between halvings")
    loss_per: Literal["token", "sentence"] = Field(
        "token",
        description="divide a batch's loss by its real target tokens, or by its sentences, as the papers do",
    )
    clip: float = Field(5.0, ge=0, description="largest norm of the gradient; 0: no clipping")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="mass spread evenly over the vocabulary")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="highest decay per update of a moving average of the weights, which is then what is "
        "validated and kept (Polyak and Juditsky 1992); 0: none",
    )
    seed: int = Field(
        1, ge=0, le=2**31 - 1, description="of the split, initialisation, batch order and dropout"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="fp32, or bf16: matrix products under autocast, weights and sums in fp32; auto: bf16 where the "
        "processor or the GPU computes in it",
    )
    device: str = Field("auto", description="auto (a GPU if there is one), cpu, cuda or cuda:N")
    valid_metric: Metric = Field(
        "auto",
        description="of free-running greedy decoding, chooses the best model: bleu, chrf, ter, exact, cer, wer, per, "
        "perplexity (the only one of teacher forcing); auto: chrf for sentences, exact for words and symbols",
    )
    valid_every: float = Field(1.0, gt=0, description="epochs between validations")
    valid_samples: int = Field(1000, ge=1, description="most validation sources decoded at each validation")
    early_stopping: int = Field(
        5,
        ge=0,
        description="validations in which neither metric nor loss improved before training stops; 0: never",
    )
    export: bool = Field(
        True, description="write model.onnx when training ends: up to a minute after the time budget"
    )
    save_every: int = Field(
        1000, ge=1, description="updates between saves of the training state, besides validations"
    )


class PredictConfig(Section):
    """Defaults of the search."""

    beam: int = Field(5, ge=1, le=1024, description="width of the beam (1: greedy), or number of samples")
    n_best: int = Field(1, ge=1, description="hypotheses for each source, at most beam")
    length_penalty: float = Field(0.6, ge=0, description="alpha: 0 compares plain log probabilities")
    penalty: Literal["wu", "average"] = Field(
        "wu", description="divide log p by ((5+|Y|)/6)^alpha (Wu et al. 2016), or by |Y|^alpha"
    )
    coverage_penalty: float = Field(
        0.0,
        ge=0,
        description="beta: cost of source tokens that no attention went to (Wu et al. 2016, eq. 14)",
    )
    max_length: int = Field(
        200,
        ge=1,
        description="most tokens of an output with <eos>; also at most 10 times the source's tokens + 50",
    )
    min_length: int = Field(1, ge=1, description="fewest tokens of an output with <eos>")
    no_repeat_ngram: int = Field(0, ge=0, description="no sequence of so many tokens comes twice; 0: any may")
    groups: int = Field(
        1,
        ge=1,
        description="groups that the beam is divided into (diverse beam search, Vijayakumar et al. 2016)",
    )
    diversity: float = Field(
        0.5, ge=0, description="cost of a word for each time that an earlier group chose it at the same step"
    )
    sample: bool = Field(False, description="draw outputs at random, beam of them, instead of searching")
    temperature: float = Field(
        1.0, gt=0, description="of samples: log probabilities are divided by it; below 1: more cautious"
    )
    top_k: int = Field(0, ge=0, description="draw among the k most probable words only; 0: among all")
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="draw among the most probable words that hold this probability (Holtzman et al. 2020)",
    )
    seed: int = Field(
        1, ge=0, le=2**31 - 1, description="of samples, which depend on it and on the source alone"
    )
    mbr: Literal["none", "chrf", "bleu"] = Field(
        "none",
        description="choose the output that agrees most with the others, by this metric (minimum Bayes risk)",
    )
    batch_tokens: int = Field(4096, ge=1, description="source tokens decoded at once, times the beam")
    replace_unknown: bool = Field(
        True,
        description="replace an unknown output word by the most attended source word (word tokenizers, Luong 2015)",
    )

    @property
    def offset(self) -> float:
        """k of the length penalty ((k + |Y|) / (k + 1))^alpha."""
        return 5.0 if self.penalty == "wu" else 0.0

    def penalty_of(self, length: int) -> float:
        """The length penalty of an output of so many tokens, `<eos>` included."""
        return float(((self.offset + max(length, 1)) / (self.offset + 1)) ** self.length_penalty)

    @model_validator(mode="after")
    def possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _impossible(self) -> Iterable[str]:
        if self.n_best > self.beam:
            yield f"n_best = {self.n_best} needs a beam at least as wide, found beam = {self.beam}"
        if self.min_length > self.max_length:
            yield f"min_length = {self.min_length} is above max_length = {self.max_length}"
        if self.beam % self.groups:
            yield f"groups = {self.groups} must divide the beam, found beam = {self.beam}"
        if self.sample and self.groups > 1:
            yield f"samples know no groups, found sample = true and groups = {self.groups}"
        if self.mbr != "none" and self.beam == 1:
            yield f"mbr = {self.mbr} compares outputs, found beam = 1"


class Config(Section):
    """All settings of a run."""

    data: DataConfig = DataConfig()
    source: SideConfig = SideConfig()
    target: TargetConfig = TargetConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()

    @model_validator(mode="after")
    def possible(self) -> Self:
        if self.model.tied == "all" and not self.target.shared:
            raise ValueError("model.tied = all needs one vocabulary for both sides: set target.shared = true")
        return self
