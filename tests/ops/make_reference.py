"""Write `reference.npz` anew: torchvision's answers to small cases (`python -m tests.ops.make_reference`).

Every case holds its inputs, so that the tests need neither torch nor this script.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import batched_nms, box_iou, roi_align
from torchvision.ops.poolers import initLevelMapper

PATH = Path(__file__).parent / "reference.npz"
CANVAS = (128, 192)
Arrays = dict[str, np.ndarray]


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(20)
    cases = {
        "anchors": _anchors(),
        "coding": _coding(rng),
        "match": _match(rng),
        "nms": _nms(rng),
        "levels": _levels(rng),
        "roi_align": _roi_align(rng),
        "crop_masks": _crop_masks(rng),
    }
    flat = {f"{case}/{name}": values for case, arrays in cases.items() for name, values in arrays.items()}
    np.savez_compressed(PATH, allow_pickle=False, **flat)


def _anchors() -> Arrays:
    """Anchors of P2..P6 as Mask R-CNN has them, and of one level with two sizes."""
    shapes = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    pyramid = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    two_sizes = AnchorGenerator(((20, 50),), ((0.3, 1.0, 1.7),))
    return {"pyramid": _on_canvas(pyramid, shapes), "two_sizes": _on_canvas(two_sizes, [(8, 12)])}


def _on_canvas(generator: AnchorGenerator, shapes: list[tuple[int, int]]) -> np.ndarray:
    image = SimpleNamespace(tensors=torch.zeros(1, 3, *CANVAS), image_sizes=[CANVAS])
    (anchors,) = generator(image, [torch.zeros(1, 1, *shape) for shape in shapes])
    return anchors.numpy()


def _coding(rng: np.random.Generator) -> Arrays:
    """Deltas between random boxes, and boxes made by deltas of which some are larger than the limit."""
    weights = (10.0, 10.0, 5.0, 5.0)
    coder = BoxCoder(weights)
    boxes, references = _boxes(rng, 32, CANVAS), _boxes(rng, 32, CANVAS)
    deltas = torch.from_numpy(rng.normal(0, 12, (32, 4)).astype(np.float32))
    encoded, decoded = coder.encode_single(boxes, references), coder.decode_single(deltas, references)
    return _arrays(boxes=boxes, references=references, encoded=encoded, deltas=deltas, decoded=decoded)


def _match(rng: np.random.Generator) -> Arrays:
    """Candidates of all qualities, each cell with at least one that touches it."""
    boxes = _boxes(rng, 6, CANVAS)
    near = boxes.repeat(10, 1) + torch.from_numpy(rng.normal(0, 3, (60, 4)).astype(np.float32))
    candidates = torch.cat([near, _boxes(rng, 60, CANVAS), near[:3]])  # the last three tie with the first
    quality = box_iou(boxes, candidates)
    keep_best, plain = Matcher(0.7, 0.3, True)(quality), Matcher(0.5, 0.5, False)(quality)
    return _arrays(boxes=boxes, candidates=candidates, keep_best=keep_best, plain=plain)


def _nms(rng: np.random.Generator) -> Arrays:
    """Twenty heaps of ten boxes."""
    boxes = _boxes(rng, 20, CANVAS).repeat(10, 1) + torch.from_numpy(rng.normal(0, 4, (200, 4)).astype(np.float32))
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2])
    scores = torch.from_numpy(rng.permutation(200).astype(np.float32))
    groups = torch.from_numpy(rng.integers(0, 3, 200))
    kept = {f"kept_{t}": batched_nms(boxes, scores, groups, t) for t in (0.3, 0.5, 0.7)}
    return _arrays(boxes=boxes, scores=scores, groups=groups, **kept)


def _levels(rng: np.random.Generator) -> Arrays:
    """Boxes of all sizes, and of the very sizes at which the level changes."""
    sides = np.concatenate([[56, 112, 224, 448, 896, 111.9, 223.9, 447.9], rng.uniform(1, 1200, 40)])
    corner = rng.uniform(0, 64, (len(sides), 2)).round()
    boxes = torch.from_numpy(np.concatenate([corner, corner + sides[:, None]], axis=1).astype(np.float32))
    return _arrays(boxes=boxes, level=initLevelMapper(2, 5)([boxes]))


def _roi_align(rng: np.random.Generator) -> Arrays:
    """RoIs on four levels: inside, across and beyond each border, without area, of one pixel, and the whole canvas."""
    height, width = CANVAS
    special = [
        [-40, 20, 30, 60],
        [150, 100, 230, 160],
        [60, -80, 100, 300],
        [-500, -500, -400, -450],
        [50, 50, 50, 50],
        [50, 40, 50, 80],
        [33, 33, 34, 34],
        [0, 0, width, height],
        [width - 1, height - 1, width, height],
        [-3.9, -3.9, 0.1, 0.1],
    ]
    boxes = torch.cat([torch.tensor(special, dtype=torch.float32), _boxes(rng, 14, CANVAS)])
    level = np.arange(len(boxes)) % 4
    features = [
        torch.from_numpy(rng.normal(size=(1, 3, height // s, width // s)).astype(np.float32)) for s in (4, 8, 16, 32)
    ]
    cases = {
        f"{name}_{bins}_{ratio}": torch.cat(
            [
                roi_align(features[k], [box[None]], bins, 1 / (4 * 2**k), ratio, aligned)
                for k, box in zip(level, boxes, strict=True)
            ]
        ).permute(0, 2, 3, 1)
        for name, aligned in (("legacy", False), ("aligned", True))
        for bins, ratio in ((7, 2), (4, 1), (3, 3))
    }
    maps = {f"features_{k}": values[0].permute(1, 2, 0) for k, values in enumerate(features)}
    return _arrays(boxes=boxes, level=torch.from_numpy(level), **maps, **cases)


def _crop_masks(rng: np.random.Generator) -> Arrays:
    """Boxes inside the image on noise masks: large, small, narrower than a pixel, without area, and the whole image."""
    height, width = 40, 56
    masks = torch.from_numpy((rng.random((3, height, width)) < 0.5).astype(np.uint8))
    special = torch.tensor(
        [[0, 0, width, height], [10, 10, 10, 10], [20, 5, 20.5, 30], [55, 39, 56, 40], [3.25, 0, 3.75, 40]]
    )
    boxes = torch.cat([special, _boxes(rng, 12, (height, width))])
    which = torch.from_numpy(rng.integers(0, 3, len(boxes)))
    rois = torch.cat([which[:, None].float(), boxes], dim=1)
    crops = {
        name: roi_align(masks[:, None].float(), rois, 14, 1.0, -1, aligned)[:, 0]
        for name, aligned in (("legacy", False), ("aligned", True))
    }
    return _arrays(masks=masks, boxes=boxes, which=which, **crops)


def _boxes(rng: np.random.Generator, count: int, canvas: tuple[int, int]) -> Tensor:
    """Boxes inside the canvas, at least a pixel wide."""
    size = rng.uniform(1, np.array(canvas[::-1]) / 2, (count, 2))
    corner = rng.uniform(0, np.array(canvas[::-1]) - size)
    return torch.from_numpy(np.concatenate([corner, corner + size], axis=1).astype(np.float32))


def _arrays(**tensors: Tensor) -> Arrays:
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


if __name__ == "__main__":
    main()
