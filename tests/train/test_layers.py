"""The naming of layers, and what freezing them means."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import toy
from wbcjax.models.norm import BatchNorm
from wbcjax.train.layers import frozen_statistics, join_weights, split_weights
from wbcjax.train.state import split_collections

TREE = {
    "backbone": {name: {"kernel": name} for name in ("stem", "layer1_0", "layer2_0", "layer3_22", "layer4_1")},
    "fpn": {"lateral3": {"kernel": "fpn"}},
    "rpn": {"kernel": "rpn"},
}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("heads", {"fpn", "rpn"}),
        ("5+", {"fpn", "rpn", "layer4_1"}),
        ("4+", {"fpn", "rpn", "layer4_1", "layer3_22"}),
        ("3+", {"fpn", "rpn", "layer4_1", "layer3_22", "layer2_0"}),
        ("all", {"fpn", "rpn", "layer4_1", "layer3_22", "layer2_0", "layer1_0", "stem"}),
        ("backbone/(stem|layer1)", {"stem", "layer1_0"}),
        ("rpn", {"rpn"}),
    ],
)
def test_layers_are_those_of_matterport(layers, expected):
    trained, frozen = split_weights(TREE, layers)
    assert set(names(trained)) == expected
    assert set(names(frozen)) == set(names(TREE)) - expected
    assert join_weights(trained, frozen) == TREE


def names(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from names(value)
        else:
            yield value


def test_layers_that_match_no_weight_are_refused():
    with pytest.raises(ValueError, match=r"layers 'fpm' of config.train.phases match no weight.*backbone, fpn, rpn"):
        split_weights(TREE, "fpm")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("heads", {"logits"}),
        ("5+", {"logits", "block6_0", "block7_1", "top_conv"}),
        ("4+", {"logits", "block6_0", "block7_1", "top_conv", "block4_0", "block5_2"}),
        ("3+", {"logits", "block6_0", "block7_1", "top_conv", "block4_0", "block5_2", "block3_1"}),
    ],
)
def test_layers_of_an_efficientnet_are_those_of_the_same_strides(layers, expected):
    blocks = ("stem_conv", "block2_0", "block3_1", "block4_0", "block5_2", "block6_0", "block7_1", "top_conv")
    tree = {"base": {name: {"kernel": name} for name in blocks}, "head": {"logits": {"kernel": "logits"}}}
    assert set(names(split_weights(tree, layers)[0])) == expected


def test_frozen_batch_norms_neither_use_nor_learn_the_statistics_of_a_batch():
    norm = BatchNorm(train=True, momentum=0.9)
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)), jnp.float32)
    variables = norm.init(jax.random.key(0), x)
    with frozen_statistics("head/"):
        frozen, kept = norm.apply(variables, x, mutable=["batch_stats"])
    with frozen_statistics("all"):
        trained, moved = norm.apply(variables, x, mutable=["batch_stats"])
    kept, moved = dict(kept), dict(moved)
    np.testing.assert_array_equal(frozen, BatchNorm(train=False).apply(variables, x))
    np.testing.assert_allclose(np.asarray(trained).mean(axis=0), np.zeros(4), atol=1e-6)
    chex.assert_trees_all_equal(kept["batch_stats"], variables["batch_stats"])
    assert np.abs(moved["batch_stats"]["mean"]).min() > 0.2


def test_a_phase_keeps_the_statistics_of_what_it_does_not_train():
    variables, batch = toy.variables(0), next(toy.batches(toy.Images(), 8, seed=0))
    keys = jax.random.split(jax.random.key(0), 8)
    results = {}
    for layers in ("heads", "all"):
        with frozen_statistics(layers):
            _, after = toy.losses(*split_collections(variables), batch, keys, None)
            results[layers] = after["batch_stats"]["backbone"]["norm"]["mean"]
    before = variables["batch_stats"]["backbone"]["norm"]["mean"]
    np.testing.assert_array_equal(results["heads"], before)
    assert np.abs(results["all"] - before).max() > 0
