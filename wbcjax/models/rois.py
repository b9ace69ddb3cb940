"""Regions of interest: annotated cells, the RoIs sampled for them, and settings of RoIAlign."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PRNGKeyArray

from wbcjax.ops import assign, boxes
from wbcjax.ops.roi_align import Convention
from wbcjax.settings.checked import Count, NotEmpty, Positive, Share

Weights = tuple[Positive, Positive, Positive, Positive]
RoiLevel = Literal[2, 3, 4, 5]

Pool = Callable[[Array, int], Array]  # features (n, r, bins, bins, c) of RoIs (n, r, 4), by their number of bins


@dataclass(frozen=True)
class RoiSettings:
    """The sampling of proposals as RoIs to train on, and the pooling of their features."""

    samples: Count = 512
    positive_fraction: Share = 0.25
    keep_ratio: bool = False  # fewer negatives where there are fewer positives
    positive_iou: Share = 0.5
    negative_iou: Share = 0.5
    append_cells: bool = True  # annotated boxes join the proposals
    levels: Annotated[tuple[RoiLevel, ...], NotEmpty()] = (2, 3, 4, 5)
    canonical_size: Positive = 224.0  # pixels of a box that is pooled from P4
    rounded_level: bool = False
    convention: Convention = "legacy"
    sampling_ratio: Count = 2
    box_weights: Weights = (10.0, 10.0, 5.0, 5.0)


class Cells(NamedTuple):
    """The annotated cells of a batch, boxes in the network's own frame."""

    boxes: Float[Array, "n m 4"]
    labels: Int[Array, "n m"]
    valid: Bool[Array, "n m"]
    crowd: Bool[Array, "n m"]  # to be ignored


class RoiSamples(NamedTuple):
    """RoIs of each image that the heads are trained on; positives lie in the first places."""

    boxes: Float[Array, "n r 4"]
    cell: Int[Array, "n r"]  # the annotated cell of a positive
    label: Int[Array, "n r"]  # 0 for background
    valid: Bool[Array, "n r"]
    target: Float[Array, "n r 4"]  # the deltas to the cell

    def positives(self, fraction: float) -> "RoiSamples":
        """The first places, which hold all positives where these are at most `fraction` of all places."""
        most = assign.max_positives(self.boxes.shape[1], fraction)
        return jax.tree.map(lambda x: x[:, :most], self)


class Found(NamedTuple):
    """Cells found in each image of a batch, best score first, padded; boxes in the network's own frame."""

    boxes: Float[Array, "n d 4"]
    labels: Int[Array, "n d"]  # 1..C; 0 in padding
    scores: Float[Array, "n d"]
    valid: Bool[Array, "n d"]
    crowded: Bool[Array, " n"]  # more boxes were over the threshold than there was room for


def sample_rois(
    keys: Key[Array, " n"],
    proposals: Float[Array, "n p 4"],
    real: Bool[Array, "n p"],
    cells: Cells,
    settings: RoiSettings,
) -> RoiSamples:
    """Proposals of each image to train heads on, with their cells, labels and deltas."""
    s = settings

    def of_image(key: PRNGKeyArray, proposals: Array, real: Array, cells: Cells) -> RoiSamples:
        if s.append_cells:
            proposals = jnp.concatenate([proposals, cells.boxes])
            real = jnp.concatenate([real, cells.valid & ~cells.crowd])
        found = _match(proposals, cells, s)
        index, positive, chosen = assign.sample(
            key, found.positive & real, found.negative & real, s.samples, s.positive_fraction, s.keep_ratio
        )
        rois = proposals[index] * chosen[:, None]
        cell = found.cell[index]
        target = boxes.encode(cells.boxes[cell], rois, s.box_weights)
        return RoiSamples(rois, cell, jnp.where(positive, cells.labels[cell], 0), chosen, target)

    return jax.vmap(of_image)(keys, proposals, real, cells)


def match_rois(
    rois: Float[Array, "n r 4"], real: Bool[Array, "n r"], cells: Cells, settings: RoiSettings
) -> RoiSamples:
    """All of these RoIs to train a head on, in their order, with their cells, labels and deltas."""

    def of_image(rois: Array, real: Array, cells: Cells) -> RoiSamples:
        found = _match(rois, cells, settings)
        label = jnp.where(found.positive, cells.labels[found.cell], 0)
        target = boxes.encode(cells.boxes[found.cell], rois, settings.box_weights)
        return RoiSamples(rois, found.cell, label, real & (found.positive | found.negative), target)

    return jax.vmap(of_image)(rois, real, cells)


def _match(rois: Float[Array, "r 4"], cells: Cells, settings: RoiSettings) -> assign.Match:
    """Of one image."""
    return assign.match(
        rois, cells.boxes, cells.valid, cells.crowd, settings.positive_iou, settings.negative_iou, keep_best=False
    )
