"""The settings of the search."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from suguk.config.base import Section

FREE_TOKENS = 50  # that every output may have, however short its source


class PredictConfig(Section):
    """Defaults of the search."""

    beam: int = Field(5, ge=1, le=1024, description="width of the beam (1: greedy), or number of samples")
    n_best: int = Field(1, ge=1, description="hypotheses for each source, at most beam")
    length_penalty: float = Field(0.6, ge=0, description="alpha: 0 compares plain log probabilities")
    penalty: Literal["wu", "average"] = Field(
        "wu", description="divide log p by ((5+|Y|)/6)^alpha (wu: Wu et al. 2016), or by |Y|^alpha (average)"
    )
    coverage_penalty: float = Field(
        0.0,
        ge=0,
        description="beta: cost of source tokens that no attention went to (Wu et al. 2016, eq. 14)",
    )
    max_length: int = Field(
        200,
        ge=1,
        description="most tokens of an output with <eos>; unset: more where training targets are longer",
    )
    length_ratio: float = Field(
        10.0,
        gt=0,
        description="most tokens of an output for each of the source's, over 50 and what is asked for, which are "
        "always allowed; unset: more where training targets are longer",
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
        1.0, ge=1e-6, description="of samples: log probabilities are divided by it; below 1: more cautious"
    )
    top_k: int = Field(0, ge=0, description="draw among the k most probable words only; 0: among all")
    top_p: float = Field(
        1.0,
        ge=1e-6,
        le=1,
        description="draw among the most probable words that hold this probability (Holtzman et al. 2020)",
    )
    seed: int = Field(
        1,
        ge=0,
        le=2**31 - 1,
        description="of samples: each depends on it, on the source and on how many samples came before it alone",
    )
    mbr: Literal["none", "chrf", "bleu"] = Field(
        "none",
        description="choose the output that agrees most with the others, by chrf or bleu (minimum Bayes risk); or none",
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
