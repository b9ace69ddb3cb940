"""RoIAlign, NMS and the pasting of masks, ours and torchvision's. Needs the extra `parity`.

RoIAlign: 1000 boxes of 20 to 200 pixels, 7 x 7 bins, 256 channels, of a field of 1024 x 1024: all from P2 (256 x 256),
or each from its level of P2 to P5. NMS: 2000 boxes at IoU 0.7, all that survive kept. Inputs and results stay with each
library. Pasting: 100 masks of 28 x 28 into 1024 x 1024. Ours come out as COCO's RLE. torchvision's come out as float
maps of the image's size, and in a second row these are thresholded and encoded as its detection reference does.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, contest

SIDE, CHANNELS, BINS = 1024, 256, 7
ROIS, CANDIDATES, MASKS = 1000, 2000, 100
LEVELS = (2, 3, 4, 5)
CANONICAL = 224.0  # a box of so many pixels is pooled from P4


def results(rounds: int) -> Iterator[Result]:
    work = {
        f"RoIAlign of {ROIS} on P2, forward and backward": _align(levels=(2,)),
        f"RoIAlign of {ROIS} over P2 to P5, forward and backward": _align(levels=LEVELS),
        f"RoIAlign of {ROIS} over P2 to P5, forward": _align(levels=LEVELS, backward=False),
        f"NMS of {CANDIDATES}": {"ours": Contestant(our_nms), "torchvision": Contestant(their_nms)},
        f"paste {MASKS} masks": {
            "ours": Contestant(our_paste),
            "torchvision": Contestant(their_paste, {"encode": False}),
            "torchvision, encoded": Contestant(their_paste, {"encode": True}),
        },
    }
    for title, contestants in work.items():
        for tuned in (False, True):
            yield Result(title, contest(contestants, 3 * rounds, tuned=tuned), tuned, unit="call")


def _align(**options: Any) -> dict[str, Contestant]:
    return {"ours": Contestant(our_align, options), "torchvision": Contestant(their_align, options)}


def boxes(count: int, least: float = 20.0, most: float = 200.0) -> np.ndarray:
    """Boxes anywhere in the field, (n, 4) float32."""
    rng = np.random.default_rng(0)
    size = rng.uniform(least, most, (count, 2))
    low = rng.uniform(0, SIDE - size)
    return np.concatenate([low, low + size], axis=1).astype(np.float32)


def pyramid(levels: tuple[int, ...]) -> list[np.ndarray]:
    """Features of each level, (h, w, c)."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal((SIDE // 2**k, SIDE // 2**k, CHANNELS), np.float32) for k in levels]


def cotangent() -> np.ndarray:
    """The gradient of a loss by the pooled features, (r, bins, bins, c)."""
    return np.random.default_rng(2).standard_normal((ROIS, BINS, BINS, CHANNELS), np.float32)


def our_align(levels: tuple[int, ...], backward: bool = True) -> Task:
    import jax

    from wbcjax.ops.cpu import on_cpu
    from wbcjax.ops.roi_align import feature_table, fpn_level, roi_align

    rois = jax.device_put(boxes(ROIS))
    grad = jax.device_put(cotangent())
    features = tuple(jax.device_put(pyramid(levels)))
    last = len(levels) - 1

    @jax.jit
    def work(features: Any, rois: Any, grad: Any) -> Any:
        level = jax.numpy.minimum(fpn_level(rois, LEVELS, CANONICAL, False), last)

        def pool(features: Any) -> Any:
            return roi_align(feature_table(features), rois, level, (SIDE, SIDE), BINS, 2, "legacy", on_cpu())

        pooled, back = jax.vjp(pool, features)
        return (pooled, *back(grad)) if backward else pooled

    return lambda: jax.block_until_ready(work(features, rois, grad))


def their_align(levels: tuple[int, ...], backward: bool = True) -> Task:
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    rois = [torch.from_numpy(boxes(ROIS))]
    grad = torch.from_numpy(cotangent()).permute(0, 3, 1, 2).contiguous()
    features = {
        str(k): torch.from_numpy(level).permute(2, 0, 1)[None].contiguous().requires_grad_(backward)
        for k, level in zip(levels, pyramid(levels), strict=True)
    }
    align = MultiScaleRoIAlign(list(features), BINS, 2, canonical_scale=int(CANONICAL))

    def run() -> Any:
        pooled = align(features, rois, [(SIDE, SIDE)])
        return (pooled, torch.autograd.grad(pooled, list(features.values()), grad)) if backward else pooled

    return run


def scored_boxes() -> tuple[np.ndarray, np.ndarray]:
    """Ten boxes round each of 200 places, and the score of each: (n, 4), (n,)."""
    rng = np.random.default_rng(3)
    found = np.repeat(boxes(CANDIDATES // 10), 10, axis=0) + rng.normal(0, 4, (CANDIDATES, 4))
    return found.astype(np.float32), rng.uniform(0, 1, CANDIDATES).astype(np.float32)


def our_nms() -> Task:
    import functools

    import jax

    from wbcjax.ops.cpu import on_cpu
    from wbcjax.ops.nms import nms

    found, scores = map(jax.device_put, scored_boxes())
    groups = jax.numpy.zeros(CANDIDATES, int)
    suppress = jax.jit(functools.partial(nms, iou_threshold=0.7, max_kept=CANDIDATES, cpu=on_cpu()))
    return lambda: jax.block_until_ready(suppress(found, scores, groups))


def their_nms() -> Task:
    import torch
    from torchvision.ops import nms

    found, scores = map(torch.from_numpy, scored_boxes())
    return lambda: nms(found, scores, 0.7)


def detected_masks() -> tuple[np.ndarray, np.ndarray]:
    """Round masks of soft edges, in boxes of cells' sizes: (d, 28, 28), (d, 4)."""
    y, x = np.mgrid[:28, :28] - 13.5
    radius = np.random.default_rng(4).uniform(8, 13, (MASKS, 1, 1))
    probabilities = 1 / (1 + np.exp(np.hypot(x, y) - radius))
    return probabilities.astype(np.float32), boxes(MASKS, 40.0, 120.0)


def our_paste() -> Task:
    from wbcjax.smear.paste import paste

    masks, found = detected_masks()
    return lambda: paste(masks, found, SIDE, SIDE, "torchvision")


def their_paste(encode: bool) -> Task:
    import torch
    from pycocotools import mask as coco_mask
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks, found = map(torch.from_numpy, detected_masks())

    def run() -> Any:
        drawn = paste_masks_in_image(masks[:, None], found, (SIDE, SIDE))
        if not encode:
            return drawn
        return [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in (drawn[:, 0] > 0.5).numpy()]

    return run
