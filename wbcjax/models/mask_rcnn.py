"""Mask R-CNN: ResNet, FPN, RPN, RoIAlign, box head and mask head, put together (He et al. 2017)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from wbcjax.batch import Batch
from wbcjax.models.box_head import BoxHead, detect
from wbcjax.models.fpn import Fpn
from wbcjax.models.mask_head import MaskHead
from wbcjax.models.norm import norm_layer
from wbcjax.models.resnet import ResNet
from wbcjax.models.rpn import Rpn, full_rpn, propose, sample_anchors
from wbcjax.models.settings import MaskRCNNSettings, RoiSettings, from_dict
from wbcjax.ops import assign, boxes
from wbcjax.ops.anchors import pyramid_anchors
from wbcjax.ops.cpu import on_cpu
from wbcjax.ops.cpu.in_parts import in_parts
from wbcjax.ops.roi_align import crop_masks, fpn_level, roi_align

MASKS_AT_ONCE = 32  # RoIs of a batch that get their masks together on a CPU


class Detections(NamedTuple):
    """What was found in a batch of fields, best score first, padded; boxes in canvas pixels."""

    boxes: Float[Array, "n d 4"]
    labels: Int[Array, "n d"]  # 1..C; 0 in padding
    scores: Float[Array, "n d"]
    masks: Float[Array, "n d s s"]  # probability inside the box
    valid: Bool[Array, "n d"]
    # Which of `wbcjax.models.limits.LIMITS` each image fills; None of a model that was exported before it told.
    full: Bool[Array, "n 4"] | None = None


class AnchorSamples(NamedTuple):
    """Anchors of each image that the RPN is trained on."""

    index: Int[Array, "n s"]
    positive: Bool[Array, "n s"]
    valid: Bool[Array, "n s"]
    target: Float[Array, "n s 4"]  # the deltas to the cell


class RoiSamples(NamedTuple):
    """RoIs of each image that the heads are trained on; positives lie in the first places."""

    boxes: Float[Array, "n r 4"]
    cell: Int[Array, "n r"]  # the annotated cell of a positive
    label: Int[Array, "n r"]  # 0 for background
    valid: Bool[Array, "n r"]
    target: Float[Array, "n r 4"]  # the deltas to the cell


class TrainOutputs(NamedTuple):
    """What the network said of the samples, beside what it should have said; `losses.py` compares the two."""

    anchors: AnchorSamples
    anchor_logits: Float[Array, "n s"]
    anchor_deltas: Float[Array, "n s 4"]
    rois: RoiSamples
    class_logits: Float[Array, "n r classes"]
    box_deltas: Float[Array, "n r 4"]  # of the RoI's own class
    mask_logits: Float[Array, "n p s s"]  # of the RoI's own class, for the first p RoIs
    mask_targets: Float[Array, "n p s s"]
    mask_known: Bool[Array, "n p"]  # the RoI is of a cell that is outlined: else there is nothing to compare


class MaskRCNN(nn.Module):
    """Mask R-CNN over `num_classes` classes, of which class 0 is the background."""

    settings: MaskRCNNSettings
    num_classes: int
    cpu: bool = False  # in the forms of `wbcjax/ops/cpu`

    def setup(self) -> None:
        s = self.settings
        dtype = jnp.dtype(s.dtype)
        head_norm = norm_layer(s.head_norm, s.backbone.norm_epsilon, dtype)
        self.backbone = ResNet(s.backbone, dtype, s.remat, self.cpu)
        self.fpn = Fpn(s.fpn.channels, dtype, self.cpu)
        self.rpn = Rpn(s.rpn, dtype, self.cpu)
        self.box_head = BoxHead(s.box_head, self.num_classes, head_norm, dtype)
        self.mask_head = MaskHead(s.mask_head, self.num_classes, head_norm, dtype, self.cpu)

    def predict(self, image: UInt8[Array, "n h w 3"], size: Float[Array, "n 2"]) -> Detections:
        """Cells found in each image of a batch; `size` is the (height, width) of each field, whole canvas pixels."""
        canvas = canvas_of(image)
        features = self.features(image, size, False)
        logits, deltas = self.rpn(features)
        proposals, scores = self.proposals(logits, deltas, canvas, size, train=False)
        pooled = self.pool(features, proposals, canvas, self.settings.box_head.bins)
        class_logits, box_deltas = self.box_head(pooled)
        s = self.settings
        limit = size + self._frame()[2]
        found, labels, score, valid, crowded = jax.vmap(detect, in_axes=(0, 0, 0, 0, 0, None, None))(
            class_logits, box_deltas, proposals, jnp.isfinite(scores), limit, s.roi.box_weights, s.detection
        )
        masks = nn.sigmoid(self.masks(features, found, labels, canvas))
        full = jnp.stack([*full_rpn(logits, scores, s.rpn), crowded, valid.all(axis=1)], axis=1)
        return Detections((found - self._frame()) * valid[..., None], labels, score, masks, valid, full)

    def train_outputs(self, batch: Batch, keys: Key[Array, " n"], axis_name: str | None = None) -> TrainOutputs:
        """The network's answers on sampled anchors and RoIs, and the targets; `keys` has one PRNG key per image.

        Trained batch normalisation takes its statistics over all devices of `axis_name`.
        """
        canvas = canvas_of(batch.image)
        features = self.features(batch.image, batch.size, True, axis_name)
        logits, deltas = self.rpn(features)
        cells = (batch.boxes + self._frame()) * batch.valid[..., None]
        proposals, scores = self.proposals(logits, deltas, canvas, batch.size, train=True)
        anchors, rois = jax.lax.stop_gradient(self._sample(keys, proposals, jnp.isfinite(scores), cells, batch, canvas))

        pooled = self.pool(features, rois.boxes, canvas, self.settings.box_head.bins)
        class_logits, box_deltas = self.box_head(pooled)
        positives = assign.max_positives(rois.boxes.shape[1], self.settings.roi.positive_fraction)
        first = jax.tree.map(lambda x: x[:, :positives], rois)
        convention = self.settings.roi.convention
        mask_size = 2 * self.settings.mask_head.bins
        targets = jax.vmap(crop_masks, in_axes=(0, 0, 0, None, None))(
            batch.masks, first.boxes, first.cell, mask_size, convention
        )
        if convention == "crop_and_resize":  # Matterport rounds; torchvision trains on the averages
            targets = jnp.round(targets)
        return TrainOutputs(
            anchors=anchors,
            anchor_logits=_take(jnp.concatenate(logits, axis=1), anchors.index),
            anchor_deltas=_take(jnp.concatenate(deltas, axis=1), anchors.index),
            rois=rois,
            class_logits=class_logits,
            box_deltas=_of_label(box_deltas, rois.label),
            mask_logits=self.masks(features, first.boxes, first.label, canvas),
            mask_targets=targets,
            mask_known=(first.label > 0) & _take(batch.outlined, first.cell),
        )

    def features(
        self, image: UInt8[Array, "n h w 3"], size: Float[Array, "n 2"], train: bool, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ c"]]:
        """FPN levels of a batch of images."""
        s = self.settings
        x = (image.astype(jnp.float32) - jnp.array(s.pixel_mean)) / jnp.array(s.pixel_std)
        if not s.black_padding:
            rows, columns = jnp.arange(x.shape[1]), jnp.arange(x.shape[2])
            inside = (rows < size[:, :1])[:, :, None] & (columns < size[:, 1:])[:, None, :]  # (n, h, w)
            x = jnp.where(inside[..., None], x, 0.0)
        return self.fpn(self.backbone(x, train, axis_name))

    def anchors(self, canvas: tuple[int, int]) -> list[Float[Array, "_ 4"]]:
        """Anchors of each RPN level, in the network's own frame."""
        s = self.settings.rpn
        levels = pyramid_anchors(
            tuple((-(-canvas[0] // 2**k), -(-canvas[1] // 2**k)) for k in s.levels),
            tuple(2**k for k in s.levels),
            tuple((size,) for size in s.anchor_sizes),
            s.aspect_ratios,
            s.rounded_anchors,
        )
        return [jnp.asarray(a) + self._frame() for a in levels]

    def proposals(
        self,
        logits: list[Float[Array, "n _"]],
        deltas: list[Float[Array, "n _ 4"]],
        canvas: tuple[int, int],
        size: Float[Array, "n 2"],
        train: bool,
    ) -> tuple[Float[Array, "n p 4"], Float[Array, "n p"]]:
        """Proposals of each image and their log-odds (-inf in padding)."""
        if self.settings.normalized_boxes:  # Matterport lets proposals reach into the padding
            size = jnp.broadcast_to(jnp.array(canvas, jnp.float32) - 1.0, size.shape)
        return jax.vmap(lambda lg, d, z: propose(lg, d, self.anchors(canvas), z, self.settings.rpn, train))(
            *jax.lax.stop_gradient((logits, deltas)), size
        )

    def pool(
        self, features: dict[int, Array], rois: Float[Array, "n r 4"], canvas: tuple[int, int], bins: int
    ) -> Float[Array, "n r bins bins c"]:
        """RoIAlign of each RoI from the FPN level that fits its size."""
        s = self.settings.roi
        used = tuple(features[k] for k in s.levels)
        canonical = s.canonical_size
        if self.settings.normalized_boxes:  # sizes as a share of (h - 1, w - 1), against 224 / sqrt(h w)
            h, w = canvas
            canonical *= ((h - 1) * (w - 1) / (h * w)) ** 0.5

        def pool_image(used: tuple[Array, ...], rois: Array) -> Array:
            level = fpn_level(rois, s.levels, canonical, s.rounded_level)
            return roi_align(used, rois, level, canvas, bins, s.sampling_ratio, s.convention, self.cpu)

        return jax.vmap(pool_image)(used, rois)

    def masks(
        self,
        features: dict[int, Array],
        rois: Float[Array, "n r 4"],
        labels: Int[Array, "n r"],
        canvas: tuple[int, int],
    ) -> Float[Array, "n r s s"]:
        """Mask logits of each RoI for its own class; RoIs of class 0, which come last, get any.

        With `cpu` a few at a time, as long as there are some with a cell: an image has far fewer than there is room
        for, and masks for all the room would take as long as the backbone.
        """
        if not self.cpu or self.is_initializing():
            return self._masks_at_once(features, rois, labels, canvas)
        model, variables = self.unbind()  # flax lets no bound module into JAX's loops

        def some(rois: Array, labels: Array) -> Array:
            return model.apply(variables, features, rois, labels, canvas, method="_masks_at_once")  # type: ignore[return-value]

        return in_parts(some, labels > 0, MASKS_AT_ONCE, rois, labels)

    def _masks_at_once(
        self,
        features: dict[int, Array],
        rois: Float[Array, "n r 4"],
        labels: Int[Array, "n r"],
        canvas: tuple[int, int],
    ) -> Float[Array, "n r s s"]:
        """Mask logits of all RoIs for their own classes, whatever these are."""
        pooled = self.pool(features, rois, canvas, self.settings.mask_head.bins)
        n, r = pooled.shape[:2]
        logits = self.mask_head(pooled.reshape(n * r, *pooled.shape[2:]))  # (n * r, s, s, classes)
        own = jnp.take_along_axis(logits, labels.reshape(-1, 1, 1, 1), axis=-1)[..., 0]
        return own.reshape(n, r, *own.shape[1:])

    def _sample(
        self, keys: Key[Array, " n"], proposals: Array, real: Array, cells: Array, batch: Batch, canvas: tuple[int, int]
    ) -> tuple[AnchorSamples, RoiSamples]:
        s = self.settings
        anchors = jnp.concatenate(self.anchors(canvas))

        def sample_image(key, proposals, real, cells, labels, valid, crowd):
            anchor_key, roi_key = jax.random.split(key)
            anchor_samples = sample_anchors(anchor_key, anchors, cells, valid, crowd, s.rpn)
            roi_samples = sample_rois(roi_key, proposals, real, cells, labels, valid, crowd, s.roi)
            return AnchorSamples(**anchor_samples), roi_samples

        return jax.vmap(sample_image)(keys, proposals, real, cells, batch.labels, batch.valid, batch.crowd)

    def _frame(self) -> Float[Array, "4"]:
        """What takes pixel boxes into the network's own frame: Matterport's x2 and y2 are one pixel less."""
        return jnp.array([0.0, 0.0, -1.0, -1.0] if self.settings.normalized_boxes else [0.0] * 4)


def sample_rois(
    key: PRNGKeyArray,
    proposals: Float[Array, "p 4"],
    real: Bool[Array, " p"],
    cells: Float[Array, "m 4"],
    labels: Int[Array, " m"],
    valid: Bool[Array, " m"],
    crowd: Bool[Array, " m"],
    settings: RoiSettings,
) -> RoiSamples:
    """Proposals of one image to train the heads on, with their cells, labels and deltas."""
    s = settings
    if s.append_cells:
        proposals = jnp.concatenate([proposals, cells])
        real = jnp.concatenate([real, valid & ~crowd])
    found = assign.match(proposals, cells, valid, crowd, s.positive_iou, s.negative_iou, keep_best=False)
    index, positive, chosen = assign.sample(
        key, found.positive & real, found.negative & real, s.samples, s.positive_fraction, s.keep_ratio
    )
    boxes_ = proposals[index] * chosen[:, None]
    cell = found.cell[index]
    target = boxes.encode(cells[cell], boxes_, s.box_weights)
    return RoiSamples(boxes_, cell, jnp.where(positive, labels[cell], 0), chosen, target)


def from_config(config: ConfigDict, num_classes: int, cpu: bool | None = None) -> MaskRCNN:
    """The Mask R-CNN that `config.model` describes; `num_classes` counts the background.

    In the forms for CPUs where JAX runs on one, or as `cpu` says.
    """
    return MaskRCNN(from_dict(MaskRCNNSettings, config.to_dict()), num_classes, on_cpu() if cpu is None else cpu)


def init(model: MaskRCNN, seed: int) -> dict[str, Any]:
    """Fresh variables, "params" and whatever else the modules have; their shapes do not depend on the canvas."""
    image = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    size = jnp.full((1, 2), 64.0)
    return jax.jit(lambda key: model.init(key, image, size, method="predict"))(jax.random.key(seed))


def canvas_of(image: UInt8[Array, "n h w 3"]) -> tuple[int, int]:
    """Height and width of the canvas that a batch of images lies on."""
    return image.shape[1], image.shape[2]


def _take(x: Array, index: Int[Array, "n s"]) -> Array:
    """Entries `index` of the second axis of `x`, image by image."""
    return jax.vmap(lambda a, i: a[i])(x, index)


def _of_label(deltas: Float[Array, "n r classes 4"], label: Int[Array, "n r"]) -> Float[Array, "n r 4"]:
    return jnp.take_along_axis(deltas, label[..., None, None], axis=2)[:, :, 0]
