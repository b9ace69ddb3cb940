"""The length of a run, the layers of its phases, and its learning rate."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from wbcjax.settings.checked import ConfigError
from wbcjax.train.settings import MOST_STEPS, TrainSettings

Schedule = Callable[[Int[Array, ""]], Float[Array, ""] | float]  # step -> learning rate


@dataclass(frozen=True)
class Phase:
    """Steps from `first` up to the next phase's, in which the weights of `layers` train."""

    first: int
    layers: str
    learning_rate_scale: float
    warmup_steps: int = 0


@dataclass(frozen=True)
class Plan:
    """A run laid out in optimizer steps, counted from 0."""

    steps: int
    steps_per_epoch: float  # rarely whole: a batch may span two epochs
    phases: tuple[Phase, ...]
    steps_per_evaluation: float  # 0: only at the end

    def phase(self, step: int) -> Phase:
        """The phase in which `step` is trained."""
        return [phase for phase in self.phases if phase.first <= step][-1]

    def evaluation_due(self, step: int) -> bool:
        """Whether the weights after `step` steps are to be evaluated."""
        if step >= self.steps:  # above where the run began with a longer plan
            return True
        if step == 0 or self.steps_per_evaluation == 0:
            return False
        count = max(1, round(step / self.steps_per_evaluation))
        return step == max(1, round(count * self.steps_per_evaluation))


def plan_run(settings: TrainSettings, images: int) -> Plan:
    """Lay out a run over a training set of `images`; an epoch is `images / batch_size` steps.

    The length is `steps` if above 0, else `epochs` if above 0, else the sum of the phases' epochs. A run shorter than
    its phases leaves the last ones out. Raises ConfigError where no length is given, or it exceeds the phases.
    """
    if images < 1:
        raise ConfigError("the training set is empty: check the files and the split that config.dataset names")
    check_length(settings)
    steps_per_epoch = images / settings.batch_size
    phases, epochs = [], 0.0
    for phase in settings.phases:
        first = _step(epochs, steps_per_epoch)
        phases.append(Phase(first, phase.layers, phase.learning_rate_scale, phase.warmup_steps))
        epochs += phase.epochs
    steps = settings.steps or _steps(settings.epochs or epochs, steps_per_epoch)
    if phases and steps > _steps(epochs, steps_per_epoch):
        raise ConfigError(
            f"config.train.phases end after {epochs:g} epochs, the run after {steps / steps_per_epoch:g} ({steps} "
            f"steps of {settings.batch_size} images out of {images}): lengthen a phase, or set steps and epochs to 0"
        )
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        phases=tuple(phases) or (Phase(0, "all", 1.0),),
        steps_per_evaluation=settings.eval_every_epochs * steps_per_epoch,
    )


def check_length(settings: TrainSettings) -> None:
    """Raise ConfigError where no length is given, or it exceeds the phases for any training set."""
    if not (settings.steps or settings.epochs or settings.phases):
        raise ConfigError(
            "config.train.steps and epochs are 0, and there are no phases: the length of the run is not given; set one"
        )
    epochs = sum(phase.epochs for phase in settings.phases)
    if settings.phases and not settings.steps and settings.epochs > epochs:
        raise ConfigError(
            f"config.train.epochs is {settings.epochs:g}, and config.train.phases end after {epochs:g}: lengthen a "
            "phase, or set epochs to 0"
        )


def learning_rate(settings: TrainSettings, plan: Plan) -> Schedule:
    """The schedule step -> learning rate: linear warm-up, then cosine or step decay, times the phase's scale.

    A phase with `warmup_steps` of its own warms up again, from its first step on; the decay does not depend on that.
    Where it begins within the warm-up of the run, the lower rate of the two holds.
    "cosine" falls to 0 at the end of the run (Loshchilov & Hutter 2017, one cycle); "step" multiplies by `gamma` at
    each of `boundaries`. The rate depends on the step alone, so that a resumed run follows the same curve. With
    `learning_rate_batch`, it is proportional to the batch (Goyal et al. 2017, section 2.1, whose warm-up it needs).
    """
    base = settings.learning_rate
    if settings.learning_rate_batch:
        base *= settings.batch_size / settings.learning_rate_batch
    drops = jnp.array([_step(epoch, plan.steps_per_epoch) for epoch in settings.boundaries], jnp.int32)
    starts = jnp.array([phase.first for phase in plan.phases], jnp.int32)
    scales = jnp.array([phase.learning_rate_scale for phase in plan.phases], jnp.float32)
    warmups = jnp.array([max(phase.warmup_steps, 1) for phase in plan.phases], jnp.int32)
    run_warmup = max(settings.warmup_steps, 1)  # over one step: none

    def schedule(step: Int[Array, ""]) -> Float[Array, ""]:
        phase = jnp.sum(step >= starts) - 1
        of_phase = (step - starts[phase] + 1) / warmups[phase]
        rate = base * scales[phase] * jnp.minimum(1.0, jnp.minimum((step + 1) / run_warmup, of_phase))
        if settings.schedule == "step":
            return rate * settings.gamma ** jnp.sum(step >= drops)
        decay_steps = max(plan.steps - settings.warmup_steps, 1)
        done = jnp.clip((step - settings.warmup_steps) / decay_steps, 0.0, 1.0)
        return rate * 0.5 * (1.0 + jnp.cos(jnp.pi * done))

    return schedule


def _steps(epochs: float, steps_per_epoch: float) -> int:
    return max(1, _step(epochs, steps_per_epoch)) if epochs > 0 else 0


def _step(epochs: float, steps_per_epoch: float) -> int:
    """The step that ends `epochs` epochs, at most MOST_STEPS."""
    return round(min(epochs * steps_per_epoch, MOST_STEPS))
