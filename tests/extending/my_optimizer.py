import jax
import jax.numpy as jnp
import optax


def signum(momentum: float = 0.9, weight_decay: float = 0.0, mask=None):
    """Steps by the sign of a running mean of the gradients (Bernstein et al. 2018), and decay apart from it."""

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(updates, state, params=None):
        mean = jax.tree.map(lambda mean, grad: momentum * mean + (1 - momentum) * grad, state, updates)
        return jax.tree.map(jnp.sign, mean), mean

    return optax.chain(optax.GradientTransformation(init, update), optax.add_decayed_weights(weight_decay, mask))
