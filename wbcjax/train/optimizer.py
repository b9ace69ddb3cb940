"""The optimizer."""

import jax
import numpy as np
import optax
from jaxtyping import Array

from wbcjax.train.settings import TrainSettings


def make_optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    """Clipping, momentum or Adam, and weight decay; the result is still to be multiplied by minus the learning rate.

    SGD decays by L2: the decay joins the gradient ahead of the momentum, as in torch.optim.SGD. AdamW decays apart
    from the gradient (Loshchilov & Hutter 2019). Vectors and scalars (biases, norms) do not decay.
    """
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm > 0 else optax.identity()
    decay = optax.add_decayed_weights(settings.weight_decay, mask=lambda params: jax.tree.map(_decays, params))
    if settings.optimizer == "sgd":
        return optax.chain(clip, decay, optax.trace(settings.momentum))
    return optax.chain(clip, optax.scale_by_adam(), decay)


def _decays(weight: Array | np.ndarray) -> bool:
    return weight.ndim > 1
