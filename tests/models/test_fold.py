"""What is folded into the kernels before it, and what is not."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from wbcjax.models.conv import Conv
from wbcjax.models.fold import fold, folded
from wbcjax.models.norm import BatchNorm


class Net(nn.Module):
    """A norm behind its convolution, and others: behind none, by another name, and none at all."""

    @nn.compact
    def __call__(self, x):
        x = BatchNorm(name="first_bn")(x)
        x = BatchNorm(name="stem_bn", swish=True)(Conv(4, 3, use_bias=False, name="stem_conv")(x))
        x = BatchNorm(name="norm")(Conv(5, 1, name="conv")(x))
        self.variable("batch_stats", "calls", jnp.zeros, ())
        return nn.GroupNorm(1)(x)


def test_only_norms_behind_their_convolution_are_folded_and_the_others_stay():
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 6, 6, 3)), jnp.float32)
    network: Any = Net()
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(random.uniform(0.5, 2.0, leaf.shape), jnp.float32), network.init(jax.random.key(0), x)
    )
    made = fold(variables, epsilon=1e-5)
    assert set(made["batch_stats"]) == {"first_bn", "norm", "calls"}
    expected = np.asarray(network.apply(variables, x))
    np.testing.assert_allclose(folded(network.apply)(made, x), expected, atol=1e-5)


def test_a_network_without_statistics_is_left_as_it_is():
    variables = {"params": {"stem_conv": {"kernel": np.ones((1, 1, 2, 2))}}}
    chex.assert_trees_all_equal(fold(variables, epsilon=1e-5), variables)
