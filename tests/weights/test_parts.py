"""Weights of ours in a model of other parts: arrays without an axis of classes are loaded, misfits reported."""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from wbcjax.models import mask_rcnn
from wbcjax.models.box_head import BoxHead
from wbcjax.models.cascade import Cascade
from wbcjax.models.convnext import ConvNeXt
from wbcjax.models.mask_head import MaskHead
from wbcjax.models.settings import MATTERPORT, MaskRCNNSettings
from wbcjax.weights.initialise import Initialised, initialise_from_ours

AGNOSTIC = MaskRCNNSettings(
    backbone=ConvNeXt(width=4, blocks=(1, 1, 1, 1)), box_head=Cascade(), mask_head=MaskHead(class_agnostic=True)
)
PER_CLASS = dataclasses.replace(AGNOSTIC, box_head=BoxHead(), mask_head=MaskHead())


def variables(settings: MaskRCNNSettings, classes: int, value: float) -> dict:
    """All of them of one value."""
    model = mask_rcnn.MaskRCNN(settings, classes)
    shapes = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), shapes)


def started(theirs: MaskRCNNSettings, ours: MaskRCNNSettings, classes: tuple[int, int]) -> Initialised:
    """A model of `ours`, which has zeros, from ones of `theirs`, each of so many classes."""
    arrays: dict[str, Any] = flatten_dict(variables(theirs, classes[0], 1.0), sep="/")
    return initialise_from_ours(variables(ours, classes[1], 0.0), arrays, ours, theirs)


def kept(result: Initialised) -> set[str]:
    """The layers that start anew."""
    return {path.rpartition("/")[0].removeprefix("params/") for path in result.report.initial}


@pytest.mark.slow
def test_of_other_classes_only_the_logits_of_a_class_agnostic_model_start_anew():
    result = started(AGNOSTIC, AGNOSTIC, (4, 3))
    assert kept(result) == {f"box_head/stages_{number}/class_logits" for number in range(3)}
    flat: dict[str, Any] = flatten_dict(result.variables["params"], sep="/")
    assert np.all(flat["mask_head/logits/kernel"] == 1)
    assert np.all(flat["box_head/stages_2/box_deltas/kernel"] == 1)
    assert not np.any(flat["box_head/stages_2/class_logits/kernel"])
    assert set(result.report.left_out.values()) == {"for 4 classes, here 3: they start anew"}


def test_of_other_classes_all_outputs_per_class_start_anew():
    result = started(PER_CLASS, PER_CLASS, (4, 3))
    assert kept(result) == {"box_head/class_logits", "box_head/box_deltas", "mask_head/logits"}


def test_class_agnostic_outputs_are_not_taken_for_those_of_a_class():
    agnostic = dataclasses.replace(PER_CLASS, box_head=BoxHead(class_agnostic=True), mask_head=AGNOSTIC.mask_head)
    with pytest.raises(ValueError, match="contradicts") as refused:
        started(agnostic, PER_CLASS, (4, 4))
    for part in ("box_head", "mask_head"):
        assert f"config.model.{part}.class_agnostic is False; these weights need True" in str(refused.value)


class Named(ConvNeXt):
    """An outsider's backbone that names a field which its weights need."""

    patch: int = 4

    WEIGHTS_NEED: ClassVar = ("patch",)


@pytest.mark.slow
def test_a_backbone_names_the_fields_its_weights_need():
    theirs = dataclasses.replace(AGNOSTIC, backbone=Named(width=4, blocks=(1, 1, 1, 1), patch=8))
    ours = dataclasses.replace(AGNOSTIC, backbone=Named(width=4, blocks=(1, 1, 1, 1)))
    with pytest.raises(ValueError, match=r"in 1 fields:\n  config.model.backbone.patch is 4; these weights need 8\n"):
        started(theirs, ours, (4, 4))


class Derived(BoxHead):
    """An outsider's box head, with the weights of ours."""


@pytest.mark.slow
def test_a_head_that_derives_from_ours_takes_its_weights():
    result = started(PER_CLASS, dataclasses.replace(PER_CLASS, box_head=Derived()), (4, 4))
    assert result.report.initial == ()
    assert np.all(result.variables["params"]["box_head"]["fc6"]["kernel"] == 1)


def test_a_derived_head_of_other_widths_is_refused_by_its_field():
    with pytest.raises(ValueError, match=r"config\.model\.box_head\.channels is 8; these weights need 1024"):
        started(PER_CLASS, dataclasses.replace(PER_CLASS, box_head=Derived(channels=8)), (4, 4))


def test_weights_of_other_parts_are_refused_by_the_names_of_the_parts_alone():
    with pytest.raises(ValueError, match="in 2 fields") as refused:
        started(MATTERPORT, dataclasses.replace(MATTERPORT, backbone=ConvNeXt(), box_head=Cascade()), (4, 4))
    assert "config.model.backbone.part is 'convnext'; these weights need 'resnet'" in str(refused.value)
    assert "config.model.box_head.part is 'cascade'; these weights need 'box_head'" in str(refused.value)
