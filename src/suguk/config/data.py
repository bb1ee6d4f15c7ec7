"""The settings of the data, and of how each side's text becomes tokens."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from suguk.config.base import Section

TokenizerKind = Literal["auto", "word", "char", "byte", "bpe", "unigram", "symbols"]


class DataConfig(Section):
    """Where the pairs come from."""

    train: tuple[str, ...] = Field((), description="training data: one table, or two parallel text files")
    valid: tuple[str, ...] = Field((), description="validation data; empty: split off the training data")
    source: str = Field("", description="source column of a table, name or number from 1; empty: the first")
    target: str = Field("", description="target column of a table, name or number from 1; empty: the second")
    columns: tuple[str, str] = Field(
        ("", ""),
        description="names of the source and target column, taken where a table has both and source and target are "
        "not given; training records what it took",
    )
    header: bool | None = Field(None, description="the table has a header row; unset: recognised")
    valid_share: float = Field(
        0.02, gt=0, lt=1, description="share of sources split off for validation (at most 2,000 sources)"
    )
    max_length: int = Field(
        3000,
        ge=1,
        description="longest side of a training pair, in characters, at most 20,000; longer lines are problems",
    )
    skip_bad: bool = Field(False, description="drop bad pairs, count them and list them in a file")
    lowercase: bool = Field(False, description="lowercase both sides (also of what is predicted from)")
    also: tuple[tuple[str, ...], ...] = Field(
        (), description="more training data beside train, each one table or two parallel text files"
    )
    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (),
        description="how often an epoch has each pair of train and of every one of also; with a fraction some of the "
        "pairs, drawn anew in every epoch, come once more; empty: once",
    )

    @field_validator("source", "target", mode="before")
    @classmethod
    def number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("also", mode="before")
    @classmethod
    def one_table(cls, value: Any) -> Any:
        one = value[0] if isinstance(value, tuple | list) and len(value) == 1 else value
        return ((one,),) if isinstance(one, str) else value

    @property
    def names(self) -> tuple[str, str]:
        """What the columns of the pairs are called, as far as is known."""
        return self.columns if all(self.columns) else (self.source, self.target)

    @model_validator(mode="after")
    def possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _impossible(self) -> Iterable[str]:
        for paths in self.also:
            if len(paths) not in (1, 2):
                yield f"also: each is one table or two parallel text files, found {len(paths)} paths"
        if self.weights and len(self.weights) != 1 + len(self.also):
            yield (
                f"weights are of train and of every one of also, {1 + len(self.also)} in all, found "
                f"{len(self.weights)}"
            )


class SideConfig(Section):
    """How one side's text becomes tokens."""

    tokenizer: TokenizerKind = Field(
        "auto",
        description="word, char, byte, bpe, unigram or symbols (split at spaces); auto chooses from the data",
    )
    vocab_size: int = Field(8000, ge=5, description="most entries in the vocabulary, special tokens included")
    embeddings: str = Field(
        "",
        description="file of vectors (word2vec text, GloVe or fastText .vec, may be .gz) that the embeddings of its "
        "words begin with; empty: none",
    )
    sampling: float = Field(
        0.0,
        ge=0,
        le=1,
        description="in training, words are cut anew in every epoch; bpe: share of merges left out (BPE dropout, "
        "Provilkov et al. 2020: 0.1); unigram: exponent of the probabilities that cuts are drawn with (Kudo 2018: "
        "0.1 to 0.5, the lower the more varied); 0: never",
    )

    @model_validator(mode="after")
    def possible(self) -> Self:
        problems = list(self._impossible())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _impossible(self) -> Iterable[str]:
        if self.sampling and self.tokenizer not in ("auto", "bpe", "unigram"):
            yield f"sampling needs tokenizer = bpe or unigram, found {self.tokenizer}"


class TargetConfig(SideConfig):
    shared: bool = Field(False, description="one tokenizer and vocabulary for both sides (joint)")
