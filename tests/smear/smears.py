"""Drawn fields in which colours can be compared, and the masks of a field's cells."""

import numpy as np

from wbcjax.smear.field import SmearField
from wbcjax.smear.synthetic import SyntheticSmear

# No noise, blur, shading or change of colour, nothing but lymphoblasts: colours can be compared across fields.
CLEAN = SyntheticSmear(
    stain_variation=0.0,
    saturation=(1, 1),
    shading=(0, 0),
    defocus=(0, 0),
    noise=(0, 0),
    red_cells=(0, 0),
    platelets=(0, 0),
    debris=(0, 0),
    others=(0, 0),
    empty=0.0,
)


def masks(field: SmearField) -> np.ndarray:
    """The cells' masks, (n, H, W) bool."""
    shape = (field.height, field.width)
    return np.array([cell.mask(*shape) for cell in field.cells], bool).reshape(-1, *shape)
