"""Backbones with the weights of classifiers, level by level, against torchvision and Keras (`pytest -m parity`)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import efficientnet as parity
from tests.parity.fill import fill
from wbcjax.models.backbone import Backbone, nothing_trains
from wbcjax.models.convnext import NORM_EPSILON, ConvNeXt
from wbcjax.models.efficientnet_backbone import EfficientNetBackbone
from wbcjax.models.settings import TORCHVISION, MaskRCNNSettings
from wbcjax.weights.convert import convert
from wbcjax.weights.initialise import initialise

pytestmark = pytest.mark.parity

TOLERANCE = 1e-4  # largest difference, relative to the largest value of the reference
SEED = 43
REASON = "torch, torchvision or keras is not installed (extra `parity`)"

Levels = dict[int, np.ndarray]  # features (n, h, w, c)


def pixels() -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (1, 64, 96, 3)).astype(np.float32)


def features(settings: MaskRCNNSettings, arrays: dict[str, np.ndarray]) -> Levels:
    """Those of our backbone; layers that the arrays lack are norms, which leave values as they are."""
    backbone: Backbone = settings.backbone
    image = (pixels() - np.array(settings.pixel_mean, np.float32)) / np.array(settings.pixel_std, np.float32)
    shapes = jax.eval_shape(lambda: backbone.init(jax.random.key(0), jnp.asarray(image), nothing_trains))

    def fresh(path: Any, leaf: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        value = {"scale": 1.0, "bias": 0.0}[name.rpartition("/")[2]] if name.split("/")[1] in ABSENT else np.nan
        return np.full(leaf.shape, value, np.float32)

    tree = jax.tree_util.tree_map_with_path(fresh, shapes)
    found = initialise({kind: {"backbone": of} for kind, of in tree.items()}, arrays, settings)
    variables = {kind: of["backbone"] for kind, of in found.variables.items()}
    return parity.compiled(lambda variables, x: backbone.apply(variables, x, nothing_trains))(variables, image)


ABSENT = ConvNeXt.FOR_DETECTION


def equal(mine: Levels, theirs: Levels) -> None:
    assert set(mine) == set(theirs) == {2, 3, 4, 5}
    for level, values in theirs.items():
        assert mine[level].shape == values.shape
        np.testing.assert_allclose(
            mine[level], values, rtol=0, atol=TOLERANCE * np.abs(values).max(), err_msg=f"{level}"
        )


def of_torchvision(name: str, levels: dict[int, int]) -> tuple[dict[str, np.ndarray], Levels]:
    """torchvision's classifier, filled: its arrays, and what the modules of its `features` give, by our levels."""
    torch = pytest.importorskip("torch", reason=REASON)
    torchvision = pytest.importorskip("torchvision", reason=REASON)
    torch.set_num_threads(1)
    model = getattr(torchvision.models, name)(weights=None).eval()
    arrays = {name: fill(name, tuple(value.shape), SEED) for name, value in model.state_dict().items() if value.ndim}
    arrays |= {name: np.abs(value) for name, value in arrays.items() if name.endswith("layer_scale")}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()}, strict=False)
    image = (pixels() - np.array(TORCHVISION.pixel_mean, np.float32)) / np.array(TORCHVISION.pixel_std, np.float32)
    theirs = {}
    with torch.no_grad():
        x = torch.from_numpy(image).permute(0, 3, 1, 2)
        for number, module in enumerate(model.features):
            x = module(x)
            if number in levels:
                theirs[levels[number]] = x.permute(0, 2, 3, 1).numpy()
    return arrays, theirs


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_convnext_equals_torchvisions_after_a_norm(size):
    arrays, theirs = of_torchvision(f"convnext_{size}", {1: 2, 3: 3, 5: 4, 7: 5})
    mine = features(dataclasses.replace(TORCHVISION, backbone=ConvNeXt(size=size, cpu=True)), arrays)
    normed = {}
    for level, values in theirs.items():
        mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
        normed[level] = (values - mean) / np.sqrt(variance + NORM_EPSILON)
    equal(mine, normed)


def test_efficientnet_equals_torchvisions_at_every_level():
    arrays, theirs = of_torchvision("efficientnet_b0", {2: 2, 3: 3, 5: 4, 7: 5})
    equal(features(dataclasses.replace(TORCHVISION, backbone=EfficientNetBackbone(cpu=True)), arrays), theirs)


def test_efficientnet_equals_kerass_from_raw_pixels():
    """Keras normalises in the network, we by `config.model`, with what its weights hold."""
    keras = pytest.importorskip("tests.parity.make_efficientnet_reference", reason=REASON).keras  # with its backend
    keras.utils.clear_session()  # else its layers are numbered after those of other tests
    model = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(64, 96, 3))
    for weight in model.weights:
        weight.assign(parity._fill_keras(weight.path, tuple(weight.shape), SEED))
    model.get_layer("normalization").finalize_state()  # it works with copies of its variables
    ends = {2: "block2b_add", 3: "block3b_add", 4: "block5c_add", 5: "block7a_project_bn"}
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in ends.values()])
    theirs = {level: np.asarray(x) for level, x in zip(ends, outputs(pixels(), training=False), strict=True)}

    arrays = {weight.path: np.asarray(weight) for weight in model.weights}
    needs = convert(arrays).of_backbone
    mean, deviation = needs["pixel_mean"][0], needs["pixel_std"][0]
    backbone = EfficientNetBackbone(dialect="keras", cpu=True)
    settings = dataclasses.replace(TORCHVISION, backbone=backbone, pixel_mean=mean, pixel_std=deviation)
    equal(features(settings, arrays), theirs)
