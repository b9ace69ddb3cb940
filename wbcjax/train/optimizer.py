"""The optimizer of a config."""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import jax
import optax

from wbcjax.train.rules import decay_factors, rate_factors
from wbcjax.train.settings import RuleSetting, TrainSettings
from wbcjax.train.transformations import adamw, l2_per_array


def make_optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    """Clipping, the config's optimizer and weight decay. Updates must still be multiplied by minus the learning rate.

    Vectors and scalars (biases, norms) do not decay. With `l2_per_array` the loss has Matterport's L2 term in place of
    the decay, over biases too, and its gradient is clipped with the rest. Rules multiply the decay and the updates of
    their weights, which so have a learning rate of their own.
    """
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm > 0 else optax.identity()
    if settings.l2_per_array:
        l2 = l2_per_array(settings.weight_decay, lambda params: decay_factors(params, settings.rules))
        optimizer = optax.chain(l2, clip, *_steps(settings.optimizer, None))
    elif all(rule.weight_decay == 1 for rule in settings.rules):
        optimizer = optax.chain(clip, *_steps(settings.optimizer, settings.weight_decay))
    else:
        optimizer = optax.chain(clip, _one_for_each_decay(settings))
    return _at_rates(optimizer, settings.rules) if settings.rules else optimizer


def _steps(
    optimizer: Callable[..., optax.GradientTransformation], decay: float | None
) -> list[optax.GradientTransformation]:
    """The optimizer and the weight decay (None: without), which is an argument of optimizers that have it.

    Before others it is added to the gradient, an L2 term as in torch.optim.SGD.
    """
    known = inspect.signature(optimizer).parameters
    given: dict[str, Any] = {"learning_rate": 1.0, "weight_decay": 0.0}
    masks = [name for name in ("mask", "weight_decay_mask") if name in known]
    if masks and "weight_decay" in known:
        given |= {"weight_decay": decay or 0.0, masks[0]: _are_matrices}
        decay = None
    step = optimizer(**{name: given[name] for name in given if name in known})
    if "learning_rate" in known:  # optax's own: its updates are multiplied by -learning_rate already
        step = optax.chain(step, optax.scale(-1.0))
    if decay is None:
        return [step]
    decays = optax.add_decayed_weights(decay, mask=_are_matrices)
    # Our AdamW and its decay are two transformations, as their states are in the checkpoints of older runs.
    return [step, decays] if getattr(optimizer, "func", None) is adamw else [decays, step]


def _are_matrices(params: Any) -> Any:
    """Whether each weight decays."""
    return jax.tree.map(lambda weight: weight.ndim > 1, params)


def _one_for_each_decay(settings: TrainSettings) -> optax.GradientTransformation:
    """One copy of the optimizer for each decay of the rules, on the weights that have it."""
    factors = sorted({1.0, *(rule.weight_decay for rule in settings.rules)})
    each = [optax.chain(*_steps(settings.optimizer, factor * settings.weight_decay)) for factor in factors]

    def numbers(params: Any) -> Any:
        return jax.tree.map(lambda factor: str(factors.index(factor)), decay_factors(params, settings.rules))

    return optax.partition({str(number): one for number, one in enumerate(each)}, numbers)


def _at_rates(optimizer: optax.GradientTransformation, rules: tuple[RuleSetting, ...]) -> optax.GradientTransformation:
    """The optimizer with the learning rates of the rules; its state is the same as without them."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(operator.mul, rate_factors(updates, rules), updates), state

    return optax.GradientTransformation(optimizer.init, update)
