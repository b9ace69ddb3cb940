"""EfficientNet under a detector: the features that the classifier's base has, and whose statistics move."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from wbcjax.models import efficientnet_backbone
from wbcjax.models.backbone import Trains, nothing_trains
from wbcjax.models.efficientnet import EfficientNet
from wbcjax.models.efficientnet_backbone import EfficientNetBackbone
from wbcjax.models.settings import EFFICIENTNET_TORCHVISION

# Without LLVM's optimisations it compiles in half the time.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SMALL = dataclasses.replace(EFFICIENTNET_TORCHVISION["b0"], width=0.25, depth=0.5)
IMAGE = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.float32)
PIXELS = (IMAGE - np.array(SMALL.pixel_mean, np.float32)) / np.array(SMALL.pixel_std, np.float32)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """B0 has a quarter of its channels and half of its blocks, so that it compiles fast."""
    monkeypatch.setitem(efficientnet_backbone.EFFICIENTNET_TORCHVISION, "b0", SMALL)


def run(variables: dict, trains: Trains) -> tuple[dict, dict]:
    """Features by level, and the statistics after."""
    model = EfficientNetBackbone(size="b0", cpu=True)
    pixels = jnp.asarray(PIXELS)
    found, changed = compiled(lambda tree: model.apply(tree, pixels, trains, mutable=["batch_stats"]))(variables)
    return found, changed["batch_stats"]


def without_top(variables: dict) -> dict:
    return {name: {k: v for k, v in tree.items() if not k.startswith("top_")} for name, tree in variables.items()}


@pytest.fixture(scope="module")
def base() -> dict:
    """Variables of an EfficientNet, with statistics of no block that are the initial ones."""
    shapes = jax.eval_shape(EfficientNet(SMALL).init, jax.random.key(0), jnp.asarray(IMAGE))
    rng = np.random.default_rng(1)
    draw = {"kernel": lambda shape: rng.normal(0, 0.3, shape), "bias": lambda shape: rng.normal(0, 0.1, shape)}
    draw |= {"mean": draw["bias"], "scale": lambda shape: rng.uniform(0.8, 1.2, shape)}
    draw["var"] = draw["scale"]
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: draw[path[-1].key](leaf.shape).astype(np.float32), shapes
    )


@pytest.mark.slow
def test_level_5_is_what_the_classifiers_base_has_before_its_top(base):
    def is_last_block(module, _):
        return module.name == "block7_0"

    _, seen = compiled(
        lambda tree: EfficientNet(SMALL, cpu=True).apply(
            tree, jnp.asarray(IMAGE), capture_intermediates=is_last_block, mutable=["intermediates"]
        )
    )(base)
    (expected,) = seen["intermediates"]["block7_0"]["__call__"]
    found, _ = run(without_top(base), nothing_trains)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found[5], expected, atol=1e-4)
    assert {level: x.shape for level, x in found.items()} == {
        level: (2, 64 // 2**level, 96 // 2**level, channels) for level, channels in ((2, 8), (3, 16), (4, 32), (5, 80))
    }


def test_it_has_the_variables_of_the_classifiers_base_without_the_top(base):
    model = EfficientNetBackbone(size="b0")
    found = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, nothing_trains), jnp.asarray(PIXELS))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, without_top(base))


@pytest.mark.slow
def test_statistics_move_in_the_stages_that_train_alone(base):
    model, before = EfficientNetBackbone(size="b0"), flatten_dict(without_top(base)["batch_stats"])
    _, after = run(without_top(base), lambda stage: stage >= 4)
    moved = {path: bool(np.any(value != before[path])) for path, value in flatten_dict(after).items()}
    assert moved == {path: model.stage_of(path) >= 4 for path in before}
    assert set(moved.values()) == {True, False}


def test_its_title_names_the_size():
    assert EfficientNetBackbone(size="b3").title == "EfficientNet-B3"
