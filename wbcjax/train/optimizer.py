"""The optimizer."""

from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from wbcjax.train.settings import TrainSettings


def make_optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    """Clipping, momentum or Adam, and weight decay; the result is still to be multiplied by minus the learning rate.

    SGD decays by L2: the decay joins the gradient ahead of the momentum, as in torch.optim.SGD. AdamW decays apart
    from the gradient (Loshchilov & Hutter 2019). Vectors and scalars (biases, norms) do not decay. With `l2_per_array`
    the loss has Matterport's L2 term in place of either: its gradient is clipped with the rest.
    """
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm > 0 else optax.identity()
    sgd = settings.optimizer == "sgd"
    step = optax.trace(settings.momentum) if sgd else optax.scale_by_adam(eps=settings.adam_epsilon)
    if settings.l2_per_array:
        return optax.chain(_l2_per_array(settings.weight_decay), clip, step)
    decay = optax.add_decayed_weights(settings.weight_decay, mask=lambda params: jax.tree.map(_decays, params))
    return optax.chain(clip, decay, step) if sgd else optax.chain(clip, step, decay)


def _decays(weight: Array | np.ndarray) -> bool:
    return weight.ndim > 1


def _l2_per_array(decay: float) -> optax.GradientTransformation:
    """Add the gradient of the sum over arrays of decay * sum(w^2) / size(w): `compile` of Matterport's mrcnn/model.py.

    Over kernels and biases, but not scale and bias of norms, the gamma and beta of Keras.
    """

    def add(grads: Any, params: Any) -> Any:
        weights: dict[tuple[str, ...], Any] = flatten_dict(params)
        grads = flatten_dict(grads)
        for path, weight in weights.items():
            of_norm = (*path[:-1], "scale") in weights
            if not of_norm:
                grads[path] += 2 * decay / weight.size * weight
        return unflatten_dict(grads)

    return optax.stateless(add)
