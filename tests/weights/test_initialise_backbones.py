"""Classifiers' weights into the backbone of a detector: what lands where, and what is refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.weights import named
from wbcjax.models.backbone import Backbone, nothing_trains
from wbcjax.models.convnext import ConvNeXt
from wbcjax.models.efficientnet_backbone import EfficientNetBackbone
from wbcjax.models.settings import TORCHVISION, MaskRCNNSettings
from wbcjax.weights.convert import convert
from wbcjax.weights.initialise import initialise, initialise_from_ours

INITIAL = -7.0  # of every variable, so that one that was not filled shows
KERAS_PIXELS = {"pixel_mean": (123.675, 116.28, 103.53), "pixel_std": (58.395, 57.12, 57.375)}
LEVEL_NORMS = {f"params/backbone/level{level}_norm/{leaf}" for level in (2, 3, 4, 5) for leaf in ("scale", "bias")}


def detector(backbone: Backbone) -> tuple[MaskRCNNSettings, dict[str, Any]]:
    """Settings of a detector, and those of its variables that its backbone has."""
    image = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: backbone.init(jax.random.key(0), image, nothing_trains))
    tree = jax.tree.map(lambda leaf: np.full(leaf.shape, INITIAL, np.float32), shapes)
    return dataclasses.replace(TORCHVISION, backbone=backbone), {kind: {"backbone": of} for kind, of in tree.items()}


def keras() -> dict[str, np.ndarray]:
    """Keras's EfficientNet-B0 as it is with ImageNet's weights: deviations are stored as variances."""
    arrays = named.random(named.efficientnet_keras())
    arrays["normalization/mean"] = np.array([0.485, 0.456, 0.406], np.float32)
    arrays["normalization/variance"] = np.array([0.229, 0.224, 0.225], np.float32)
    return arrays


def arrays_of(kind: str) -> dict[str, np.ndarray]:
    return keras() if kind == "Keras's EfficientNet" else named.random(named.ALL[kind]())


BACKBONES = {
    "torchvision's ConvNeXt": ConvNeXt(size="atto"),
    "torchvision's EfficientNet": EfficientNetBackbone(),
    "Keras's EfficientNet": EfficientNetBackbone(dialect="keras"),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_classifier_fills_all_but_layers_for_detection(kind):
    settings, variables = detector(BACKBONES[kind])
    found = initialise(variables, arrays_of(kind), settings)
    flat: dict[str, Any] = flatten_dict(found.variables, sep="/")
    initial = {path for path, array in flat.items() if np.all(array == INITIAL)}
    assert initial == set(found.report.initial) == (LEVEL_NORMS if "ConvNeXt" in kind else set())


@pytest.mark.parametrize(
    ("kind", "modules"),
    [
        ("torchvision's ConvNeXt", {"classifier.0", "classifier.2"}),
        ("torchvision's EfficientNet", {"features.8.0", "features.8.1", "classifier.1"}),
        ("Keras's EfficientNet", {"normalization", "top_conv", "top_bn", "predictions"}),
    ],
)
def test_only_what_a_detector_lacks_is_left_out(kind, modules):
    settings, variables = detector(BACKBONES[kind])
    found = initialise(variables, arrays_of(kind), settings).report
    assert {name.rpartition("/" if "Keras" in kind else ".")[0] for name in found.left_out} == modules


CONVNEXT_PLACES = (  # an element of torchvision's array, and where it is in ours
    ("features.0.0.weight", (7, 1, 2, 3), "stem/kernel", (2, 3, 1, 7)),
    ("features.0.1.bias", (3,), "stem_norm/bias", (3,)),
    ("features.2.0.weight", (5,), "level3_down_norm/scale", (5,)),
    ("features.6.1.weight", (9, 4, 1, 0), "level5_down/kernel", (1, 0, 4, 9)),
    ("features.5.5.block.0.weight", (8, 0, 6, 2), "level4_5/depthwise/kernel", (6, 2, 8)),
    ("features.5.5.block.0.bias", (8,), "level4_5/depthwise_bias", (8,)),
    ("features.1.1.block.2.weight", (2,), "level2_1/norm/scale", (2,)),
    ("features.3.0.block.3.weight", (99, 4), "level3_0/expand/kernel", (4, 99)),
    ("features.7.1.block.5.weight", (4, 99), "level5_1/project/kernel", (99, 4)),
    ("features.7.1.layer_scale", (6, 0, 0), "level5_1/scale", (6,)),
)


def test_values_of_a_convnext_land_in_their_places():
    arrays = named.random(named.torchvision_convnext())
    settings, variables = detector(ConvNeXt(size="atto"))
    found = initialise(variables, arrays, settings).variables
    ours: dict[str, Any] = flatten_dict(found["params"]["backbone"], sep="/")
    for theirs, element, path, place in CONVNEXT_PLACES:
        assert ours[path][place] == arrays[theirs][element], path


@pytest.mark.parametrize(
    ("kind", "changed", "told"),
    [
        ("torchvision's ConvNeXt", ConvNeXt(size="nano"), "backbone.size is 'nano'; these weights need 'atto'"),
        ("torchvision's ConvNeXt", ConvNeXt(size="atto", width=48), "backbone.width is 48; these weights need 40"),
        ("Keras's EfficientNet", EfficientNetBackbone(), "backbone.dialect is 'torchvision'; .* need 'keras'"),
        ("torchvision's EfficientNet", EfficientNetBackbone(size="b1"), "backbone.size is 'b1'; .* need 'b0'"),
        ("torchvision's EfficientNet", TORCHVISION.backbone, "backbone.part is 'resnet'; .* need 'efficientnet'"),
        ("torchvision's ConvNeXt", TORCHVISION.backbone, "backbone.part is 'resnet'; .* need 'convnext'"),
        ("torchvision's ResNet", ConvNeXt(size="atto"), "backbone.part is 'convnext'; .* need 'resnet'"),
    ],
)
def test_another_backbone_is_refused_by_the_field(kind, changed, told):
    settings = dataclasses.replace(TORCHVISION, backbone=changed)
    with pytest.raises(ValueError, match=rf"in 1 fields:\n  config\.model\.{told}"):
        initialise({}, arrays_of(kind), settings)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("field", ["pixel_mean", "pixel_std"])
def test_other_pixels_than_the_weights_knew_are_refused(kind, field):
    settings = dataclasses.replace(TORCHVISION, backbone=BACKBONES[kind], **{field: (1.0, 2.0, 3.0)})
    needed = str(KERAS_PIXELS[field]).replace("(", r"\(").replace(")", r"\)")  # torchvision's as well
    with pytest.raises(ValueError, match=rf"in 1 fields:\n.*{field} is .*; these weights need {needed}"):
        initialise({}, arrays_of(kind), settings)


def test_a_keras_detector_takes_the_pixels_stored_with_its_weights():
    arrays = keras() | {"normalization/mean": np.zeros(3, np.float32), "normalization/variance": np.ones(3, np.float32)}
    needs = convert(arrays).of_backbone
    assert (needs["pixel_mean"], needs["pixel_std"]) == (((0.0, 0.0, 0.0),), ((255.0, 255.0, 255.0),))
    del arrays["normalization/mean"]
    settings, variables = detector(BACKBONES["Keras's EfficientNet"])
    with pytest.raises(ValueError, match=r"weights of Keras's .*the layer `normalization` is missing"):
        initialise(variables, arrays, settings)


def test_arrays_that_are_missing_are_named():
    settings, variables = detector(ConvNeXt(size="atto"))
    arrays = named.random(named.torchvision_convnext())
    del arrays["features.5.5.block.0.bias"], arrays["features.7.1.layer_scale"]
    with pytest.raises(ValueError, match="in 2 places") as refused:
        initialise(variables, arrays, settings)
    assert "missing: params/backbone/level4_5/depthwise_bias (160,)" in str(refused.value)
    assert "missing: params/backbone/level5_1/scale (320,)" in str(refused.value)


def test_sizes_that_we_have_not_are_refused():
    arrays = named.random(named.torchvision_convnext(8, (1, 1, 1, 1)))
    settings, variables = detector(ConvNeXt(size="atto"))
    with pytest.raises(
        ValueError, match=r"8 channels and levels of \(1, 1, 1, 1\) blocks, which none of ConvNeXt atto"
    ):
        initialise(variables, arrays, settings)


def test_a_convnext_is_converted_without_its_level_norms():
    arrays = named.random(named.torchvision_convnext())
    settings, variables = detector(ConvNeXt(size="atto"))
    converted = convert(arrays)
    assert not LEVEL_NORMS & set(converted.arrays)
    found = initialise_from_ours(variables, converted.arrays, settings, converted.settings)
    jax.tree.map(np.testing.assert_array_equal, found.variables, initialise(variables, arrays, settings).variables)


def test_level_norms_of_a_detector_are_loaded_whole():
    """Some of them missing is an error, as of any other layer."""
    settings, variables = detector(ConvNeXt(size="atto"))
    trained: dict[str, Any] = flatten_dict(jax.tree.map(np.ones_like, variables), sep="/")
    assert initialise_from_ours(variables, trained, settings, settings).report.initial == ()
    del trained["params/backbone/level3_norm/bias"]
    with pytest.raises(ValueError, match=r"in 1 places:\n  missing: params/backbone/level3_norm/bias"):
        initialise_from_ours(variables, trained, settings, settings)


def test_a_classifiers_file_tells_what_a_detector_needs():
    lines = convert(keras()).text().splitlines()
    start = lines.index("for the backbone of a Mask R-CNN, config.model needs")
    assert lines[start + 1 :] == [
        "  backbone.part: 'efficientnet'",
        "  backbone.size: 'b0'",
        "  backbone.dialect: 'keras'",
        "  pixel_mean: (123.675, 116.28, 103.53)",
        "  pixel_std: (58.395, 57.12, 57.375)",
    ]
