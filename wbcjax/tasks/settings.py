"""What a whole experiment's config holds, key by key, as dataclasses (`wbcjax.settings.checked`); see configs/base.py.

A key with a default may be left out of a config file, and be set on the command line all the same.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from wbcjax.enhance import METHODS
from wbcjax.input.augment import Augment
from wbcjax.input.mix import Mix
from wbcjax.models.settings import LATER, EfficientNetSettings, MaskRCNNSettings
from wbcjax.settings.checked import (
    Complete,
    Count,
    Name,
    NotEmpty,
    NotNegative,
    Number,
    OneOf,
    Seed,
    Share,
    ShareBelow1,
)
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.read import FORMATS
from wbcjax.smear.synthetic_settings import SyntheticSmear
from wbcjax.train.settings import TrainSettings

Method = Annotated[str, OneOf(tuple(METHODS))]
Names = tuple[Name, ...]
Classes = Annotated[tuple[Name, ...], NotEmpty()]


@dataclass(frozen=True)
class SplitSettings:
    """`config.dataset.split`; see `wbcjax.input.split.split_fields`."""

    seed: int
    train_fraction: Share
    test_fraction: Share = 0.0
    train_names: Names = ()
    val_names: Names = ()
    test_names: Names = ()


@dataclass(frozen=True)
class SyntheticSettings(SyntheticSmear):
    """`config.dataset.synthetic`: how many fields are drawn, and how they look."""

    count: Number = 0
    seed: Number = 0
    subtypes: tuple[Number, ...] = ()


@dataclass(frozen=True)
class FieldSetSettings:
    """`config.dataset` of a detector."""

    name: Annotated[str, OneOf(("synthetic", *FORMATS))]
    annotations: str
    images: str
    classes: Classes
    class_attribute: Name
    group_attribute: str | None
    class_of: tuple[tuple[str, str], ...]
    synthetic: SyntheticSettings
    split: SplitSettings
    canvas: tuple[Count, Count]
    max_cells: Count
    enhance: Method = "none"
    pixel_size: NotNegative = 0.0
    max_pixels: Count = MAX_PIXELS
    on_error: Literal["raise", "skip"] = "raise"


@dataclass(frozen=True)
class CropSetSettings:
    """`config.dataset` of a classifier."""

    name: Literal["crops"]
    crops: str
    val_crops: str
    classes: Classes
    split: SplitSettings
    canvas: tuple[Count, Count]
    test_crops: str = ""
    balance: bool = False
    enhance: Method = "none"
    max_pixels: Count = MAX_PIXELS


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
    model: Annotated[MaskRCNNSettings, Complete(LATER)]
    train: TrainSettings
    init_from: str = ""
    init_parts: tuple[Literal["backbone", "fpn", "rpn", "box_head", "mask_head"], ...] = ()


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
    model: Annotated[EfficientNetSettings, Complete(LATER)]
    train: TrainSettings
    init_from: str = ""
    init_parts: tuple[Literal["base", "head"], ...] = ()
