"""A further head of a Mask R-CNN: how round each cell is, learnt from the outlines."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from wbcjax.batch import Batch
from wbcjax.models.rois import Found, Pool, RoiSamples
from wbcjax.ops.losses import Mean


class RoundnessHead(nn.Module):
    """4 area / (pi length^2), the length being the longer side of the cell's box: 1 of a disc, less of long cells."""

    channels: int = 32
    bins: int = 7

    LOSSES: ClassVar = ("roundness",)

    @nn.compact
    def __call__(self, pooled: Array) -> Array:  # (n, r, bins, bins, c) -> (n, r)
        x = nn.relu(nn.Conv(self.channels, (3, 3), name="conv")(pooled))
        return nn.Dense(1, name="roundness")(x.mean(axis=(2, 3)))[..., 0]

    def losses(self, pool: Pool, rois: RoiSamples, batch: Batch, mean: Mean) -> dict[str, Array]:
        """The squared error on RoIs of outlined cells."""
        error = self(pool(rois.boxes, self.bins)) - jnp.take_along_axis(roundness(batch), rois.cell, axis=1)
        outlined = jnp.take_along_axis(batch.outlined, rois.cell, axis=1)
        return {"roundness": mean(error**2, (rois.label > 0) & outlined)}

    def detect(self, pool: Pool, found: Found) -> Array:
        """(n, d): a number of each cell found."""
        return self(pool(found.boxes, self.bins))


def roundness(batch: Batch) -> Array:
    """(n, m): that of each annotated cell, by its mask."""
    sides = batch.boxes[..., 2:] - batch.boxes[..., :2]
    area = batch.masks.sum(axis=(2, 3), dtype=jnp.float32)
    return 4 * area / (jnp.pi * jnp.maximum(sides.max(axis=-1), 1) ** 2)
