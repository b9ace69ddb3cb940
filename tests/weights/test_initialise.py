"""Other people's weights into a model's variables: every array accounted for, and no dialect mistaken for another."""

import dataclasses
import functools
import re
import shlex
from typing import Any

import flax.linen as nn
import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.models import small
from tests.parity import fill
from tests.weights import named
from tests.weights.named import Sizes
from wbcjax.models import mask_rcnn
from wbcjax.models.backbone import Backbone
from wbcjax.models.settings import (
    MATTERPORT,
    TORCHVISION,
    MaskRCNNSettings,
)
from wbcjax.weights import sources
from wbcjax.weights.convert import convert
from wbcjax.weights.detectron2 import DETECTRON2
from wbcjax.weights.initialise import Initialised, initialise, initialise_from_ours

INITIAL = -7.0  # of every variable, so that one that was not filled shows
DETECTORS = {
    "torchvision's Mask R-CNN": TORCHVISION,
    "torchvision's Faster R-CNN": TORCHVISION,
    "detectron2": DETECTRON2,
    "Matterport": MATTERPORT,
}


NAMES = dict(
    zip(
        named.ALL,
        (
            *["torchvision's Mask R-CNN or Faster R-CNN, ResNet and FPN (v1)"] * 3,
            "torchvision's ResNet-18, 34, 50 or 101 for classification",
            "detectron2's Mask R-CNN or Faster R-CNN, R50-FPN or R101-FPN of the model zoo",
            "Matterport's Mask R-CNN, ResNet-50 or 101",
            "torchvision's EfficientNet-B0 to B7",
            "Keras's EfficientNetB0 to B7",
            "torchvision's ConvNeXt for classification",
        ),
        strict=True,
    )
)


@functools.cache
def _detector(dialect: MaskRCNNSettings, depth: int, classes: int, norm: str) -> tuple[MaskRCNNSettings, Any]:
    model = small.model(dialect, classes, depth=depth, width=8, norm=norm)
    return model.settings, jax.eval_shape(lambda: mask_rcnn.init(model, 0))


def detector(dialect=TORCHVISION, depth=50, classes=3, norm=None):
    """Settings, and variables that are all `INITIAL`."""
    settings, shapes = _detector(dialect, depth, classes, norm or dialect.backbone.norm)
    return settings, jax.tree.map(lambda leaf: np.full(leaf.shape, INITIAL, np.float32), shapes)


def start(kind: str, shapes=None, arrays=None, **backbone) -> Initialised:
    settings, variables = detector(DETECTORS[kind], **backbone)
    arrays = arrays or named.random(shapes or named.ALL[kind]())
    return initialise(variables, arrays, settings)


def flat(tree: Any) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")


def test_the_names_of_these_tests_are_torchvisions_own():
    assert named.torchvision_mask_rcnn(named.PAPER) == fill.names()


@pytest.mark.parametrize("kind", named.ALL)
def test_weights_are_recognised_as_what_they_are_and_as_nothing_else(kind):
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in named.ALL[kind]().items()}
    assert [source.name for source in sources.SOURCES if sources._signed(arrays, source)] == [NAMES[kind]]
    assert sources.recognise(arrays).name == NAMES[kind]


@pytest.mark.parametrize("kind", ["detectron2", "Matterport", "torchvision's Mask R-CNN"])
def test_every_array_lands_and_no_variable_keeps_its_initial_value(kind):
    found = start(kind)
    shapes = named.ALL[kind]()
    assert set(found.report.loaded) | set(found.report.left_out) == set(shapes)
    assert all("anchors" in name for name in found.report.left_out)
    assert found.report.initial == ()
    assert not any((array == INITIAL).any() for array in flat(found.variables).values())
    assert set(found.report.loaded.values()) == set(flat(found.variables))


@pytest.mark.parametrize("norm", ["frozen_bn", "bn_frozen_stats", "bn"])
def test_norms_are_filled_whether_their_scales_are_trained_or_stored(norm):
    arrays = named.random(named.matterport())
    found = flat(start("Matterport", arrays=arrays, norm=norm).variables)
    kind = "batch_stats" if norm == "frozen_bn" else "params"
    np.testing.assert_array_equal(found[f"{kind}/backbone/layer3_5/bn2/scale"], arrays["bn4f_branch2b/gamma:0"])
    np.testing.assert_array_equal(
        found["batch_stats/backbone/layer3_5/bn2/var"], arrays["bn4f_branch2b/moving_variance:0"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detectron2", "Matterport"])
def test_a_resnet_101_is_filled_to_its_last_block(kind):
    found = start(kind, shapes=named.ALL[kind](Sizes(depth=101)), depth=101)
    assert found.report.initial == ()
    assert "params/backbone/layer3_22/conv3/kernel" in found.report.loaded.values()


# Where single values go: the array and the place in it, ours and the place there. Sizes are those of `Sizes`.
PLACES = [
    ("Matterport", "conv1/kernel:0", (1, 6, 2, 5), "params/backbone/conv1/kernel", (1, 6, 2, 5)),
    ("Matterport", "res4d_branch2b/kernel:0", (0, 2, 3, 4), "params/backbone/layer3_3/conv2/kernel", (0, 2, 3, 4)),
    ("Matterport", "bn3a_branch1/beta:0", (9,), "params/backbone/layer2_0/downsample_bn/bias", (9,)),
    ("Matterport", "rpn_model/rpn_class_raw/kernel:0", (0, 0, 3, 5), "params/rpn/objectness/kernel", (0, 0, 3, 5)),
    ("Matterport", "rpn_model/rpn_bbox_pred/kernel:0", (0, 0, 3, 4), "params/rpn/deltas/kernel", (0, 0, 3, 5)),  # dy
    ("Matterport", "rpn_model/rpn_bbox_pred/bias:0", (11,), "params/rpn/deltas/bias", (10,)),  # dw
    ("Matterport", "mrcnn_bbox_fc/kernel:0", (2, 6), "params/box_head/box_deltas/kernel", (2, 7)),  # dh
    ("Matterport", "mrcnn_class_conv1/kernel:0", (3, 5, 2, 9), "params/box_head/fc6/kernel", ((3 * 7 + 5) * 8 + 2, 9)),
    ("Matterport", "mrcnn_class_conv2/kernel:0", (0, 0, 2, 9), "params/box_head/fc7/kernel", (2, 9)),
    ("Matterport", "mrcnn_mask_deconv/kernel:0", (1, 0, 6, 4), "params/mask_head/deconv/kernel", (4, 2, 6)),
    ("Matterport", "mrcnn_mask/kernel:0", (0, 0, 5, 1), "params/mask_head/logits/kernel", (5, 1)),
    ("Matterport", "mrcnn_class_bn2/moving_mean:0", (3,), "batch_stats/box_head/fc7_bn/mean", (3,)),
    ("detectron2", "backbone.bottom_up.stem.conv1.weight", (5, 0, 1, 6), "params/backbone/conv1/kernel", (1, 6, 2, 5)),
    (
        "detectron2",
        "backbone.bottom_up.res4.5.conv2.norm.running_var",
        (3,),
        "batch_stats/backbone/layer3_5/bn2/var",
        (3,),
    ),
    ("detectron2", "backbone.fpn_output3.weight", (1, 2, 0, 1), "params/fpn/output3/kernel", (0, 1, 2, 1)),
    ("detectron2", "roi_heads.box_head.fc1.weight", (9, 2 * 49 + 26), "params/box_head/fc6/kernel", (26 * 8 + 2, 9)),
    ("detectron2", "roi_heads.box_predictor.cls_score.weight", (2, 3), "params/box_head/class_logits/kernel", (3, 0)),
    ("detectron2", "roi_heads.box_predictor.cls_score.bias", (0,), "params/box_head/class_logits/bias", (1,)),
    ("detectron2", "roi_heads.box_predictor.bbox_pred.weight", (5, 3), "params/box_head/box_deltas/kernel", (3, 9)),
    ("detectron2", "roi_heads.mask_head.predictor.weight", (1, 4, 0, 0), "params/mask_head/logits/kernel", (4, 2)),
    ("detectron2", "roi_heads.mask_head.deconv.weight", (4, 6, 1, 0), "params/mask_head/deconv/kernel", (4, 2, 6)),
]


@pytest.mark.parametrize(("kind", "name", "theirs", "path", "ours"), PLACES)
def test_a_value_lands_in_its_place(kind, name, theirs, path, ours):
    arrays = {key: np.zeros(shape, np.float32) for key, shape in named.ALL[kind]().items()}
    arrays[name][theirs] = 1.0
    filled = flat(start(kind, arrays=arrays).variables)
    assert [key for key, array in filled.items() if array.any()] == [path]
    assert np.argwhere(filled[path]).tolist() == [list(ours)]


@pytest.mark.parametrize("kind", ["detectron2", "Matterport", "torchvision's Mask R-CNN"])
def test_heads_of_other_classes_start_anew_and_all_else_is_loaded(kind):
    found = start(kind, shapes=named.ALL[kind](Sizes(classes=5)))
    heads = {"box_head/class_logits", "box_head/box_deltas", "mask_head/logits"}
    anew = {f"params/{module}/{leaf}" for module in heads for leaf in ("kernel", "bias")}
    assert set(found.report.initial) == anew
    filled = flat(found.variables)
    assert all((filled[path] == INITIAL).all() for path in anew)
    assert not any((filled[path] == INITIAL).any() for path in set(filled) - anew)
    reasons = [reason for reason in found.report.left_out.values() if "anchors" not in reason]
    assert reasons == ["for 5 classes, here 3: they start anew"] * 6


def test_a_faster_r_cnn_leaves_the_mask_head_initial():
    """A faster r cnn leaves the mask head at its initial value and says so."""
    found = start("torchvision's Faster R-CNN")
    _, variables = detector()
    assert set(found.report.initial) == {path for path in flat(variables) if "/mask_head/" in path}
    assert "mask_head: all 12" in found.report.text()
    assert "params/box_head/box_deltas/kernel" in found.report.loaded.values()


@pytest.mark.parametrize("depth", [18, 50])
def test_a_resnet_for_classification_fills_the_backbone_and_its_classes_are_left_out(depth):
    settings, variables = detector(depth=depth)
    arrays = named.random(named.torchvision_resnet(Sizes(depth=depth)))
    arrays["layer1.0.bn1.num_batches_tracked"] = np.array(7)
    found = initialise(variables, arrays, settings)
    assert set(found.report.loaded.values()) == {path for path in flat(variables) if "/backbone/" in path}
    assert set(found.report.left_out) == {"fc.weight", "fc.bias", "layer1.0.bn1.num_batches_tracked"}
    text = found.report.text()
    assert text.startswith(f"{len(arrays) - 3} of {len(arrays)} arrays loaded, of torchvision's ResNet")
    assert "names whole images, which a detector does not: fc.weight, fc.bias" in text
    assert "fpn: all 16" in text


def test_all_that_does_not_fit_is_refused_at_once_by_name():
    arrays = named.random(named.matterport())
    arrays["mrcnn_extra/kernel:0"] = np.zeros((2, 2), np.float32)
    arrays["fpn_p3/kernel:0"] = np.zeros((2, 2, 8, 8), np.float32)
    arrays["mrcnn_mask_deconv/kernel:0"] = np.zeros((8, 8), np.float32)
    del arrays["res3b_branch2a/bias:0"]
    with pytest.raises(ValueError, match="in 5 places") as refusal:
        start("Matterport", arrays=arrays)
    message = str(refusal.value)
    assert "unexpected: mrcnn_extra/kernel:0 (2, 2)" in message
    assert "fpn_p3/kernel:0 becomes (2, 2, 8, 8), but params/fpn/output3/kernel is (3, 3, 8, 8)" in message
    assert "mrcnn_mask_deconv/kernel:0 is (8, 8), from which nothing can be made" in message
    assert "missing: params/backbone/layer2_1/conv1/bias (16,)" in message
    assert "missing: params/mask_head/deconv/kernel (8, 4, 8)" in message


PREFIXES = ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.backbone.", "detector."]


@pytest.mark.slow
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "kind",
    [
        "torchvision's ResNet",
        pytest.param("torchvision's Mask R-CNN", marks=pytest.mark.slow),
        pytest.param("detectron2", marks=pytest.mark.slow),
    ],
)
def test_a_prefix_of_all_names_changes_no_value_and_is_told(kind, prefix):
    arrays = named.random(named.ALL[kind]())
    plain = start(kind, arrays=arrays) if kind in DETECTORS else initialise(*_backbone_of(arrays))
    prefixed = {f"{prefix}{name}": array for name, array in arrays.items()} | {"n_averaged": np.array(3)}
    found = initialise(*_backbone_of(prefixed, DETECTORS.get(kind, TORCHVISION)))
    jax.tree.map(np.testing.assert_array_equal, found.variables, plain.variables)
    assert found.report.left_out["n_averaged"] == f"without the prefix {prefix!r}"
    assert f"by their names without {prefix!r} in front" in found.report.text()
    converted = convert(prefixed)
    assert converted.arrays.keys() == convert(arrays).arrays.keys()


def _backbone_of(arrays: dict[str, Any], dialect: MaskRCNNSettings = TORCHVISION) -> tuple[Any, Any, Any]:
    settings, variables = detector(dialect)
    return variables, arrays, settings


@pytest.mark.parametrize("prefix", ["encoder.", "backbone.", "module.encoder_q."])
def test_a_backbone_within_another_network_fills_ours_and_the_rest_is_left_out(prefix):
    resnet = named.random(named.torchvision_resnet())
    others = {"projector.0.weight": np.zeros((8, 8), np.float32), "queue": np.zeros((8, 4), np.float32)}
    found = initialise(*_backbone_of({f"{prefix}{name}": array for name, array in resnet.items()} | others))
    kernel = flat(found.variables)["params/backbone/layer4_2/conv3/kernel"]
    np.testing.assert_array_equal(kernel[0, 0].T, resnet["layer4.2.conv3.weight"][:, :, 0, 0])
    assert {name for name, why in found.report.left_out.items() if why.startswith("without the prefix")} == set(others)


def test_two_networks_of_one_file_are_refused_by_their_prefixes():
    resnet = named.random(named.torchvision_resnet())
    both = {f"{side}.{name}": array for side in ("encoder_q", "encoder_k") for name, array in resnet.items()}
    with pytest.raises(ValueError, match=r"2 networks, behind 'encoder_k\.', 'encoder_q\.': save the weights of one"):
        initialise(*_backbone_of(both))


def test_dialects_are_told_from_prefixed_names_as_from_plain_ones():
    settings, variables = detector()
    published = {f"module.{name}": array for name, array in named.random(named.torchvision_published()).items()}
    with pytest.raises(ValueError, match=r"norm_epsilon is 1e-05; these weights need 0.0"):
        initialise(variables, published, settings)


def test_foreign_weights_are_refused_with_what_can_be_read():
    with pytest.raises(ValueError, match=r"2 arrays, encoder.weight, encoder.bias") as refusal:
        initialise({}, {"encoder.weight": np.zeros(2), "encoder.bias": np.zeros(2)}, TORCHVISION)
    assert all(source.name in str(refusal.value) for source in sources.SOURCES)


def test_a_depth_that_we_have_not_is_refused_by_its_stages():
    settings, variables = detector()
    with pytest.raises(ValueError, match=r"torchvision's ResNet.*stages of \(3, 8, 36, 3\) blocks"):
        initialise(variables, named.random(named.torchvision_resnet(Sizes(depth=152))), settings)


PARTS = {"backbone", "fpn", "rpn", "roi", "box_head", "mask_head"}
OTHER = {
    "pixel_mean": (0.0, 0.0, 0.0),
    "pixel_std": (2.0, 2.0, 2.0),
    "backbone.depth": 101,
    "backbone.norm_epsilon": 1e-4,
    "backbone.norm": "gn",
    "rpn.aspect_ratios": (1.0, 0.5, 2.0),
    "rpn.box_weights": (1.0, 2.0, 3.0, 4.0),
    "roi.box_weights": (1.0, 2.0, 3.0, 4.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["detectron2", "Matterport", "torchvision's Mask R-CNN", "torchvision's ResNet"])
def test_every_setting_that_contradicts_the_weights_is_named_with_the_value_they_need(kind):
    arrays = named.random(named.ALL[kind]())
    settings, variables = detector(DETECTORS.get(kind, TORCHVISION))
    source = sources.recognise(arrays)
    fields = [field for field in sources.needed(source, settings, PARTS) if not field.endswith(".part")]
    assert set(fields) >= set(source.fields) - {"box_head.norm_epsilon", "mask_head.norm_epsilon"}
    for field in fields:
        right = sources.setting(settings, field)
        if field in OTHER:
            wrong: Any = OTHER[field]
        elif field in ("roi.convention", "box_head.norm", "mask_head.norm"):
            wrong = {"legacy": "aligned", "none": "frozen_bn", "bn_frozen_stats": "none"}.get(right, "legacy")
        else:
            wrong = not right if isinstance(right, bool) else right + 1
        with pytest.raises(ValueError, match="in 1 fields") as refusal:
            initialise(variables, arrays, _with(settings, field, wrong))
        assert f"config.model.{field} is {wrong!r}; these weights need {right!r}" in str(refusal.value)
        remedy = str(refusal.value).rpartition(" by ")[2]
        assert shlex.split(remedy) == [f"--config.model.{field}={str(right).replace(' ', '')}"]
        assert "(" not in re.sub("'[^']*'", "", remedy), "a shell would stumble over brackets"


def _with(settings: Any, field: str, value: Any) -> Any:
    part, _, rest = field.partition(".")
    change = {part: _with(getattr(settings, part), rest, value) if rest else value}
    return settings.clone(**change) if isinstance(settings, nn.Module) else dataclasses.replace(settings, **change)


class Other(Backbone):
    """A backbone that no published weights are of."""


def test_weights_for_a_backbone_of_another_class_are_refused_by_its_name_alone():
    settings, variables = detector()
    others = dataclasses.replace(settings, backbone=Other())
    arrays = named.random(named.torchvision_resnet())
    with pytest.raises(ValueError, match=r"in 1 fields:\n  config.model.backbone.part is '.*:Other'; .* need 'resnet'"):
        initialise(variables, arrays, others)
    with pytest.raises(ValueError, match=r"backbone\.part is 'resnet'; these weights need '.*:Other'"):
        initialise_from_ours(variables, ours(0), settings, others)


def test_norms_of_heads_are_told_by_the_kinds_that_heads_have():
    needs = sources.needed(sources.recognise(named.random(named.matterport())), MATTERPORT, PARTS)
    assert needs["backbone.norm"] == ("bn_frozen_stats", "frozen_bn", "bn")
    assert needs["box_head.norm"] == needs["mask_head.norm"] == ("bn_frozen_stats", "frozen_bn")


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("dialect", [TORCHVISION, MATTERPORT, DETECTRON2], ids=["torchvision", "matterport", "d2"])
def test_another_librarys_dialect_is_refused(kind, dialect):
    settings, variables = detector(dialect)
    arrays = named.random(named.ALL[kind]())
    if DETECTORS[kind] is dialect:
        initialise(variables, arrays, settings)
    else:
        with pytest.raises(ValueError, match=r"config.model.roi.convention is "):
            initialise(variables, arrays, settings)


def test_settings_that_weights_do_not_depend_on_are_free():
    settings, variables = detector()
    changes = {"rpn.anchor_sizes": (8.0,) * 5, "roi.sampling_ratio": 1, "detection.nms_iou": 0.1, "dtype": "bfloat16"}
    for field, value in changes.items():
        settings = _with(settings, field, value)
    initialise(variables, named.random(named.torchvision_mask_rcnn()), settings)


def test_torchvisions_published_files_need_zero_epsilon():
    """Torchvisions published files need an epsilon of zero and are read by their old names."""
    settings, variables = detector()
    arrays = named.random(named.torchvision_published())
    with pytest.raises(ValueError, match=r"norm_epsilon is 1e-05; these weights need 0.0"):
        initialise(variables, arrays, settings)
    found = initialise(variables, arrays, _with(settings, "backbone.norm_epsilon", 0.0))
    new = initialise(variables, named.random(named.torchvision_mask_rcnn()), settings)
    jax.tree.map(np.testing.assert_array_equal, found.variables, new.variables)


def test_a_weight_under_its_old_and_its_new_name_is_refused():
    arrays = named.random(named.torchvision_mask_rcnn())
    arrays["roi_heads.mask_head.mask_fcn1.bias"] = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match=r"unexpected: roi_heads.mask_head.mask_fcn1.bias \(8,\)"):
        start("torchvision's Mask R-CNN", arrays=arrays)


def test_detectron2_weights_on_other_pixels_than_msras_are_refused():
    arrays = named.random(named.detectron2_mask_rcnn())
    arrays["pixel_std"] = np.full((3, 1, 1), 1.0, np.float32)
    assert "pixel_std" in start("detectron2", arrays=arrays).report.left_out
    arrays["pixel_std"] = np.array([57.375, 57.12, 58.395], np.float32).reshape(3, 1, 1)
    with pytest.raises(ValueError, match=r"trained on pixels divided by \[57.375"):
        start("detectron2", arrays=arrays)


def test_half_precision_weights_become_float32_exactly():
    arrays = {name: a.astype(ml_dtypes.bfloat16) for name, a in named.random(named.torchvision_resnet()).items()}
    settings, variables = detector()
    filled = flat(initialise(variables, arrays, settings).variables)["params/backbone/layer1_0/conv1/kernel"]
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[0, 0].T, arrays["layer1.0.conv1.weight"][:, :, 0, 0].astype(np.float32))


def test_the_given_variables_are_not_changed():
    settings, variables = detector()
    initialise(variables, named.random(named.torchvision_mask_rcnn()), settings)
    assert all((array == INITIAL).all() for array in flat(variables).values())


# Ours


def ours(seed: int, classes: int = 3) -> dict[str, np.ndarray]:
    return named.random({path: array.shape for path, array in flat(detector(classes=classes)[1]).items()}, seed)


def test_our_model_with_other_classes_loads_without_heads():
    """A model of ours is loaded whole and with other classes without its heads."""
    settings, variables = detector()
    whole = initialise_from_ours(variables, ours(0), settings, settings)
    assert (whole.report.left_out, whole.report.initial) == ({}, ())
    jax.tree.map(np.testing.assert_array_equal, whole.variables, unflatten_dict(ours(0), sep="/"))
    others = initialise_from_ours(variables, ours(0, classes=6), settings, settings)
    assert set(others.report.left_out.values()) == {"for 6 classes, here 3: they start anew"}
    assert len(others.report.initial) == 6


def test_a_model_of_ours_of_another_dialect_is_refused():
    settings, variables = detector()
    with pytest.raises(ValueError, match=r"config.model.rpn.channels is 8; these weights need 16"):
        initialise_from_ours(variables, ours(0), settings, _with(settings, "rpn.channels", 16))
    with pytest.raises(ValueError, match=r"config.model.backbone.norm is 'frozen_bn'; these weights need 'gn'"):
        initialise_from_ours(variables, ours(0), settings, _with(settings, "backbone.norm", "gn"))


def test_a_backbone_of_ours_alone_leaves_the_rest_at_its_initial_value():
    settings, variables = detector()
    backbone = {path: array for path, array in ours(0).items() if "/backbone/" in path}
    found = initialise_from_ours(variables, backbone, settings, settings)
    assert set(found.report.loaded) == set(backbone)
    assert set(found.report.initial) == set(flat(variables)) - set(backbone)


# Converted, whatever is to be made of them


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DETECTORS, "torchvision's ResNet"])
def test_converted_weights_initialise_a_model_as_the_weights_themselves_do(kind):
    arrays = named.random(named.ALL[kind]())
    converted = convert(arrays)
    settings, variables = detector(DETECTORS.get(kind, TORCHVISION))
    found = initialise_from_ours(variables, converted.arrays, settings, _resized(converted.settings, settings))
    jax.tree.map(np.testing.assert_array_equal, found.variables, initialise(variables, arrays, settings).variables)
    assert converted.classes == (None if kind == "torchvision's ResNet" else 3)
    assert converted.report.initial == ()


def _resized(converted: Any, settings: Any) -> Any:
    """With the sizes of parts that the weights lack, which they do not tell."""
    return dataclasses.replace(
        converted, **{part: getattr(settings, part) for part in ("fpn", "rpn", "box_head", "mask_head")}
    )


def test_what_a_file_holds_is_told_with_the_settings_that_it_needs():
    text = convert(named.random(named.matterport())).text()
    assert text.startswith("384 of 384 arrays loaded, of Matterport's Mask R-CNN, ResNet-50 or 101\n  backbone: 318")
    assert "3 classes" in text
    assert "  backbone.same_pool: True" in text.splitlines()
    assert "  backbone.norm: 'bn_frozen_stats' or 'frozen_bn' or 'bn'" in text.splitlines()
    assert "without classes" in convert(named.random(named.torchvision_resnet())).text()


def test_weights_that_are_not_whole_are_not_converted():
    arrays = named.random(named.detectron2_mask_rcnn())
    del arrays["backbone.fpn_output4.bias"]
    with pytest.raises(ValueError, match=r"missing: params/fpn/output4/bias \(8,\)"):
        convert(arrays)
