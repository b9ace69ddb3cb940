"""What Matterport's dialect does otherwise than torchvision's, against plain NumPy written from its definitions."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from pycocotools import mask as coco_mask

from tests.input.painted import on_canvas
from tests.models import small
from wbcjax.batch import Batch
from wbcjax.models import mask_rcnn
from wbcjax.models import settings as s
from wbcjax.models.box_head import DetectionSettings, detect
from wbcjax.models.rois import Cells, RoiSamples
from wbcjax.models.rpn import AnchorSamples, RpnOutputs
from wbcjax.ops import boxes
from wbcjax.ops.losses import mean_over_devices
from wbcjax.ops.mask_targets import crop_masks
from wbcjax.predict.detector import PASTED_AS
from wbcjax.smear.paste import paste

CANVAS = (64, 128)


def normalised(pixel_boxes, canvas=CANVAS):
    """Its norm_boxes: y and x as shares of height - 1 and width - 1, with y2 and x2 one pixel less."""
    height, width = canvas
    return (pixel_boxes - [0, 0, 1, 1]) / [width - 1, height - 1, width - 1, height - 1]


def test_anchors_have_matterports_order_shapes_and_centres():
    model = mask_rcnn.MaskRCNN(s.MATTERPORT, 2, cpu=True)
    levels: Any = model.apply({}, CANVAS, method="anchors")
    expected = []
    for y in range(0, CANVAS[0], 4):
        for x in range(0, CANVAS[1], 4):
            for ratio in (0.5, 1.0, 2.0):  # width / height
                h, w = 32 / np.sqrt(ratio), 32 * np.sqrt(ratio)
                expected.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    in_frame = normalised(np.array(expected)) * [127, 63, 127, 63]
    np.testing.assert_allclose(levels[0], in_frame, rtol=0, atol=1e-4)


def test_deltas_in_our_frame_are_those_between_normalised_boxes():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (2, 20, 2))
    a, b = np.concatenate([low, low + rng.uniform(4, 24, (2, 20, 2))], axis=-1)
    weights = s.MATTERPORT.roi.box_weights
    frame = np.array([0, 0, -1, -1])
    ours = boxes.encode(jnp.asarray(a + frame, jnp.float32), jnp.asarray(b + frame, jnp.float32), weights)
    theirs = boxes.encode(jnp.asarray(normalised(a), jnp.float32), jnp.asarray(normalised(b), jnp.float32), weights)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


def test_an_roi_is_detected_as_its_best_class_alone():
    classes = jnp.array([[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]])
    found = jnp.array([[[0.0, 0, 20, 20]], [[30, 30, 50, 50]]])

    def labels(settings):
        _, labels, scores, valid, _ = detect(classes, found, jnp.array([True, True]), settings, cpu=True)
        return list(zip(labels[valid].tolist(), np.round(scores[valid], 3).tolist(), strict=True))

    one = DetectionSettings(score_threshold=0.05, one_class_per_roi=True, candidates=4)
    every = DetectionSettings(score_threshold=0.05, one_class_per_roi=False, candidates=4)
    assert labels(one) == [(1, 0.5)]
    assert labels(every) == [
        (1, pytest.approx(0.5)),
        (2, pytest.approx(0.4)),
        (2, pytest.approx(0.3)),
        (1, pytest.approx(0.1)),
    ]


class Sampled(NamedTuple):
    """The targets of heads, and their outputs for them."""

    anchors: AnchorSamples
    of_anchors: RpnOutputs
    batch: Batch
    rois: RoiSamples
    class_logits: Array
    deltas: Array  # of each class
    mask_logits: Array  # of each class, of the first three RoIs of an image, which are those with a cell


@pytest.fixture(scope="module")
def sampled() -> Sampled:
    rng = np.random.default_rng(1)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    anchor_valid = rng.random((2, 8)) < 0.8
    label, cell = np.zeros((2, 9), np.int32), np.tile(np.arange(9) % 3, (2, 1))
    label[0, :3], label[1, :2] = [1, 2, 1], [2, 2]
    batch = small.batch(2, seed=1)
    beside = np.array([-3.0, 2.0, 4.0, 1.0], np.float32)
    return Sampled(
        anchors=AnchorSamples(
            place=jnp.tile(jnp.arange(8)[::-1], (2, 1)),
            boxes=normal(2, 8, 4),
            positive=jnp.asarray(anchor_valid & (np.arange(8) < 3)),
            valid=jnp.asarray(anchor_valid),
            target=normal(2, 8, 4),
        ),
        of_anchors=RpnOutputs([normal(2, 6), normal(2, 4)], [normal(2, 6, 4), normal(2, 4, 4)]),
        batch=jax.tree.map(jnp.asarray, batch._replace(outlined=batch.valid & (np.arange(small.CELLS) != 1))),
        rois=RoiSamples(
            boxes=jnp.asarray(batch.boxes[np.arange(2)[:, None], cell] + beside),
            cell=jnp.asarray(cell),
            label=jnp.asarray(label),
            valid=jnp.asarray(np.arange(9) < np.array([[7], [9]])),
            target=normal(2, 9, 4),
        ),
        class_logits=normal(2, 9, 3),
        deltas=normal(2, 9, 3, 4),
        mask_logits=normal(2, 3, 4, 4, 3),
    )


def said(head: nn.Module, says: Any, *arguments: Any) -> dict[str, Array]:
    """The losses of a head with these outputs."""

    def say(call, args, kwargs, context):
        return says if context.method_name == "__call__" else call(*args, **kwargs)

    def pool(rois: Array, bins: int) -> Array:
        return jnp.zeros((*rois.shape[:2], bins, bins, 1))

    with nn.intercept_methods(say):
        return head.apply({}, pool, *arguments, mean_over_devices(None), method="losses")  # pyright: ignore[reportReturnType]


@pytest.mark.slow
@pytest.mark.parametrize("dialect", [s.TORCHVISION, s.MATTERPORT], ids=["torchvision", "matterport"])
def test_losses_equal_their_definitions_written_out(sampled, dialect):
    with_cells = jax.tree.map(lambda x: x[:, :3], sampled.rois)
    losses = dialect.rpn.losses(sampled.of_anchors, sampled.anchors, mean_over_devices(None))
    of_boxes, batch = (sampled.class_logits, sampled.deltas), sampled.batch
    cells = Cells(batch.boxes, batch.labels, batch.valid, batch.crowd)
    losses |= said(dialect.box_head.clone(num_classes=3, roi=dialect.roi), of_boxes, sampled.rois, cells)
    of_masks = sampled.mask_logits.reshape(6, 4, 4, 3)
    masks = dialect.mask_head.clone(num_classes=3, roi=dialect.roi, bins=2)
    losses |= said(masks, of_masks, with_cells, batch)

    matterport = dialect is s.MATTERPORT
    anchors, rois = jax.tree.map(np.asarray, (sampled.anchors, sampled.rois))

    def smooth_l1(x):
        beta = 1.0 if matterport else 1 / 9
        return np.where(np.abs(x) < beta, 0.5 * x**2 / beta, np.abs(x) - 0.5 * beta)

    def box_loss(deltas, target, positive, sampled):
        losses = smooth_l1(np.asarray(deltas) - target)[positive]
        return losses.mean() if matterport else losses.sum() / sampled.sum()

    logits, deltas = (np.concatenate(x, axis=1)[:, 7::-1] for x in sampled.of_anchors)  # in the order of the samples
    sign = np.where(anchors.positive, 1, -1)
    objectness = np.log1p(np.exp(-sign * logits))[anchors.valid].mean()
    log_softmax = np.asarray(jax.nn.log_softmax(sampled.class_logits))
    per_roi = -np.take_along_axis(log_softmax, rois.label[..., None], axis=-1)[..., 0]
    counted = np.ones_like(rois.valid) if matterport else rois.valid
    own = np.take_along_axis(np.asarray(sampled.deltas), rois.label[..., None, None], axis=2)[:, :, 0]
    per_mask = []
    for image, row in [(0, 0), (0, 2), (1, 0)]:  # the second RoI's cell has no outline
        convention = "crop_and_resize" if matterport else "legacy"
        roi = sampled.rois.boxes[image, row][None], sampled.rois.cell[image, row][None]
        outline = crop_masks(jnp.asarray(on_canvas(batch)[image]), *roi, 4, convention)[0]
        target = np.round(outline) if matterport else np.asarray(outline)
        x = np.asarray(sampled.mask_logits)[image, row, ..., rois.label[image, row]]
        per_mask.append(target * np.log1p(np.exp(-x)) + (1 - target) * np.log1p(np.exp(x)))
    expected = {
        "rpn_objectness": objectness,
        "rpn_box": box_loss(deltas, anchors.target, anchors.positive, anchors.valid),
        "class": per_roi[counted].mean(),
        "box": box_loss(own, rois.target, rois.label > 0, rois.valid),
        "mask": np.mean(per_mask),
    }
    assert jax.device_get(losses) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("across", [16, 30])
def test_masks_unmoulded_from_perfect_targets_are_the_cells_themselves(across):
    rng = np.random.default_rng(across)
    y, x = np.mgrid[:64, :64] + 0.5
    ious = []
    for _ in range(20):
        turn, narrow, (cx, cy) = rng.uniform(0, np.pi), rng.uniform(0.7, 1), 32 + rng.uniform(0, 1, 2)
        along, beside = ((x - cx) * np.cos(a) + (y - cy) * np.sin(a) for a in (turn, turn + np.pi / 2))
        cell = np.hypot(along, beside / narrow) <= across / 2
        rows, columns = np.nonzero(cell.any(1))[0], np.nonzero(cell.any(0))[0]
        box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
        drawn, inside = jnp.asarray(cell[None], jnp.uint8), jnp.asarray(box - np.array([0, 0, 1, 1], np.float32))
        target = np.round(np.asarray(crop_masks(drawn, inside, jnp.array([0]), 28, "crop_and_resize")))
        rles: Any = paste(target, box, 64, 64, PASTED_AS["crop_and_resize"])
        found = coco_mask.decode(rles[0]).astype(bool)
        ious.append((found & cell).sum() / (found | cell).sum())
    assert np.mean(ious) > 0.99


@pytest.mark.slow
def test_black_beside_a_field_is_seen_as_black_not_as_the_mean():
    model = small.model(s.MATTERPORT)
    variables = mask_rcnn.init(model, 0)
    batch = small.batch(1, seed=0)

    @jax.jit
    def coarsest(image, size):
        levels: Any = model.apply(variables, image, size, method="features")
        return levels[5]

    half = np.array([[64, 48]], np.float32)
    painted = batch.image.copy()
    painted[:, :, 48:] = 0
    np.testing.assert_array_equal(coarsest(painted, half), coarsest(painted, batch.size))
    assert not np.allclose(coarsest(batch.image, half), coarsest(painted, half))
