"""Mask R-CNN: backbone, FPN, RPN, RoIAlign, box head, mask head and further heads (He et al. 2017)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key, UInt8

from wbcjax.batch import Batch
from wbcjax.models.backbone import Trains, given, nothing_trains
from wbcjax.models.rois import Cells, Found, Pool
from wbcjax.models.rpn import RpnOutputs
from wbcjax.models.settings import MaskRCNNSettings
from wbcjax.models.variables import Variables
from wbcjax.ops.cpu import on_cpu
from wbcjax.ops.losses import mean_over_devices
from wbcjax.ops.roi_align import FeatureTable, feature_table, fpn_level, roi_align


class Detections(NamedTuple):
    """Cells found in a batch of fields, best score first, padded; boxes in canvas pixels."""

    boxes: Float[Array, "n d 4"]
    labels: Int[Array, "n d"]  # 1..C; 0 in padding
    scores: Float[Array, "n d"]
    masks: Float[Array, "n d s s"]  # probability inside the box
    valid: Bool[Array, "n d"]
    # Which of `wbcjax.models.limits.LIMITS` each image fills; None of an older export, which lacks it.
    full: Bool[Array, "n 4"] | None = None
    said: dict[str, Array] | None = None  # outputs of further heads for each cell, by head: (n, d) or (n, d, k)


class MaskRCNN(nn.Module):
    """Mask R-CNN over `num_classes` classes, of which class 0 is the background."""

    settings: MaskRCNNSettings
    num_classes: int
    cpu: bool = False  # by `wbcjax/ops/cpu`

    def setup(self) -> None:
        s = self.settings
        shared: dict[str, Any] = {
            "num_classes": self.num_classes,
            "roi": s.roi,
            "detection": s.detection,
            "dtype": jnp.dtype(s.dtype),
            "remat": s.remat,
            "cpu": self.cpu,
        }
        self.backbone = given(s.backbone, **shared)
        self.fpn = given(s.fpn, **shared)
        self.rpn = given(s.rpn, **shared)
        self.box_head = given(s.box_head, **shared)
        self.mask_head = given(s.mask_head, **shared)
        for name, head in s.heads.items():
            setattr(self, name, given(head, **shared))

    def predict(self, image: UInt8[Array, "n h w 3"], size: Float[Array, "n 2"]) -> Detections:
        """Cells found in each image of a batch; `size` is the (height, width) of each field, whole canvas pixels."""
        features = self.features(image, size)
        return self._detect(features, self.rpn(features), canvas_of(image), size)

    def predict_at(
        self, image: UInt8[Array, "n h w 3"], size: Float[Array, "n 2"], place: Float[Array, "n 2"]
    ) -> Detections:
        """Cells found from the proposals around a place of each image alone, whatever their logits.

        `place` is (x, y) in canvas pixels.
        """
        features, canvas = self.features(image, size), canvas_of(image)
        outputs = self.rpn(features).around(self.rpn.anchors(canvas), place)
        return self._detect(features, outputs, canvas, size)

    def _detect(
        self,
        features: dict[int, Float[Array, "n _ _ c"]],
        outputs: RpnOutputs,
        canvas: tuple[int, int],
        size: Float[Array, "n 2"],
    ) -> Detections:
        proposals, scores = self.proposals(outputs, canvas, size, train=False)
        pool = self.pooler(features, canvas)
        found = self.box_head.detect(pool, proposals, jnp.isfinite(scores), size + self._frame()[2])
        detections = Detections(
            boxes=(found.boxes - self._frame()) * found.valid[..., None],
            labels=found.labels,
            scores=found.scores,
            masks=self.mask_head.detect(pool, found),
            valid=found.valid,
            full=jnp.stack([*self.rpn.full(outputs, scores), found.crowded, found.valid.all(axis=1)], axis=1),
            said={name: self._head_output(name, pool, found) for name in self.settings.heads} or None,
        )
        maskness = self.settings.detection.maskness
        return by_maskness(detections, maskness) if maskness else detections

    def losses(
        self,
        batch: Batch,
        keys: Key[Array, " n"],
        trains: Trains = nothing_trains,
        axis_name: str | None = None,
    ) -> dict[str, Float[Array, ""]]:
        """Losses by name, of sampled anchors and RoIs; `keys` has one PRNG key per image.

        Batch norms of the stages that `trains` is true of use the batch's statistics, over all devices of `axis_name`.
        """
        canvas = canvas_of(batch.image)
        features = self.features(batch.image, batch.size, trains, axis_name)
        outputs = self.rpn(features)
        cells = Cells((batch.boxes + self._frame()) * batch.valid[..., None], batch.labels, batch.valid, batch.crowd)
        proposals, scores = self.proposals(outputs, canvas, batch.size, train=True)
        anchor_keys, roi_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        anchors = jax.lax.stop_gradient(self.rpn.sample(anchor_keys, self.anchors(canvas), cells))
        rois = jax.lax.stop_gradient(self.box_head.sample(roi_keys, proposals, jnp.isfinite(scores), cells))
        self.sow("samples", "anchors", anchors)
        self.sow("samples", "rois", rois)
        pool = self.pooler(features, canvas)
        mean = mean_over_devices(axis_name)
        losses = self.rpn.losses(outputs, anchors, mean) | self.box_head.losses(pool, rois, cells, mean)
        positives = rois.positives(self.settings.roi.positive_fraction)
        for head in (self.mask_head, *(getattr(self, name) for name in self.settings.heads)):
            losses |= head.losses(pool, positives, batch, mean)
        return losses

    def features(
        self,
        image: UInt8[Array, "n h w 3"],
        size: Float[Array, "n 2"],
        trains: Trains = nothing_trains,
        axis_name: str | None = None,
    ) -> dict[int, Float[Array, "n _ _ c"]]:
        """FPN levels of a batch of images."""
        s = self.settings
        x = (image.astype(jnp.float32) - jnp.array(s.pixel_mean)) / jnp.array(s.pixel_std)
        if not s.black_padding:
            rows, columns = jnp.arange(x.shape[1]), jnp.arange(x.shape[2])
            inside = (rows < size[:, :1])[:, :, None] & (columns < size[:, 1:])[:, None, :]  # (n, h, w)
            x = jnp.where(inside[..., None], x, 0.0)
        return self.fpn(self.backbone(x, trains, axis_name))

    def anchors(self, canvas: tuple[int, int]) -> list[Float[Array, "_ 4"]]:
        """Anchors of each RPN level, in the network's own frame."""
        return [level + self._frame() for level in self.rpn.anchors(canvas)]

    def proposals(
        self, outputs: RpnOutputs, canvas: tuple[int, int], size: Float[Array, "n 2"], train: bool
    ) -> tuple[Float[Array, "n p 4"], Float[Array, "n p"]]:
        """Proposals of each image and their log-odds (-inf in padding)."""
        if self.settings.normalized_boxes:  # Matterport lets proposals reach into the padding
            size = jnp.broadcast_to(jnp.array(canvas, jnp.float32) - 1.0, size.shape)
        return self.rpn.propose(jax.lax.stop_gradient(outputs), self.anchors(canvas), size, train)

    def pooler(self, features: dict[int, Float[Array, "n _ _ c"]], canvas: tuple[int, int]) -> Pool:
        """RoIAlign on these feature maps, which go into a table once for all RoIs."""
        tables = jax.vmap(feature_table)(tuple(features[k] for k in self.settings.roi.levels))
        return lambda rois, bins: self.pool(tables, rois, canvas, bins)

    def pool(
        self, tables: FeatureTable, rois: Float[Array, "n r 4"], canvas: tuple[int, int], bins: int
    ) -> Float[Array, "n r bins bins c"]:
        """RoIAlign of each RoI from the FPN level that fits its size."""
        s = self.settings.roi
        canonical = s.canonical_size
        if self.settings.normalized_boxes:  # sizes as a share of (h - 1, w - 1), against 224 / sqrt(h w)
            h, w = canvas
            canonical *= ((h - 1) * (w - 1) / (h * w)) ** 0.5

        def pool_image(table: FeatureTable, rois: Array) -> Array:
            level = fpn_level(rois, s.levels, canonical, s.rounded_level)
            return roi_align(table, rois, level, canvas, bins, s.sampling_ratio, s.convention, self.cpu)

        return jax.vmap(pool_image)(tables, rois)

    def _head_output(self, name: str, pool: Pool, found: Found) -> Float[Array, "n d *k"]:
        """The output of a further head for each cell. Raises ValueError for another shape."""
        output = getattr(self, name).detect(pool, found)
        if output.ndim > 3 or output.shape[:2] != found.labels.shape:
            raise ValueError(
                f"config.model.heads.{name} detects {output.shape} of {found.labels.shape} cells: give a number of "
                "each, (n, d), or k of them, (n, d, k)"
            )
        return output

    def _frame(self) -> Float[Array, "4"]:
        """The offset from pixel boxes to the network's own frame: Matterport's x2 and y2 are one pixel less."""
        return jnp.array([0.0, 0.0, -1.0, -1.0] if self.settings.normalized_boxes else [0.0] * 4)


def by_maskness(found: Detections, power: float) -> Detections:
    """Detections whose scores also count how sure the mask is, best first again.

    The mean probability of the pixels inside a mask, to `power`, times the score: maskness (SOLO, Wang et al. 2020).
    """
    inside = found.masks > 0.5
    mean = jnp.sum(found.masks, axis=(2, 3), where=inside) / jnp.maximum(inside.sum((2, 3)), 1)
    scores = found.scores * mean**power
    order = jnp.argsort(jnp.where(found.valid, -scores, jnp.inf), axis=1)  # (n, d): padding last

    def ordered(of_cells: Array) -> Array:
        return jax.vmap(lambda each, rows: each[rows])(of_cells, order)

    cells = {name: getattr(found, name) for name in ("boxes", "labels", "masks", "valid", "said")}
    return found._replace(**jax.tree.map(ordered, cells), scores=ordered(scores))


def build(settings: MaskRCNNSettings, num_classes: int, cpu: bool | None = None) -> MaskRCNN:
    """The Mask R-CNN of these settings; `num_classes` counts the background.

    In the forms for CPUs by `cpu`; by default where JAX runs on one.
    """
    return MaskRCNN(settings, num_classes, on_cpu() if cpu is None else cpu)


def init(model: MaskRCNN, seed: int) -> Variables:
    """Fresh variables, "params" and other collections; their shapes do not depend on the canvas."""
    image = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    size = jnp.full((1, 2), 64.0)
    return jax.jit(lambda key: model.init(key, image, size, method="predict"))(jax.random.key(seed))


def canvas_of(image: UInt8[Array, "n h w 3"]) -> tuple[int, int]:
    """Height and width of the canvas of a batch of images."""
    return image.shape[1], image.shape[2]
