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
    """Clipping, the config's optimizer and weight decay; the result is still to be multiplied by minus the rate.

    Vectors and scalars (biases, norms) do not decay. With `l2_per_array` the loss has Matterport's L2 term in place of
    the decay, over biases too, and its gradient is clipped with the rest. Rules multiply the decay of their weights and
    what the optimizer makes of them, which is as a learning rate of their own.
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
    """The optimizer and the weight decay (None: without), which optimizers that decay by themselves are given.

    To others it is ahead of all else, an L2 term as in torch.optim.SGD.
    """
    known = inspect.signature(optimizer).parameters
    given: dict[str, Any] = {"learning_rate": 1.0, "weight_decay": 0.0}
    masks = [name for name in ("mask", "weight_decay_mask") if name in known]
    if masks and "weight_decay" in known:
        given |= {"weight_decay": decay or 0.0, masks[0]: _are_matrices}
        decay = None
    step = optimizer(**{name: given[name] for name in given if name in known})
    if "learning_rate" in known:  # of optax, whose updates are times -learning_rate already, to be added to the weights
        step = optax.chain(step, optax.scale(-1.0))
    if decay is None:
        return [step]
    decays = optax.add_decayed_weights(decay, mask=_are_matrices)
    # Our AdamW and its decay lie side by side, as their states do in the checkpoints of older runs.
    return [step, decays] if getattr(optimizer, "func", None) is adamw else [decays, step]


def _are_matrices(params: Any) -> Any:
    """Whether each weight decays."""
    return jax.tree.map(lambda weight: weight.ndim > 1, params)


def _one_for_each_decay(settings: TrainSettings) -> optax.GradientTransformation:
    """The optimizer once for each decay of the rules, as it takes one only; each sees the weights that have its own."""
    factors = sorted({1.0, *(rule.weight_decay for rule in settings.rules)})
    each = [optax.chain(*_steps(settings.optimizer, factor * settings.weight_decay)) for factor in factors]

    def numbers(params: Any) -> Any:
        return jax.tree.map(lambda factor: str(factors.index(factor)), decay_factors(params, settings.rules))

    return optax.partition({str(number): one for number, one in enumerate(each)}, numbers)


def _at_rates(optimizer: optax.GradientTransformation, rules: tuple[RuleSetting, ...]) -> optax.GradientTransformation:
    """The optimizer with the learning rates of the rules; its state is as without them."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = optimizer.update(updates, state, params)
        return jax.tree.map(operator.mul, rate_factors(updates, rules), updates), state

    return optax.GradientTransformation(optimizer.init, update)
