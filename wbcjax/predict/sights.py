"""Detections of a slide, each with its mask alone: a mask over a whole slide has more pixels than COCO counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Int, UInt8

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.smear.paste import patch_rle
from wbcjax.smear.rle import cut_outs


@dataclass(frozen=True, eq=False)
class Sight:
    """One detection, in pixels of the slide as it was read."""

    box: tuple[float, float, float, float]
    label: int
    score: float
    said: dict[str, float]  # outputs of further heads
    mask: UInt8[np.ndarray, "h w"]  # 0 or 1, within its bounds
    left: int
    top: int

    @property
    def right(self) -> int:
        return self.left + self.mask.shape[1]

    @property
    def bottom(self) -> int:
        return self.top + self.mask.shape[0]


def sights(found: FieldDetections, left: int, top: int) -> list[Sight]:
    """The detections of a part of a slide that begins at (left, top); those without a pixel are no cells."""
    boxes = found.boxes.astype(np.float64) + np.array([left, top, left, top])
    return [
        Sight(
            box=(box[0], box[1], box[2], box[3]),
            label=int(found.labels[row]),
            score=float(found.scores[row]),
            said={name: float(values[row]) for name, values in found.said.items()},
            mask=part.mask,
            left=left + part.left,
            top=top + part.top,
        )
        for row, (box, part) in enumerate(zip(boxes.tolist(), cut_outs(found.rles), strict=True))
        if part.mask.size
    ]


@dataclass(frozen=True, eq=False)
class Frame:
    """A part of a slide, by its bounds."""

    left: int
    top: int
    width: int
    height: int

    def holding(self, seen: Sequence[Sight], name: str = "") -> FieldDetections:
        """Detections as those of this part, in their order."""
        place = np.array([self.left, self.top, self.left, self.top])
        return FieldDetections(
            name=name,
            height=self.height,
            width=self.width,
            boxes=np.array([one.box for one in seen], np.float64).reshape(-1, 4) - place,
            labels=np.array([one.label for one in seen], np.int32),
            scores=np.array([one.score for one in seen], np.float64),
            rles=[
                patch_rle(one.mask, one.left - self.left, one.top - self.top, self.height, self.width) for one in seen
            ],
            said={key: np.array([one.said[key] for one in seen]) for key in seen[0].said} if seen else {},
        )


def frame_of(seen: Sequence[Sight]) -> Frame:
    """The least frame that holds the masks of detections."""
    left, top = min(one.left for one in seen), min(one.top for one in seen)
    right, bottom = max(one.right for one in seen), max(one.bottom for one in seen)
    return Frame(left, top, right - left, bottom - top)


def touching(seen: Sequence[Sight]) -> Int[np.ndarray, "2 p"]:
    """The pairs of detections, by position, whose masks' bounds share pixels; the first of a pair comes first."""
    bounds = np.array([(one.left, one.top, one.right, one.bottom) for one in seen], np.float64).reshape(-1, 4)
    # Smaller by half a pixel on each side, so that bounds that only meet do not intersect
    boxes = shapely.box(*(bounds + np.array([0.25, 0.25, -0.25, -0.25])).T)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    pairs = np.stack([one, other])[:, one < other]
    return pairs[:, np.lexsort(pairs[::-1])]


def groups(count: int, pairs: Iterable[Sequence[int]]) -> list[list[int]]:
    """What is linked by `pairs`, directly or through others: positions in their order, by the first of each group."""
    root = list(range(count))

    def root_of(position: int) -> int:
        while root[position] != position:
            root[position] = root[root[position]]
            position = root[position]
        return position

    for one, other in pairs:
        low, high = sorted((root_of(one), root_of(other)))
        root[high] = low
    found: dict[int, list[int]] = {}
    for position in range(count):
        found.setdefault(root_of(position), []).append(position)
    return list(found.values())


def overlap(one: Sight, other: Sight) -> tuple[int, int, int]:
    """The pixels that two masks share, and those of each."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    right, bottom = min(one.right, other.right), min(one.bottom, other.bottom)
    shared = 0
    if left < right and top < bottom:
        parts = [of.mask[top - of.top : bottom - of.top, left - of.left : right - of.left] for of in (one, other)]
        shared = int(np.count_nonzero(parts[0] & parts[1]))
    return shared, int(np.count_nonzero(one.mask)), int(np.count_nonzero(other.mask))
