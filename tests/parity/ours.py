"""wbcjax's Mask R-CNN with the same weights, settings and images, in the same form as `reference.py`."""

import dataclasses
import sys
from typing import Any
from unittest.mock import patch

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from pycocotools import mask as coco_mask

from tests.parity import fill
from tests.parity import scene as settings
from tests.parity.digest import roi_rows
from tests.parity.scene import Scene
from tests.weights.direct import detector_from_torchvision
from wbcjax.batch import Batch
from wbcjax.models import mask_head, mask_rcnn
from wbcjax.models.settings import TORCHVISION
from wbcjax.smear.paste import paste

Arrays = dict[str, np.ndarray]

MODEL = mask_rcnn.MaskRCNN(
    dataclasses.replace(
        TORCHVISION,
        rpn=TORCHVISION.rpn.clone(
            before_nms_train=settings.CANDIDATES,
            before_nms_test=settings.CANDIDATES,
            proposals_train=settings.PROPOSALS,
            proposals_test=settings.PROPOSALS,
            samples=settings.ANCHOR_SAMPLES,
            positive_fraction=settings.POSITIVE_FRACTION,
        ),
        roi=dataclasses.replace(
            TORCHVISION.roi, samples=settings.ROI_SAMPLES, positive_fraction=settings.POSITIVE_FRACTION
        ),
        detection=dataclasses.replace(
            TORCHVISION.detection, score_threshold=settings.SCORE_THRESHOLD, per_image=settings.DETECTIONS
        ),
    ),
    num_classes=settings.CLASSES + 1,
    cpu=True,
)


def shapes() -> dict[str, Any]:
    """The tree of our variables, of shapes only."""
    return jax.eval_shape(lambda: mask_rcnn.init(MODEL, seed=0))


def variables(seed: int) -> dict[str, Any]:
    """Our variables filled from torchvision's names."""
    return detector_from_torchvision(fill.state_dict(seed), shapes())


def predict(variables: dict[str, Any], scene: Scene) -> Arrays:
    """All stages of a prediction, named and shaped as in `reference.predict`, without the padding."""
    (found, inside), anchors = _predict(variables, scene.image, scene.size), _anchors(variables)
    found, seen = jax.tree.map(np.asarray, (found, inside["intermediates"]))
    features = seen["backbone"]["__call__"][0], seen["fpn"]["__call__"][0]
    logits, deltas = seen["rpn"]["__call__"][0]
    proposals, scores = seen["proposals"][0]
    box_features, mask_features = seen["pool"]
    class_logits, box_deltas = seen["box_head"]["__call__"][0]
    mask_logits = np.asarray(_mask_logits(variables, mask_features))
    real = np.isfinite(scores)

    stages = {f"backbone/c{level}": values for level, values in features[0].items()}
    stages |= {f"fpn/p{level}": values for level, values in features[1].items()}
    stages |= {
        "rpn/objectness": np.concatenate(logits, axis=1),
        "rpn/deltas": np.concatenate(deltas, axis=1),
        "rpn/anchors": np.concatenate(anchors),
        "box_head/features": box_features[real],
        "box_head/logits": class_logits[real],
        "box_head/deltas": box_deltas[real].reshape(real.sum(), -1),
        "mask_head/features": mask_features[found.valid],
        "mask_head/logits": mask_logits[found.valid],
    }
    for i, (height, width) in enumerate(scene.size.astype(int).tolist()):
        of_image = jax.tree.map(lambda x, i=i: x[i][found.valid[i]], found._replace(full=None))
        stages |= {f"detections/{name}/{i}": getattr(of_image, name) for name in ("boxes", "labels", "scores")}
        rles: Any = paste(of_image.masks, of_image.boxes, height, width, "torchvision")
        masks = [coco_mask.decode(rle) for rle in rles]
        stages |= {f"detections/masks/{i}": np.array(masks, bool).reshape(-1, height, width)}
        stages |= {f"rpn/proposals/{i}": proposals[i][real[i]]}
    return stages


def train(variables: dict[str, Any], scene: Scene) -> Arrays:
    """Samples, losses and gradients, named as in `reference.train`."""
    keys = jax.random.split(jax.random.key(0), len(scene.image))  # all is sampled: keys change only the order
    anchors, rois, losses, gradients = jax.tree.map(np.asarray, _train(variables, _batch(scene), keys))
    results = {f"loss/{name}": loss for name, loss in losses.items()}
    results |= {f"gradient/{path}": gradient for path, gradient in flatten_dict(gradients, sep="/").items()}
    for name, chosen in (("positive", anchors.positive), ("negative", ~anchors.positive)):
        mask = np.zeros((len(scene.image), sum(map(len, _anchors(variables)))), bool)
        for i, use in enumerate(chosen & anchors.valid):
            mask[i, anchors.place[i][use]] = True
        results[f"samples/anchors/{name}"] = mask
    for i, use in enumerate(rois.valid):
        results[f"samples/rois/{i}"] = roi_rows(rois.boxes[i][use], rois.label[i][use], rois.target[i][use])
    return results


def _batch(scene: Scene) -> Batch:
    most = max(map(len, scene.boxes)) + 1  # one place of padding at least

    def pad(arrays: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.pad(a, [(0, most - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in arrays])

    labels = pad(scene.labels).astype(np.int32)
    return Batch(
        image=scene.image,
        size=scene.size,
        boxes=pad(scene.boxes),
        labels=labels,
        valid=labels > 0,
        crowd=np.zeros_like(labels, bool),
        outlined=labels > 0,
        masks=pad(scene.masks),
        corners=np.zeros((*labels.shape, 2), np.int32),  # of windows as large as the canvas
        index=np.arange(len(scene.image), dtype=np.int32),
    )


@jax.jit
def _predict(variables: dict[str, Any], image: jax.Array, size: jax.Array) -> Any:
    def is_stage(module: nn.Module, method: str) -> bool:
        return method in ("proposals", "pool") or (method == "__call__" and module.path in STAGES)

    with patch.object(mask_head, "FOUND_AT_ONCE", sys.maxsize):  # or what it pools could not be seen
        return MODEL.apply(
            variables, image, size, method="predict", capture_intermediates=is_stage, mutable=["intermediates"]
        )


STAGES = {("backbone",), ("fpn",), ("rpn",), ("box_head",)}


@jax.jit
def _mask_logits(variables: dict[str, Any], pooled: jax.Array) -> Any:
    """What the mask head makes of pooled RoIs (n, r, bins, bins, c): of each class, not of one alone."""

    def of_head(model: mask_rcnn.MaskRCNN, rois: jax.Array) -> jax.Array:
        return model.mask_head(rois)

    logits: Any = MODEL.apply(variables, pooled.reshape(-1, *pooled.shape[2:]), method=of_head)
    return logits.reshape(*pooled.shape[:2], *logits.shape[1:])


def _anchors(variables: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(level) for level in MODEL.apply(variables, settings.CANVAS, method="anchors")]


@jax.jit
def _train(variables: dict[str, Any], batch: Batch, keys: jax.Array) -> Any:
    def total(params: dict[str, Any]) -> Any:
        losses, kept = MODEL.apply({**variables, "params": params}, batch, keys, method="losses", mutable=["samples"])
        return sum(losses.values()), (kept["samples"], losses)

    gradients, (samples, losses) = jax.grad(total, has_aux=True)(variables["params"])
    return samples["anchors"][0], samples["rois"][0], losses, gradients
