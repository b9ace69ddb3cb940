"""The settings of whole experiments as dataclasses (`wbcjax.settings.checked`); see configs/base.py.

A key with a default may be left out of a config file, and can still be set on the command line.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from wbcjax.input.augment import Augment
from wbcjax.input.mix import Mix
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings
from wbcjax.settings.checked import (
    Complete,
    Name,
    Number,
    Share,
    ShareBelow1,
)
from wbcjax.tasks.experiment import ExperimentSettings


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


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(ExperimentSettings):
    """A whole experiment on fields."""

    task: str = "detection"
    dataset: FieldSetSettings
    augment: Augment
    evaluate: DetectionEvaluation
    model: Annotated[MaskRCNNSettings, Complete()]
    init_from: str = ""
    init_parts: tuple[Name, ...] = ()
    init_trust_parts: bool = False


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(ExperimentSettings):
    """A whole experiment on crops."""

    dataset: CropSetSettings
    augment: Augment
    mix: Mix
    loss: ClassificationLoss
    evaluate: ClassificationEvaluation
    model: Annotated[EfficientNetSettings, Complete()]
    init_from: str = ""
    init_parts: tuple[Literal["base", "head"], ...] = ()
    init_trust_parts: bool = False
