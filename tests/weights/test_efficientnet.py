"""EfficientNet's weights by torchvision's and Keras's names: what is refused, and what may be left out.

That every value lands in its place is what tests/parity/test_efficientnet.py shows.
"""

from typing import Any

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.parity import efficientnet as parity
from tests.weights.direct import efficientnet_from_keras, efficientnet_from_torchvision

CASES = [parity.CASES["torchvision_b0"], parity.CASES["keras_b0"]]


def zeros(case) -> dict[str, np.ndarray]:
    """The other library's variables; memory is not touched."""
    names, _ = parity.committed(f"{case.library}_{case.scale}")
    return {name: np.zeros(shape, np.float32) for name, shape in names.items()}


def shapes_of(tree: Any) -> dict:
    flat: dict[tuple[str, ...], Any] = flatten_dict(tree)
    return {path: leaf.shape for path, leaf in flat.items()}


def without_head(case) -> dict:
    return {kind: {"base": tree["base"]} for kind, tree in parity.template(case).items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.library)
def test_the_base_is_filled_alone_where_no_head_is_asked_for(case):
    top = {"torchvision": "classifier.1.", "keras": "predictions/"}[case.library]
    base = {name: values for name, values in zeros(case).items() if not name.startswith(top)}
    filled = parity.ours(case, base, without_head(case))
    assert shapes_of(filled) == shapes_of(without_head(case))


def test_counters_of_batch_normalisation_are_no_weights():
    case = parity.CASES["torchvision_b0"]
    counter = {"features.0.1.num_batches_tracked": np.array(7)}
    parity.ours(case, zeros(case) | counter, parity.template(case))


def test_arrays_that_do_not_fit_are_refused_at_once():
    """Unknown missing and misshapen arrays of torchvision are refused all at once by name."""
    case = parity.CASES["torchvision_b0"]
    state_dict = zeros(case)
    state_dict["features.9.0.weight"] = np.zeros((2, 2), np.float32)
    state_dict["features.1.0.block.3.0.weight"] = np.zeros((2, 2, 1, 1), np.float32)  # of a block that expands
    del state_dict["features.2.1.block.1.0.weight"]
    state_dict["classifier.1.weight"] = np.zeros((1000, 1280), np.float32)
    with pytest.raises(ValueError, match="in 4 places") as refusal:
        efficientnet_from_torchvision(state_dict, parity.template(case))
    message = str(refusal.value)
    assert "unexpected: features.9.0.weight (2, 2)" in message
    assert "unexpected: features.1.0.block.3.0.weight (2, 2, 1, 1)" in message
    assert "missing: params/base/block2_1/depthwise_conv/kernel (3, 3, 144)" in message
    assert "classifier.1.weight becomes (1280, 1000), but params/head/logits/kernel is (1280, 4)" in message


def test_unknown_and_missing_arrays_of_keras_are_refused_by_name():
    case = parity.CASES["keras_b0"]
    weights = zeros(case)
    weights["block8a_bn/gamma"] = weights.pop("block7a_bn/gamma")
    with pytest.raises(ValueError, match="in 2 places") as refusal:
        efficientnet_from_keras(weights, parity.template(case))
    assert "unexpected: block8a_bn/gamma (1152,)" in str(refusal.value)
    assert "missing: params/base/block7_0/depthwise_bn/scale (1152,)" in str(refusal.value)


def test_keras_layers_are_known_by_model_and_number():
    """A second model in a process has `normalization_1` and `dense_1`; a model in a model gives its name."""
    case = parity.CASES["keras_b0"]
    weights = {
        f"efficientnetb0/{name}".replace("normalization/", "normalization_1/").replace(
            "predictions/", "dense_12/"
        ): value
        for name, value in zeros(case).items()
    }
    weights["efficientnetb0/normalization_1/mean"][:] = (1, 2, 3)
    filled = efficientnet_from_keras(weights, parity.template(case))
    assert filled["batch_stats"]["base"]["normalization"]["mean"].tolist() == [1, 2, 3]
