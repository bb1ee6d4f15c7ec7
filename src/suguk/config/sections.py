"""All sections of the settings: frozen, typed, documented there and nowhere else."""

from typing import Self

from pydantic import model_validator

from suguk.config.base import Section
from suguk.config.data import DataConfig, SideConfig, TargetConfig
from suguk.config.model import ModelConfig
from suguk.config.predict import PredictConfig
from suguk.config.train import TrainConfig


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
        if self.train.coverage_loss and self.model.attention == "none":
            raise ValueError("train.coverage_loss is of attention weights, found model.attention = none")
        if self.model.tied == "all" and self.source.embeddings and self.target.embeddings:
            raise ValueError("model.tied = all has one table of embeddings: set source.embeddings only")
        kinds = {self.source.tokenizer, self.target.tokenizer}
        if self.model.copying and len(kinds) > 1 and "auto" not in kinds:
            raise ValueError(
                "model.copying needs one kind of tokens on both sides, found source.tokenizer = "
                f"{self.source.tokenizer}, target.tokenizer = {self.target.tokenizer}"
            )
        return self
