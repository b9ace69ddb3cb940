"""The batch types, of fields and of crops, that the input pipelines make and the models read."""

from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int, UInt8

Array = Any  # numpy on the host, then jax on a device


class Batch(NamedTuple):
    """Annotated fields on a fixed canvas, cells padded to `max_cells`. Padded cells are all zero with `valid` False."""

    image: UInt8[Array, "n h w 3"]  # RGB; the field lies at the top left, zeros outside
    size: Float[Array, "n 2"]  # height and width of the field, whole canvas pixels: those whose centres lie in it
    boxes: Float[Array, "n m 4"]  # x1, y1, x2, y2 on the canvas, pixels, x2 and y2 exclusive
    labels: Int[Array, "n m"]  # 1..C; 0 in padding
    valid: Bool[Array, "n m"]
    crowd: Bool[Array, "n m"]  # to ignore, neither positive nor negative: uncounted cells, small remains of cut ones
    outlined: Bool[Array, "n m"]  # False where only the box is known, and in crowd regions: no mask loss there
    masks: UInt8[Array, "n m s t"]  # 0 or 1, in a window of the canvas that holds the cell; 0 where not outlined
    corners: Int[Array, "n m 2"]  # x, y of each window's first pixel on the canvas, in which all windows lie
    index: Int[Array, " n"]  # position of the field in its source


class CropBatch(NamedTuple):
    """Crops that fill a fixed canvas, and their classes."""

    image: UInt8[Array, "n h w 3"]  # RGB
    target: Float[Array, "n c"]  # the share of each class; 1 of its own in a crop that is not mixed
    index: Int[Array, " n"]  # position of the crop in its source
