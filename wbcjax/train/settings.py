"""The `train` part of a config as plain, checked values."""

from dataclasses import dataclass, field, fields

from ml_collections import ConfigDict


@dataclass(frozen=True)
class PhaseSetting:
    """A stretch of the run that trains only some layers, as both papers' Matterport code does."""

    layers: str  # "heads", "3+", "4+", "5+", "all", or a regular expression over weights' paths (see layers.LAYERS)
    epochs: float
    learning_rate_scale: float = 1.0


@dataclass(frozen=True)
class TrainSettings:
    """`config.train`, key by key."""

    batch_size: int  # images per step, over all devices
    accumulate: int  # parts in which each device sees its share of a batch, one after the other; 1: at once
    steps: int  # length of the run; 0: by epochs
    epochs: float  # length of the run; 0: by the phases
    phases: tuple[PhaseSetting, ...]  # none: all layers throughout
    optimizer: str  # "sgd" | "adamw"
    learning_rate: float
    learning_rate_batch: int  # the batch size that the rate is meant for: others scale it linearly; 0: it is as given
    momentum: float  # of sgd
    adam_epsilon: float  # of adamw
    weight_decay: float
    l2_per_array: bool  # the decay is Matterport's: of biases too, of each array divided by its size
    clip_norm: float  # the longest gradient; 0: any
    schedule: str  # "cosine" | "step"
    warmup_steps: int
    boundaries: tuple[float, ...]  # of "step", in epochs
    gamma: float  # of "step": the factor at each boundary
    loss_weights: dict[str, float] = field(hash=False)  # losses not named count fully
    ema_decay: float  # of running averages of weights and batch statistics, predicted with in their place; 0: none
    log_every: int  # steps
    eval_every_epochs: float  # 0: only at the end
    checkpoint_minutes: float  # save without evaluating after so long without a save; 0: never
    max_skipped_in_a_row: int  # steps with a loss or gradient that is not finite, which change nothing; then stop
    max_minutes: float  # stop, evaluate and save after so long in this process; 0: never
    parallel: str  # "shard_map" | "pmap"

    @staticmethod
    def from_config(config: ConfigDict) -> "TrainSettings":
        """Check `config.train`. Raises ValueError that names every key that is missing, unknown or out of its range."""
        values = config.to_dict()
        known = {key.name for key in fields(TrainSettings)}
        problems = [f"{key} is missing" for key in sorted(known - set(values))]
        problems += [f"{key} is unknown" for key in sorted(set(values) - known)]
        problems += [
            f"{key} is {values[key]!r}: choose {' or '.join(map(repr, choices))}"
            for key, choices in _CHOICES.items()
            if key in values and values[key] not in choices
        ]
        problems += [
            f"{key} is {values[key]!r}: it must be at least {least}"
            for key, least in _LEAST.items()
            if key in values and not values[key] >= least
        ]
        if "ema_decay" in values and not values["ema_decay"] < 1:
            problems.append(f"ema_decay is {values['ema_decay']!r}: it must be below 1")
        phases, phase_problems = _phases(values.get("phases", ()))
        if problems or phase_problems:
            raise ValueError("config.train: " + "; ".join(problems + phase_problems))
        return TrainSettings(**values | {"phases": phases, "boundaries": tuple(values["boundaries"])})


_CHOICES = {"optimizer": ("sgd", "adamw"), "schedule": ("cosine", "step"), "parallel": ("shard_map", "pmap")}
_LEAST = {
    "batch_size": 1,
    "accumulate": 1,
    "learning_rate_batch": 0,
    "max_skipped_in_a_row": 1,
    "steps": 0,
    "epochs": 0,
    "momentum": 0,
    "adam_epsilon": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "warmup_steps": 0,
    "ema_decay": 0,
    "log_every": 1,
    "eval_every_epochs": 0,
    "checkpoint_minutes": 0,
    "max_minutes": 0,
}


def _phases(settings: tuple) -> tuple[tuple[PhaseSetting, ...], list[str]]:
    phases, problems = [], []
    known = {key.name for key in fields(PhaseSetting)}
    for number, setting in enumerate(settings):
        setting = dict(setting)
        if {"layers", "epochs"} <= set(setting) <= known and setting["epochs"] > 0:
            phases.append(PhaseSetting(**setting))
        else:
            problems.append(
                f"phases[{number}] is {setting}: it needs `layers`, `epochs` above 0 and, if other than 1, "
                "`learning_rate_scale`; nothing else"
            )
    return tuple(phases), problems
