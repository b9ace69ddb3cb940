"""torchvision's state dict into our tree: nothing unknown, nothing missing, and every axis in its place."""

from typing import Any

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.parity import fill, ours
from tests.weights.direct import detector_from_torchvision

SHAPES = ours.shapes()


def flat(tree) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")


@pytest.fixture
def state_dict():
    """Zeros of the right shapes; memory is not touched."""
    return {name: np.zeros(shape, np.float32) for name, shape in fill.names().items()}


def test_every_parameter_is_filled_with_the_shape_it_has_in_the_model(state_dict):
    filled = flat(detector_from_torchvision(state_dict, SHAPES))
    wanted = flat(SHAPES)
    assert {path: array.shape for path, array in filled.items()} == {path: s.shape for path, s in wanted.items()}


def test_counters_of_batch_normalisation_are_no_weights(state_dict):
    state_dict["backbone.body.bn1.num_batches_tracked"] = np.array(7)
    detector_from_torchvision(state_dict, SHAPES)


def test_unknown_missing_and_misshapen_arrays_are_refused_all_at_once_by_name(state_dict):
    state_dict["roi_heads.box_head.fc8.weight"] = np.zeros((2, 2), np.float32)
    state_dict["backbone.body.conv1.running_mean"] = np.zeros(64, np.float32)  # a leaf that no convolution has
    del state_dict["rpn.head.conv.0.0.bias"]
    state_dict["roi_heads.box_predictor.cls_score.weight"] = np.zeros((91, 1024), np.float32)
    with pytest.raises(ValueError, match="in 4 places") as refusal:
        detector_from_torchvision(state_dict, SHAPES)
    message = str(refusal.value)
    assert "unexpected: roi_heads.box_head.fc8.weight (2, 2)" in message
    assert "unexpected: backbone.body.conv1.running_mean (64,)" in message
    assert "missing: params/rpn/conv/bias (256,)" in message
    assert "roi_heads.box_predictor.cls_score.weight becomes (1024, 91)" in message
    assert "params/box_head/class_logits/kernel is (1024, 4)" in message


def test_a_shallower_backbone_is_refused_by_the_blocks_it_lacks(state_dict):
    shallow = {name: array for name, array in state_dict.items() if not name.startswith("backbone.body.layer3.5.")}
    with pytest.raises(ValueError, match=r"missing: params/backbone/layer3_5/conv1/kernel \(1, 1, 1024, 256\)"):
        detector_from_torchvision(shallow, SHAPES)


# Where single values go: torchvision's index, and ours.
PLACES = {
    "backbone.body.conv1.weight": ((5, 2, 1, 6), "params/backbone/conv1/kernel", (1, 6, 2, 5)),
    "backbone.fpn.inner_blocks.1.0.weight": ((7, 300, 0, 0), "params/fpn/lateral3/kernel", (0, 0, 300, 7)),
    "roi_heads.box_head.fc6.weight": (
        (9, 11 * 49 + 3 * 7 + 5),
        "params/box_head/fc6/kernel",
        ((3 * 7 + 5) * 256 + 11, 9),
    ),
    "roi_heads.mask_predictor.conv5_mask.weight": ((4, 8, 1, 0), "params/mask_head/deconv/kernel", (4, 2, 8)),
    "backbone.body.layer2.0.downsample.1.running_var": ((3,), "batch_stats/backbone/layer2_0/downsample_bn/var", (3,)),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_value_lands_in_its_place(state_dict, name):
    theirs, path, mine = PLACES[name]
    state_dict[name][theirs] = 1.0
    filled = flat(detector_from_torchvision(state_dict, SHAPES))
    assert np.argwhere(filled[path]).tolist() == [list(mine)]
