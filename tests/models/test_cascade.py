"""A cascade of box heads: one stage is a box head; later ones get the boxes before, matched anew; scores are averaged.

Features of an RoI are waves of its own coordinates, so that no backbone is needed.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from wbcjax.models.box_head import BoxHead, DetectionSettings
from wbcjax.models.cascade import Cascade, Stage
from wbcjax.models.rois import Cells, RoiSamples, RoiSettings, match_rois
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.ops.boxes import iou
from wbcjax.ops.losses import mean_over_devices
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.parts import as_values, completed

CLASSES, ROIS = 3, 24
ROI = RoiSettings(samples=ROIS)
HEAD = BoxHead(bins=3, channels=8, class_agnostic=True)
EVERYTHING = DetectionSettings(score_threshold=0.0, nms_iou=1.0, per_image=ROIS * 2, candidates=ROIS * 2)
SIZE = jnp.full((2, 2), 64.0)
MEAN = mean_over_devices(None)


def pool(rois, bins):
    phase = jnp.arange(1, bins * bins + 1).reshape(bins, bins, 1) / 40
    return jnp.sin(rois[..., None, None, :] * phase)  # (n, r, bins, bins, 4)


@pytest.fixture(scope="module")
def cells() -> Cells:
    corner = np.array([[[4, 4], [30, 20], [8, 36]], [[20, 30], [2, 2], [0, 0]]], np.float32)
    size = np.array([[[20, 16], [16, 24], [18, 18]], [[24, 20], [14, 14], [0, 0]]], np.float32)
    labels = np.array([[1, 2, 1], [2, 1, 0]])
    valid = labels > 0
    return Cells(*map(jnp.asarray, (np.concatenate([corner, corner + size], -1), labels, valid, np.zeros_like(valid))))


@pytest.fixture(scope="module")
def rois(cells) -> RoiSamples:
    """Cells moved by a few pixels, which overlap them by 0.3 to 0.9; the last places are empty."""
    rng = np.random.default_rng(0)
    near = jnp.asarray(np.repeat(cells.boxes[:, :2], ROIS // 2, axis=1) + rng.normal(0, 2.5, (2, ROIS, 4)), jnp.float32)
    real = jnp.arange(ROIS) < np.array([[ROIS - 3], [ROIS]])
    return match_rois(near * real[..., None], real, cells, ROI)


def cascade(**changes) -> Cascade:
    return Cascade(head=HEAD, num_classes=CLASSES, roi=ROI, detection=EVERYTHING).clone(**changes)


@pytest.fixture(scope="module")
def params(rois) -> dict:
    """Of three stages, whose boxes move by some pixels."""
    tree = cascade().init(jax.random.key(1), pool, rois.boxes, rois.valid, SIZE, method="detect")["params"]
    assert set(tree) == {"stages_0", "stages_1", "stages_2"}
    larger = {"box_deltas": 300, "class_logits": 100}
    return jax.tree_util.tree_map_with_path(lambda path, x: x * larger.get(path[1].key, 1), tree)


def run(model: nn.Module, params: dict, method: str, *arguments: Any) -> Any:
    return model.apply({"params": params}, *arguments, method=method)


def stage(params, number, rois):
    """Logits and deltas of a box head that has the weights of a stage."""
    head = HEAD.clone(num_classes=CLASSES)
    logits, deltas = run(head, params[f"stages_{number}"], "__call__", pool(rois, HEAD.bins))
    return np.asarray(logits), np.asarray(deltas)[:, :, 0]


def moved(rois, deltas, weights):
    """What deltas make of RoIs, by NumPy (R-CNN paper, appendix C)."""
    deltas, size = deltas / np.array(weights), rois[..., 2:] - rois[..., :2]
    centre = rois[..., :2] + size / 2 + deltas[..., :2] * size
    half = size * np.exp(deltas[..., 2:]) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


@pytest.mark.slow
def test_one_stage_is_a_class_agnostic_box_head(params, rois, cells):
    one = cascade(later=())
    head = HEAD.clone(num_classes=CLASSES, roi=ROI, detection=EVERYTHING)
    inside, plain = {"stages_0": params["stages_0"]}, params["stages_0"]
    losses = run(one, inside, "losses", pool, rois, cells, MEAN)
    assert losses == run(head, plain, "losses", pool, rois, cells, MEAN)
    assert all(loss > 0 for loss in losses.values())
    assert one.LOSSES == head.LOSSES == tuple(losses)
    detect = pool, rois.boxes, rois.valid, SIZE
    found, expected = run(one, inside, "detect", *detect), run(head, plain, "detect", *detect)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    keys = jax.random.split(jax.random.key(0), 2)
    chosen, expected = (run(model, {}, "sample", keys, rois.boxes, rois.valid, cells) for model in (one, head))
    jax.tree.map(np.testing.assert_array_equal, chosen, expected)


@pytest.mark.slow
def test_later_stages_are_trained_on_the_boxes_before_at_their_own_overlap(params, rois, cells):
    seen = []

    def watched(rois, bins):
        seen.append(np.asarray(rois))
        return pool(rois, bins)

    losses = run(cascade(), params, "losses", watched, rois, cells, MEAN)
    assert tuple(losses) == cascade().LOSSES == ("class", "box", "class_2", "box_2", "class_3", "box_3")
    boxes, weights, positives = np.asarray(rois.boxes), ROI.box_weights, [int((rois.label > 0).sum())]
    for number, later in enumerate(cascade().later, start=1):
        boxes = moved(boxes, stage(params, number - 1, jnp.asarray(boxes, jnp.float32))[1], weights)
        np.testing.assert_allclose(seen[number], boxes, atol=1e-3)

        logits, deltas = stage(params, number, jnp.asarray(boxes, jnp.float32))
        weights, of_class, of_box = later.box_weights, [], []
        for image, place in zip(*np.nonzero(rois.valid), strict=True):
            overlap = np.asarray(iou(jnp.asarray(boxes[image, place][None], jnp.float32), cells.boxes[image]))[0]
            cell, logit = overlap.argmax(), logits[image, place]
            label = int(cells.labels[image, cell]) if overlap[cell] >= later.iou else 0
            of_class.append(np.log(np.exp(logit).sum()) - logit[label])
            if label:
                both = moved(boxes[image, place], deltas[image, place], weights), np.asarray(cells.boxes[image, cell])
                of_box.append(smooth_l1(*(encoded(box, boxes[image, place], weights) for box in both)))
        positives.append(len(of_box))
        np.testing.assert_allclose(losses[f"class_{number + 1}"], np.mean(of_class), rtol=1e-3)
        np.testing.assert_allclose(losses[f"box_{number + 1}"], np.sum(of_box) / len(of_class), rtol=1e-3)
    assert positives[0] != positives[1] != positives[2] > 0


def encoded(box, roi, weights):
    size, roi_size = box[2:] - box[:2], roi[2:] - roi[:2]
    shift = (box[:2] + size / 2 - roi[:2] - roi_size / 2) / roi_size
    return np.concatenate([shift, np.log(size / roi_size)]) * weights


def smooth_l1(found, wanted):
    error, beta = np.abs(found - wanted), 1 / 9
    return np.where(error < beta, error**2 / (2 * beta), error - beta / 2).sum()


@pytest.mark.slow
def test_no_gradient_goes_from_a_stage_to_the_one_before(params, rois, cells):
    def later(params):
        losses = run(cascade(), params, "losses", pool, rois, cells, MEAN)
        return losses["class_2"] + losses["box_2"]

    gradient = jax.grad(later)(params)
    assert optax.tree.norm(gradient["stages_0"]) == optax.tree.norm(gradient["stages_2"]) == 0
    assert optax.tree.norm(gradient["stages_1"]) > 0


@pytest.mark.slow
def test_a_cascade_averages_scores_and_keeps_the_last_box(params, rois):
    """A cell found has the mean score of the stages and the box of the last."""
    found = run(cascade(), params, "detect", pool, rois.boxes, rois.valid, SIZE)
    boxes, scores = np.asarray(rois.boxes), []
    for number, weights in enumerate((ROI.box_weights, *(later.box_weights for later in cascade().later))):
        logits, deltas = stage(params, number, jnp.asarray(boxes, jnp.float32))
        scores.append(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))
        boxes = moved(boxes, deltas, weights)
    mean, boxes = np.mean(scores, axis=0), boxes.clip(0, 64)
    for image in range(2):
        real = np.asarray(rois.valid[image])
        expected = [
            (score, label, *boxes[image, place])
            for place in np.nonzero(real)[0]
            for label, score in enumerate(mean[image, place])
            if label and (boxes[image, place, 2:] - boxes[image, place, :2] >= EVERYTHING.min_size).all()
        ]
        valid = np.asarray(found.valid[image])
        rows = np.column_stack([found.scores[image], found.labels[image], found.boxes[image]])[valid]
        np.testing.assert_allclose(rows, sorted(expected, reverse=True), atol=2e-3)


@pytest.mark.slow
def test_a_crowd_trains_no_stage(params, rois, cells):
    everywhere = cells._replace(boxes=jnp.zeros_like(cells.boxes) + jnp.array([0, 0, 64.0, 64]), crowd=cells.valid)
    ignored = rois._replace(valid=jnp.zeros_like(rois.valid))
    for samples in (rois, ignored):
        losses = run(cascade(), params, "losses", pool, samples, everywhere, MEAN)
        assert losses["class_2"] == losses["box_2"] == losses["class_3"] == losses["box_3"] == 0


def test_a_config_names_a_cascade_and_its_heads_and_gets_them_back():
    values = as_values(MaskRCNNSettings())
    named = {"part": "cascade", "head": {"part": "box_head", "channels": 8}}
    values["box_head"] = completed(MaskRCNNSettings, values | {"box_head": named})["box_head"]
    settings = from_dict(MaskRCNNSettings, values)
    assert settings.box_head == Cascade(head=BoxHead(channels=8))
    assert settings.losses == ("rpn_objectness", "rpn_box", *Cascade().LOSSES, "mask")
    assert as_values(settings) == values
    assert [dataclasses.astuple(one) for one in settings.box_head.later] == [
        (0.6, (20.0, 20.0, 10.0, 10.0)),
        (0.7, (30.0, 30.0, 15.0, 15.0)),
    ]


def test_a_config_may_not_give_a_cascade_deltas_per_class():
    values = as_values(MaskRCNNSettings(box_head=Cascade(later=(Stage(0.6, ROI.box_weights),))))
    values["box_head"]["head"]["class_agnostic"] = False
    with pytest.raises(ConfigError, match=r"config\.model\.box_head\.head\.class_agnostic is False"):
        from_dict(MaskRCNNSettings, values)
