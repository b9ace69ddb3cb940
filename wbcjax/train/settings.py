"""The `train` part of a config as plain, checked values."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ml_collections import ConfigDict

from wbcjax.settings.checked import (
    ConfigError,
    Count,
    Name,
    NotNegative,
    Number,
    Positive,
    Range,
    ShareBelow1,
    build,
    problems,
)

MOST_STEPS = 2**31 - 1  # steps are counted in int32
Steps = Annotated[int, Range(0, MOST_STEPS)]


@dataclass(frozen=True)
class PhaseSetting:
    """A stretch of the run that trains only some layers, as both papers' Matterport code does."""

    layers: Name  # "heads", "3+", "4+", "5+", "all", or a regular expression over weights' paths (see layers.LAYERS)
    epochs: Positive
    learning_rate_scale: NotNegative = 1.0


@dataclass(frozen=True)
class TrainSettings:
    """`config.train`, key by key."""

    batch_size: Count  # images per step, over all devices
    accumulate: Count  # parts in which each device sees its share of a batch, one after the other; 1: at once
    steps: Steps  # length of the run; 0: by epochs
    epochs: NotNegative  # length of the run; 0: by the phases
    phases: tuple[PhaseSetting, ...]  # none: all layers throughout
    optimizer: Literal["sgd", "adamw"]
    learning_rate: NotNegative
    learning_rate_batch: Number  # the batch size the rate is meant for: others scale it linearly; 0: it is as given
    momentum: ShareBelow1  # of sgd
    adam_epsilon: NotNegative  # of adamw
    weight_decay: NotNegative
    l2_per_array: bool  # the decay is Matterport's: of biases too, of each array divided by its size
    clip_norm: NotNegative  # the longest gradient; 0: any
    schedule: Literal["cosine", "step"]
    warmup_steps: Steps
    boundaries: tuple[NotNegative, ...]  # of "step", in epochs
    gamma: Positive  # of "step": the factor at each boundary
    loss_weights: dict[str, NotNegative] = field(hash=False)  # losses not named count fully
    ema_decay: ShareBelow1  # of averages of weights and batch statistics, predicted with in their place; 0: none
    log_every: Count  # steps
    eval_every_epochs: NotNegative  # 0: only at the end
    checkpoint_minutes: NotNegative  # save without evaluating after so long without a save; 0: never
    max_skipped_in_a_row: Count  # steps with a loss or gradient that is not finite, which change nothing; then stop
    max_minutes: NotNegative  # stop, evaluate and save after so long in this process; 0: never
    parallel: Literal["shard_map", "pmap"]

    @staticmethod
    def from_config(config: ConfigDict) -> "TrainSettings":
        """Check `config.train`. Raises ConfigError that names every key that is missing, unknown or out of range."""
        if found := problems(TrainSettings, config.to_dict(), "config.train"):
            raise ConfigError("; ".join(found))
        return build(TrainSettings, config.to_dict())
