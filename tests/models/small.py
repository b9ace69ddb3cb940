"""A Mask R-CNN small enough to compile in a test, and batches of squares for it."""

import dataclasses
from typing import Any

import numpy as np

from wbcjax.batch import Batch
from wbcjax.models import settings as s
from wbcjax.models.fpn import Fpn
from wbcjax.models.mask_rcnn import MaskRCNN

CANVAS = (64, 96)
WINDOW = (48, 48)
CELLS = 4


def model(dialect: s.MaskRCNNSettings = s.TORCHVISION, classes: int = 3, **backbone) -> MaskRCNN:
    """`dialect` with few channels and few proposals, on a ResNet-18 of an eighth of the width."""
    changes: dict[str, Any] = {"depth": 18, "width": 8} | backbone
    return MaskRCNN(
        dataclasses.replace(
            dialect,
            backbone=dialect.backbone.clone(**changes),
            fpn=Fpn(channels=8),
            rpn=dialect.rpn.clone(
                channels=8, before_nms_train=40, before_nms_test=40, proposals_train=30, proposals_test=20
            ),
            roi=dataclasses.replace(dialect.roi, samples=16),
            box_head=dialect.box_head.clone(channels=16),
            mask_head=dialect.mask_head.clone(bins=4, channels=8),
            detection=dataclasses.replace(dialect.detection, score_threshold=0.0, per_image=6, candidates=60),
        ),
        classes,
        cpu=True,
    )


def batch(images: int, seed: int, cells: int = 3) -> Batch:
    """Noise with `cells` bright squares in each image, at most `CELLS`."""
    rng = np.random.default_rng(seed)
    height, width = CANVAS
    image = rng.integers(0, 100, (images, height, width, 3), dtype=np.uint8)
    boxes = np.zeros((images, CELLS, 4), np.float32)
    labels = np.zeros((images, CELLS), np.int32)
    masks = np.zeros((images, CELLS, *WINDOW), np.uint8)
    corners = np.zeros((images, CELLS, 2), np.int32)
    for i in range(images):
        for k in range(cells):
            x, y, size = rng.integers(0, width - 32), rng.integers(0, height - 32), rng.integers(16, 32)
            boxes[i, k] = x, y, x + size, y + size
            labels[i, k] = rng.integers(1, 3)
            corners[i, k] = left, top = np.clip([x - 1, y - 1], 0, [width - WINDOW[1], height - WINDOW[0]])
            masks[i, k, y - top : y - top + size, x - left : x - left + size] = 1
            image[i, y : y + size, x : x + size] += 100
    return Batch(
        image=image,
        size=np.full((images, 2), CANVAS, np.float32),
        boxes=boxes,
        labels=labels,
        valid=labels > 0,
        crowd=np.zeros((images, CELLS), bool),
        outlined=labels > 0,
        masks=masks,
        corners=corners,
        index=np.arange(images, dtype=np.int32),
    )
