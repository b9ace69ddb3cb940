"""The `train` part of a config as plain, checked values."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from wbcjax.settings.checked import Count, Name, NotNegative, Number, Positive, Range, ShareBelow1
from wbcjax.settings.parts import Bound, PartOf
from wbcjax.train.transformations import sgd

MOST_STEPS = 2**31 - 1  # steps are counted in int32
Steps = Annotated[int, Range(0, MOST_STEPS)]

OPTIMIZERS = {"sgd": "wbcjax.train.transformations:sgd", "adamw": "wbcjax.train.transformations:adamw"}
GIVEN = ("learning_rate", "weight_decay", "mask", "weight_decay_mask")  # see `wbcjax.train.optimizer`


@dataclass(frozen=True)
class PhaseSetting:
    """A stretch of the run that trains only some layers, as both papers' Matterport code does."""

    layers: Name  # "heads", "3+", "4+", "5+", "all", or a regular expression over weights' paths (see layers.LAYERS)
    epochs: Positive
    learning_rate_scale: NotNegative = 1.0
    warmup_steps: Steps = 0  # over which the learning rate rises anew from the first step of the phase; 0: none


@dataclass(frozen=True)
class RuleSetting:
    """Learning rate and decay of some weights, in place of the common ones: the first rule that matches counts."""

    paths: Name  # a regular expression, matched from the start of paths like "backbone/layer1_0/conv1/kernel"
    learning_rate: NotNegative = 1.0  # times the common one
    weight_decay: NotNegative = 1.0  # times the common one


@dataclass(frozen=True)
class TrainSettings:
    """`config.train`, key by key."""

    batch_size: Number = 2  # images per step, over all devices
    batch_size_per_device: Number = 0  # in place of batch_size, which is then 0: programs multiply it by their devices
    # Parts of a device's share of a batch, one after the other, where all of it at once needs too much memory
    accumulate: Count = 1
    epochs: NotNegative = 0.0  # length of the run: epochs, or steps, or the phases' epochs together
    steps: Steps = 0
    max_minutes: NotNegative = 0.0  # stop, evaluate and save after so long in this process; 0: never
    phases: tuple[PhaseSetting, ...] = ()  # none: all layers throughout
    # A function that gives an optax.GradientTransformation: part("sgd", momentum=0.9), part("adamw", eps=1e-7),
    # part("optax:lion", b1=0.95). Its updates must be proportional to its `learning_rate`, if it has one: that is 1,
    # and the schedule multiplies them.
    optimizer: Annotated[Any, PartOf(OPTIMIZERS, given=GIVEN)] = Bound(sgd, momentum=0.9)  # noqa: RUF009
    learning_rate: NotNegative = 0.001
    learning_rate_batch: Number = 0  # the batch size of that rate: other sizes scale it linearly; 0: no scaling
    weight_decay: NotNegative = 1e-4  # not of norms and biases
    l2_per_array: bool = False  # the decay is Matterport's: of biases too, of each array divided by its size
    rules: tuple[RuleSetting, ...] = ()  # other learning rates and decays for some weights
    clip_norm: NotNegative = 0.0  # the largest norm of the gradient of all weights together; 0: any
    warmup_steps: Steps = 0
    schedule: Literal["cosine", "step"] = "step"
    boundaries: tuple[NotNegative, ...] = ()  # of "step", in epochs
    gamma: Positive = 0.1  # of "step": the factor at each boundary
    ema_decay: ShareBelow1 = 0.0  # of averages of weights and batch statistics, used in prediction; 0: none
    # 1 for losses that are not named; for example --config.train.loss_weights.mask=2
    loss_weights: dict[str, NotNegative] = field(default_factory=dict, hash=False)
    log_every: Count = 10  # steps
    eval_every_epochs: NotNegative = 1.0  # 0: only at the end
    max_skipped_in_a_row: Count = 10  # steps whose loss or gradient is not finite: they change nothing; then stop
    checkpoint_minutes: NotNegative = 10.0  # save without evaluating after so long without a save; 0: never
    parallel: Literal["shard_map", "pmap"] = "shard_map"
