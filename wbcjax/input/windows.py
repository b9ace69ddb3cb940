"""Windows of the canvas for the masks of cells in a batch: of one size in a whole set, that of its largest cell."""

import math
from collections.abc import Iterable

from wbcjax.input.augment import Augment
from wbcjax.input.field_set import Measures
from wbcjax.input.warp import fit_scale

GRAIN = 16  # pixels: a window's sides are multiples of it
MARGIN = 3  # pixels beside the largest cell: one before it, and two by which drawing in whole pixels may lengthen it

Size = tuple[int, int]  # height, width in pixels


def window_size(fields: Iterable[Measures], canvas: Size, augment: Augment) -> Size:
    """The size of a window that holds any outlined cell of these fields as they are drawn on the canvas.

    A rotation by a right angle swaps height and width: both sides fit the longest side, within the canvas. Turned by
    another angle, a cell's box may be as long as its diagonal.
    """
    drawn = (field.longest * fit_scale(field.height, field.width, canvas) for field in fields)
    angle = math.radians(min(augment.turn, 45))
    longest = max(drawn, default=0.0) * augment.scale[1] * (math.cos(angle) + math.sin(angle))
    longest += 2 * augment.elastic.strength + (augment.room if augment.more else 0)
    side = GRAIN * math.ceil((longest + MARGIN) / GRAIN)
    return min(side, canvas[0]), min(side, canvas[1])


def window_corner(box: tuple[float, float, float, float], window: Size, canvas: Size) -> tuple[int, int] | None:
    """x, y of the first pixel of the window that holds a box of whole pixels; None where the window is too small.

    A window lies within the canvas. It has a pixel of background on each side of the cell, but for sides on the
    canvas's edge. So RoIAlign gives the same on the window as on the whole canvas.
    """
    (x1, y1, x2, y2), (height, width) = map(int, box), window
    x, y = max(min(x1 - 1, canvas[1] - width), 0), max(min(y1 - 1, canvas[0] - height), 0)
    fits = _ends(x2, x + width, canvas[1]) and _ends(y2, y + height, canvas[0])
    return (x, y) if fits else None


def _ends(cell: int, window: int, canvas: int) -> bool:
    """Whether a cell ends before its window does, or both at the end of the canvas."""
    return cell < window or cell == window == canvas
