"""EfficientNet's weights into a model's variables: with and without their top, and no dialect mistaken for another."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.parity import efficientnet as parity
from tests.weights import named
from wbcjax.models import efficientnet
from wbcjax.models.settings import EFFICIENTNET_KERAS, EFFICIENTNET_TORCHVISION
from wbcjax.weights import sources
from wbcjax.weights.convert import convert
from wbcjax.weights.initialise import initialise

INITIAL = -7.0  # of every variable, so that one that was not filled shows


def flat(tree: Any) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")


@functools.cache
def _classifier(kind: str, classes: int) -> tuple[Any, Any]:
    settings = parity.CASES[f"{kind}_b0"].settings
    return settings, efficientnet.shapes(efficientnet.Classifier(settings, classes), parity.CANVAS)


def classifier(kind: str, classes: int) -> tuple[Any, Any]:
    settings, shapes = _classifier(kind, classes)
    return settings, jax.tree.map(lambda leaf: np.full(leaf.shape, INITIAL, np.float32), shapes)


HEADS = {
    "torchvision": ("classifier.1.weight", "classifier.1.bias"),
    "keras": ("predictions/kernel", "predictions/bias"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HEADS)
def test_an_efficientnet_is_loaded_whole_without_its_classes_or_without_its_top(kind):
    arrays = named.random(getattr(named, f"efficientnet_{kind}")())
    settings, variables = classifier(kind, parity.CLASSES)
    whole = initialise(variables, arrays, settings)
    assert (whole.report.left_out, whole.report.initial) == ({}, ())

    head = {"params/head/logits/kernel", "params/head/logits/bias"}
    settings, variables = classifier(kind, 7)
    others = initialise(variables, arrays, settings)
    assert others.report.left_out == dict.fromkeys(HEADS[kind], "for 4 classes, here 7: they start anew")
    assert set(others.report.initial) == head

    for name in HEADS[kind]:
        del arrays[name]
    no_top = initialise(variables, arrays, settings)
    assert (no_top.report.left_out, set(no_top.report.initial)) == ({}, head)
    assert not any((a == INITIAL).any() for path, a in flat(no_top.variables).items() if path not in head)


def test_a_head_on_other_features_starts_anew():
    """The flattening head of Suvon et al. on weights with an averaging one."""
    arrays = named.random(named.efficientnet_keras())
    settings = dataclasses.replace(EFFICIENTNET_KERAS["b0"], head="flatten")
    shapes = efficientnet.shapes(efficientnet.Classifier(settings, parity.CLASSES), (64, 64))
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, INITIAL, np.float32), shapes)
    found = initialise(variables, arrays, settings)
    assert set(found.report.left_out.values()) == {"for 1280 features, here 5120: they start anew"}


@pytest.mark.parametrize("kind", HEADS)
def test_every_setting_of_an_efficientnet_that_contradicts_the_weights_is_named(kind):
    arrays = named.random(getattr(named, f"efficientnet_{kind}")())
    settings, variables = classifier(kind, parity.CLASSES)
    for field in sources.recognise(arrays).fields:
        right = getattr(settings, field)
        wrong: Any = not right if isinstance(right, bool) else (1.0, 2.0, 3.0) if isinstance(right, tuple) else 2.5
        with pytest.raises(ValueError, match="in 1 fields") as refusal:
            initialise(variables, arrays, dataclasses.replace(settings, **{field: wrong}))
        assert f"config.model.{field} is {wrong!r}; these weights need {right!r}" in str(refusal.value)


def test_keras_imagenet_deviations_become_the_variances_that_they_stand_for():
    arrays = named.random(named.efficientnet_keras())
    arrays["normalization/variance"] = np.array([0.229, 0.224, 0.225], np.float32)
    settings, variables = classifier("keras", parity.CLASSES)
    found = flat(initialise(variables, arrays, settings).variables)["batch_stats/base/normalization/var"]
    np.testing.assert_allclose(found, np.square([0.229, 0.224, 0.225]), rtol=1e-6)


def test_an_efficientnet_is_converted_with_its_classes():
    converted = convert(named.random(named.efficientnet_torchvision()))
    assert (converted.classes, converted.settings) == (4, EFFICIENTNET_TORCHVISION["b0"])
    assert converted.arrays["params/head/logits/kernel"].shape == (1280, 4)


def test_weights_for_another_kind_of_model_are_refused():
    settings, variables = classifier("keras", 4)
    with pytest.raises(ValueError, match=r"weights of torchvision's ResNet.*but config.model is an EfficientNet"):
        initialise(variables, named.random(named.torchvision_resnet()), settings)
    with pytest.raises(ValueError, match=r"weights of torchvision's ConvNeXt.*but config.model is an EfficientNet"):
        initialise(variables, named.random(named.torchvision_convnext()), settings)
