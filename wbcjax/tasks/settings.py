"""What a whole experiment's config holds, key by key, as dataclasses (`wbcjax.settings.checked`); see configs/base.py.

A key with a default may be left out of a config file, and be set on the command line all the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from ml_collections import ConfigDict

from wbcjax.input.augment import Augment
from wbcjax.input.mix import Mix
from wbcjax.input.settings import CropSetSettings, DatasetSettings, FieldSetSettings
from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings
from wbcjax.runs.folder import CLASSIFICATION, task_of
from wbcjax.settings.checked import (
    Complete,
    Name,
    Number,
    Seed,
    Share,
    ShareBelow1,
)
from wbcjax.train.settings import TrainSettings


def dataset_of(config: ConfigDict) -> DatasetSettings:
    """The data of a whole experiment. Raises ConfigError for what they cannot be."""
    kind = CropSetSettings if task_of(config) == CLASSIFICATION else FieldSetSettings
    return kind.from_config(config.dataset)


@dataclass(frozen=True)
class DetectionEvaluation:
    """`config.evaluate` of a detector."""

    score_threshold: Share


@dataclass(frozen=True)
class ClassificationEvaluation:
    """`config.evaluate` of a classifier."""

    bootstrap: Number


@dataclass(frozen=True)
class ClassificationLoss:
    """`config.loss` of a classifier."""

    label_smoothing: ShareBelow1


@dataclass(frozen=True)
class DetectionConfig:
    """A whole experiment on fields."""

    task: Literal["detection"]
    seed: Seed
    dataset: FieldSetSettings
    augment: Augment
    evaluate: DetectionEvaluation
    model: Annotated[MaskRCNNSettings, Complete()]
    train: TrainSettings
    init_from: str = ""
    init_parts: tuple[Name, ...] = ()
    init_trust_parts: bool = False
    version: Literal[2] = 2


@dataclass(frozen=True)
class ClassificationConfig:
    """A whole experiment on crops."""

    task: Literal["classification"]
    seed: Seed
    dataset: CropSetSettings
    augment: Augment
    mix: Mix
    loss: ClassificationLoss
    evaluate: ClassificationEvaluation
    model: Annotated[EfficientNetSettings, Complete()]
    train: TrainSettings
    init_from: str = ""
    init_parts: tuple[Literal["base", "head"], ...] = ()
    init_trust_parts: bool = False
    version: Literal[2] = 2
