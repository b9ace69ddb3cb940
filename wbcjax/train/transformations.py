"""Gradient transformations of our own: the optimizers that have short names, and Matterport's L2 term."""

from collections.abc import Callable
from typing import Any

import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.settings.checked import NotNegative, ShareBelow1


def sgd(momentum: ShareBelow1 = 0.9) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum, as in torch.optim.SGD."""
    return optax.trace(momentum)


def adamw(b1: ShareBelow1 = 0.9, b2: ShareBelow1 = 0.999, eps: NotNegative = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015); with the weight decay it is AdamW (Loshchilov & Hutter 2019). Keras's eps is 1e-7."""
    return optax.scale_by_adam(b1, b2, eps)


def l2_per_array(decay: float, factors: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Add the gradient of the sum over arrays of decay * sum(w^2) / size(w): `compile` of Matterport's mrcnn/model.py.

    Over kernels and biases, but not scale and bias of norms, the gamma and beta of Keras.
    factors: of weights, a tree of the factors of their decay.
    """

    def add(grads: Any, params: Any) -> Any:
        weights: dict[tuple[str, ...], Any] = flatten_dict(params)
        times: dict[tuple[str, ...], Any] = flatten_dict(factors(params))
        grads = flatten_dict(grads)
        for path, weight in weights.items():
            of_norm = (*path[:-1], "scale") in weights
            if not of_norm:
                grads[path] += 2 * decay * times[path] / weight.size * weight
        return unflatten_dict(grads)

    return optax.stateless(add)
