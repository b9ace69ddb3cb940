"""EfficientNet: counts of its weights, what chance does in training, and what must not depend on what."""

import dataclasses
import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from wbcjax.models import conv, efficientnet
from wbcjax.models.conv import Conv, DepthwiseConv
from wbcjax.models.efficientnet import Classifier, Head
from wbcjax.models.fold import fold, folded
from wbcjax.models.initial import initial_values
from wbcjax.models.settings import (
    EFFICIENTNET_KERAS,
    EFFICIENTNET_SIDE,
    EFFICIENTNET_TORCHVISION,
    EfficientNetSettings,
    from_dict,
)

CANVAS = (40, 36)
CLASSES = 3
# Ten blocks, three of them with a skip connection.
SMALL = dataclasses.replace(EFFICIENTNET_KERAS["b0"], width=0.25, depth=0.5, dropout=0.5, stochastic_depth=0.5)

# Without LLVM's optimisations it compiles in half the time.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(2).integers(0, 256, (4, *CANVAS, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def fresh():
    """Variables of the small model."""
    return efficientnet.init(Classifier(SMALL, CLASSES), CANVAS, seed=0)


@pytest.fixture(scope="module")
def variables(fresh, image):
    """With the statistics of a batch: with fresh ones all images look alike at the end."""
    before, (_, changed) = fresh["batch_stats"], train()(fresh, image, keys(4))
    moved = jax.tree.map(lambda old, new: (new - 0.99 * old) / 0.01, before, changed["batch_stats"])
    return {"params": fresh["params"], "batch_stats": moved}


def keys(images: int) -> jax.Array:
    return jax.random.split(jax.random.key(3), images)


@functools.cache
def predict(dtype: str = "float32"):
    return compiled(Classifier(dataclasses.replace(SMALL, dtype=dtype), CLASSES, cpu=True).apply)


@functools.cache
def train(axis_name: str | None = None):
    """(variables, image, keys) to (logits, changed statistics); with a name, two devices share the batch."""

    def run(variables, image, keys):
        model = Classifier(SMALL, CLASSES, cpu=True)
        return model.apply(variables, image, keys, axis_name, mutable=["batch_stats"])

    if axis_name is None:
        return compiled(run)
    mesh = jax.make_mesh((2,), (axis_name,), axis_types=(AxisType.Auto,))
    split = P(axis_name)
    return compiled(
        jax.shard_map(run, mesh=mesh, in_specs=(P(), split, split), out_specs=(split, P()), check_vma=False)
    )


def test_b3_has_the_counts_that_suvon_et_al_print():
    """10,783,535 in the base and 11,397,939 in all, of which 11,310,636 are trained."""
    settings = dataclasses.replace(EFFICIENTNET_KERAS["b3"], head="flatten")
    found = efficientnet.shapes(Classifier(settings, 4), (300, 300))
    assert count([tree["base"] for tree in found.values()]) == 10_783_535
    assert count(found["batch_stats"]["base"]["normalization"]) == 7
    assert count(found["params"]["head"]) == 614_404
    assert count(found) == 11_397_939
    assert count(found["params"]) == 11_310_636


# Over ImageNet's 1000 classes: torchvision's `num_params` are the trained ones; Keras's `count_params` all of them.
PUBLISHED = {
    "b0": (5_288_548, 5_330_571),
    "b1": (7_794_184, 7_856_239),
    "b2": (9_109_994, 9_177_569),
    "b3": (12_233_232, 12_320_535),
    "b4": (19_341_616, 19_466_823),
    "b5": (30_389_784, 30_562_527),
    "b6": (43_040_704, 43_265_143),
    "b7": (66_347_960, 66_658_687),
}


@pytest.mark.parametrize("scale", PUBLISHED)
def test_every_scale_has_the_published_counts(scale):
    found = efficientnet.shapes(Classifier(EFFICIENTNET_KERAS[scale], 1000), (64, 64))
    assert (count(found["params"]), count(found)) == PUBLISHED[scale]


def test_both_dialects_scale_alike_and_for_images_of_the_published_sides():
    for scale, keras in EFFICIENTNET_KERAS.items():
        torchvision = EFFICIENTNET_TORCHVISION[scale]
        for field in ("width", "depth", "dropout", "stochastic_depth", "head", "dtype"):
            assert getattr(torchvision, field) == getattr(keras, field)
        assert torchvision.norm_epsilon == (1e-3 if scale in ("b5", "b6", "b7") else 1e-5)
    assert list(EFFICIENTNET_SIDE.values()) == [224, 240, 260, 300, 380, 456, 528, 600]


@given(eights=st.integers(1, 200), width=st.floats(0.2, 3.0))
def test_scaled_channels_come_in_eights_near_what_was_asked_for(eights, width):
    found = efficientnet.scaled_channels(8 * eights, width)
    assert found % 8 == 0
    assert found >= 0.9 * 8 * eights * width
    assert found <= 8 * eights * width + 8


@pytest.mark.slow
def test_fresh_weights_are_drawn_as_the_modules_would_draw_them(fresh):
    params = fresh["params"]
    key, x = jax.random.key(0), jnp.zeros((1, 4, 4, 320))
    pairs = {
        "conv": (params["base"]["block7_0"]["project_conv"], Conv(80, 1, use_bias=False).init(key, x[..., :288])),
        "depthwise": (params["base"]["block7_0"]["depthwise_conv"], DepthwiseConv(3).init(key, x[..., :288])),
        "dense": (params["head"]["logits"], Head(SMALL, CLASSES).init(key, x, None)),
    }
    for name, (ours, theirs) in pairs.items():
        theirs = jax.tree.leaves(theirs, is_leaf=lambda leaf: isinstance(leaf, jax.Array))
        spread = next(float(leaf.std()) for leaf in theirs if leaf.ndim > 1)
        assert ours["kernel"].std() == pytest.approx(spread, rel=0.1), name
        assert abs(ours["kernel"].mean()) < 0.05 * spread, name
    norm, stored = params["base"]["stem_bn"], fresh["batch_stats"]["base"]["stem_bn"]
    assert [float(x.mean()) for x in (norm["scale"], norm["bias"], stored["mean"], stored["var"])] == [1, 0, 0, 1]


@pytest.mark.slow
def test_training_starts_from_what_the_modules_initialisers_give(monkeypatch):
    monkeypatch.setattr(efficientnet, "DENSE_INIT", nn.initializers.constant(0.25))
    monkeypatch.setattr(
        conv, "DEPTHWISE_INIT", lambda key, shape, dtype: jnp.arange(math.prod(shape), dtype=dtype).reshape(shape)
    )
    model = efficientnet.build(dataclasses.replace(SMALL, depth=0.1), CLASSES)
    params = efficientnet.init(model, CANVAS, seed=0)["params"]
    np.testing.assert_array_equal(params["head"]["logits"]["kernel"], np.full((320, CLASSES), 0.25))
    np.testing.assert_array_equal(
        params["base"]["block1_0"]["depthwise_conv"]["kernel"], np.arange(72.0).reshape(3, 3, 8)
    )


def test_initial_values_are_those_of_flaxs_own_init_compiled_or_not():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = DepthwiseConv(3, name="depthwise")(Conv(4, 1, kernel_init=efficientnet.KERNEL_INIT, name="conv")(x))
            self.variable("own", "ones", jnp.ones, (3,))
            return nn.Dense(2, kernel_init=efficientnet.DENSE_INIT, name="dense")(x)

    x = jnp.zeros((1, 4, 4, 3))
    found = initial_values(Net(), 7, jax.ShapeDtypeStruct(x.shape, x.dtype))
    chex.assert_trees_all_equal(found, jax.jit(Net().init)(jax.random.key(7), x))
    kernels = [found["params"][name]["kernel"] for name in ("conv", "depthwise", "dense")]
    assert len({float(kernel.flat[0]) for kernel in kernels}) == 3


def test_fresh_weights_are_the_same_for_the_same_seed_and_others_for_another(fresh):
    again, other = (efficientnet.init(Classifier(SMALL, CLASSES), CANVAS, seed) for seed in (0, 1))
    chex.assert_trees_all_equal(fresh, again)
    assert not np.array_equal(fresh["params"]["head"]["logits"]["kernel"], other["params"]["head"]["logits"]["kernel"])


@pytest.mark.slow
def test_a_prediction_does_not_depend_on_the_other_images_of_the_batch(variables, image):
    together = predict()(variables, image)
    others = predict()(variables, image[[0, 3, 3, 3]])
    assert np.std(together, axis=0).min() > 1e-2
    np.testing.assert_allclose(others[0], together[0], rtol=1e-4, atol=1e-5)


def test_batch_norm_folded_into_kernels_gives_the_same_logits(variables, image):
    rng = np.random.default_rng(3)
    moved = jax.tree.map(lambda x: jnp.asarray(x * rng.uniform(0.5, 2.0, x.shape) + 0.1, jnp.float32), variables)
    plain = predict()(moved, image)
    network = compiled(folded(Classifier(SMALL, CLASSES, cpu=True).apply))
    np.testing.assert_allclose(
        network(fold(moved, SMALL.norm_epsilon), image), plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max()
    )
    assert np.abs(np.asarray(plain) - np.asarray(predict()(variables, image))).max() > 0.1  # the norms do something


@pytest.mark.slow
def test_in_bfloat16_logits_are_float32_and_near_those_of_float32(variables, image):
    exact, rounded = predict()(variables, image), predict("bfloat16")(variables, image)
    assert rounded.dtype == jnp.float32
    assert not np.array_equal(rounded, exact)
    assert np.linalg.norm(rounded - exact) < 0.3 * np.linalg.norm(exact)


def test_in_training_chance_is_an_images_own_key(variables, image):
    """One image four times: it fares alike under one key, and otherwise under another."""
    alike = image[[0, 0, 0, 0]]
    logits, _ = train()(variables, alike, keys(3)[jnp.array([0, 1, 0, 2])])
    np.testing.assert_allclose(logits[0], logits[2], rtol=1e-5, atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2
    assert np.abs(logits[0] - logits[3]).max() > 1e-2


@pytest.mark.slow
def test_a_batch_shared_by_two_devices_gives_what_one_device_gives(variables, image):
    one, two = (train(axis_name)(variables, image, keys(4)) for axis_name in (None, "data"))
    chex.assert_trees_all_close(one, two, rtol=1e-3, atol=1e-4)


def test_running_statistics_move_by_the_dialects_momentum(variables, image):
    _, changed = train()(variables, image, keys(4))
    before, after = (tree["batch_stats"]["base"] for tree in (variables, changed))
    pixels = (image / 255.0 - before["normalization"]["mean"]) / np.sqrt(before["normalization"]["var"])
    kernel = variables["params"]["base"]["stem_conv"]["kernel"]
    stem = jax.lax.conv_general_dilated(pixels, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    for name, of_batch in (("mean", stem.mean((0, 1, 2))), ("var", stem.var((0, 1, 2)))):
        expected = 0.99 * before["stem_bn"][name] + 0.01 * of_batch
        np.testing.assert_allclose(after["stem_bn"][name], expected, rtol=1e-4)
    chex.assert_trees_all_equal(before["normalization"], after["normalization"])


def test_stochastic_depth_leaves_out_more_of_later_blocks_and_keeps_the_mean():
    for block, of_block in enumerate(map(np.asarray, efficientnet._branch_weights(keys(4000), 0.4, 5))):
        survival = 1 - 0.4 * block / 5
        assert np.all(np.isclose(of_block, 0) | np.isclose(of_block, 1 / survival))
        assert of_block.mean() == pytest.approx(1.0, abs=0.05)
    assert efficientnet._branch_weights(None, 0.4, 5) == [None] * 5


@pytest.mark.parametrize("head", ["pool", "flatten"])
def test_the_head_drops_its_share_of_features_and_keeps_the_mean(head):
    """With a weight of 1 a head adds up the features that are left: of 1000 ones, twice as many as half of them."""
    module = Head(dataclasses.replace(SMALL, head=head, dropout=0.5), 1)
    x = jnp.ones((200, 1, 2, 500))
    features = 500 if head == "pool" else 1000
    ones = {"params": {"logits": {"kernel": jnp.ones((features, 1)), "bias": jnp.zeros(1)}}}
    np.testing.assert_allclose(np.asarray(module.apply(ones, x, None)), features, rtol=1e-6)
    sums = np.asarray(module.apply(ones, x, keys(200)))
    assert sums.mean() == pytest.approx(features, rel=0.02)
    assert sums.std() == pytest.approx(math.sqrt(features), rel=0.2)  # binomial, times two


def test_the_flattening_head_takes_features_row_by_row():
    x = jax.random.normal(jax.random.key(0), (1, 2, 3, 4))
    module = Head(dataclasses.replace(SMALL, head="flatten"), 24)
    identity = {"params": {"logits": {"kernel": jnp.eye(24), "bias": jnp.zeros(24)}}}
    np.testing.assert_allclose(np.asarray(module.apply(identity, x, None))[0], x.ravel(), rtol=1e-6)


def test_a_config_describes_the_model_and_a_wrong_value_is_refused_by_name():
    config = ConfigDict(dataclasses.asdict(SMALL))
    assert efficientnet.build(from_dict(EfficientNetSettings, config.to_dict()), CLASSES, cpu=False) == Classifier(
        SMALL, CLASSES
    )
    config.head = "average"
    with pytest.raises(ValueError, match=r"config.model.head is 'average': give one of 'pool', 'flatten'"):
        efficientnet.build(from_dict(EfficientNetSettings, config.to_dict()), CLASSES)
