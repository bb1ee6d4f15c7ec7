"""The settings of the loop around the model."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from suguk.config.base import Section

Part = Literal["embeddings", "encoder", "bridge", "attention", "decoder", "readout", "head"]
Metric = Literal["auto", "bleu", "chrf", "ter", "exact", "cer", "wer", "per", "perplexity"]
Schedule = Literal["constant", "inverse-sqrt", "linear", "cosine", "one-cycle", "plateau", "halving"]


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
    accumulate: int = Field(
        1, ge=1, description="batches that make one update, by the sum of their gradients"
    )
    optimizer: Literal["sgd", "adam", "adamw", "adadelta", "rmsprop"] = Field(
        "adam", description="sgd, adam, adamw, adadelta or rmsprop"
    )
    lr: float = Field(1e-3, gt=0, description="learning rate, the highest one where a schedule warms up")
    weight_decay: float = Field(0.0, ge=0, description="weight decay (of adamw: decoupled)")
    schedule: Schedule = Field(
        "constant",
        description="constant; inverse-sqrt after warmup updates; linear, cosine: after warmup down to 0 at the end "
        "of epochs or minutes (cosine: Loshchilov and Hutter 2017); one-cycle: up from a tenth of lr, down again, "
        "then to 0 at that end (Smith 2018); plateau: times decay when neither metric nor loss improved for patience "
        "validations; halving: times decay every halve_every epochs from halve_after on",
    )
    warmup: int = Field(400, ge=0, description="updates of linear warm-up (inverse-sqrt, linear, cosine)")
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
    coverage_loss: float = Field(
        0.0,
        ge=0,
        description="weight of the attention that goes where there was attention before, in the loss (See et al. 2017)",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="highest decay per update of a moving average of the weights, which is then what is "
        "validated and kept (Polyak and Juditsky 1992); 0: none",
    )
    average_last: int = Field(
        0,
        ge=0,
        description="validate, when training ends, the average of the weights of this many last validations, and keep "
        "it if it is the best (Vaswani et al. 2017); 0: no",
    )
    sampling: Literal["none", "linear", "exponential", "inverse-sigmoid"] = Field(
        "none",
        description="scheduled sampling (Bengio et al. 2015): feed the decoder the true token with a probability that "
        "falls with the updates (linear, exponential or inverse-sigmoid), else one drawn from the model; none: always "
        "the true one",
    )
    sampling_scale: float = Field(
        1000.0,
        ge=1,
        description="updates: linear falls to 0 in as many, exponential by e; the k of inverse-sigmoid",
    )
    sampling_floor: float = Field(0.0, ge=0, le=1, description="lowest probability of the true token")
    freeze: tuple[Part, ...] = Field(
        (),
        description="parts of the model whose weights stay as they are: embeddings (of both sides), encoder, bridge, "
        "attention, decoder, readout, head (a table that head and embeddings share stays with either)",
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
    recompute: bool = Field(
        False,
        description="compute whole sequences of cells a second time for the pass back (Chen et al. 2016): less memory "
        "and a little slower; no effect with zoneout, layer norm and on decoders that go step by step",
    )
    cuda_graphs: bool = Field(
        True,
        description="on a GPU, record loops of the decoder and replay each as one launch; batches are padded to "
        "multiples of 16 rows and 8 tokens; encoders and processors go without. false: less memory",
    )
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

    @model_validator(mode="after")
    def possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _impossible(self) -> Iterable[str]:
        if self.ema and self.average_last:
            yield f"average_last averages weights that ema = {self.ema} has averaged already; set ema = 0 beside it"
