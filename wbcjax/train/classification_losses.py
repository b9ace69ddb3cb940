"""The loss of a classifier of crops, and its accuracy."""

import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

LOSSES = ("class",)  # of the results of `classification_losses`: the accuracy is only watched


def classification_losses(
    logits: Float[Array, "n c"], target: Float[Array, "n c"], label_smoothing: float
) -> dict[str, Float[Array, ""]]:
    """`class`, the cross-entropy, and `accuracy`, the share of crops whose most probable class is their target's.

    Each row of `target` sums to 1. `label_smoothing` is the share of it that is spread uniformly over all classes
    (Szegedy et al. 2016, section 7).
    """
    smoothed = target * (1 - label_smoothing) + label_smoothing / target.shape[-1]
    right = jnp.argmax(logits, -1) == jnp.argmax(target, -1)
    return {"class": jnp.mean(optax.softmax_cross_entropy(logits, smoothed)), "accuracy": jnp.mean(right)}
