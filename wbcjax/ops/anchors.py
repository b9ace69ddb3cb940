"""Anchors: the boxes of fixed size and shape from which the RPN starts, laid out on every FPN level."""

import numpy as np
from jaxtyping import Float


def pyramid_anchors(
    shapes: tuple[tuple[int, int], ...],
    strides: tuple[int, ...],
    sizes: tuple[tuple[float, ...], ...],
    aspect_ratios: tuple[float, ...],
    rounded: bool,
) -> tuple[Float[np.ndarray, "_ 4"], ...]:
    """Anchors of each level, ordered by row, column, then anchor shape, as the RPN's outputs are.

    `shapes` are the feature maps' (height, width); `sizes` the square roots of the anchors' areas in pixels, one tuple
    per level; `aspect_ratios` are height / width. Centres lie at multiples of the stride. `rounded` rounds the anchors'
    corners to whole pixels about the centre, as torchvision's AnchorGenerator does; Matterport does not.
    NumPy, since shapes are static: anchors are constants of the compiled program.
    """
    return tuple(
        _grid_anchors(shape, stride, _base_anchors(size, aspect_ratios, rounded))
        for shape, stride, size in zip(shapes, strides, sizes, strict=True)
    )


def _base_anchors(sizes: tuple[float, ...], aspect_ratios: tuple[float, ...], rounded: bool) -> np.ndarray:
    root = np.sqrt(np.asarray(aspect_ratios, np.float32))
    heights = (root[:, None] * np.asarray(sizes, np.float32)).reshape(-1)  # aspect ratio outermost
    widths = (np.asarray(sizes, np.float32) / root[:, None]).reshape(-1)
    base = 0.5 * np.stack([-widths, -heights, widths, heights], axis=1)
    return np.round(base) if rounded else base


def _grid_anchors(shape: tuple[int, int], stride: int, base: np.ndarray) -> np.ndarray:
    y, x = np.meshgrid(np.arange(shape[0]) * stride, np.arange(shape[1]) * stride, indexing="ij")
    centres = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return (centres + base).reshape(-1, 4).astype(np.float32)
