"""The five losses of Mask R-CNN, each summed over its samples and divided by their number on all devices."""

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float

from wbcjax.models.mask_rcnn import TrainOutputs
from wbcjax.models.settings import LossSettings

LOSSES = ("rpn_objectness", "rpn_box", "class", "box", "mask")  # that `mask_rcnn_losses` gives


def mask_rcnn_losses(
    outputs: TrainOutputs, settings: LossSettings, axis_name: str | None = None
) -> dict[str, Float[Array, ""]]:
    """Losses by name: rpn_objectness, rpn_box, class, box, mask (Mask R-CNN paper, section 3; Faster R-CNN, eq. 1).

    The mask loss is that of RoIs of outlined cells; where only a cell's box is known, it is learnt by the others alone.
    Counts are averaged over the devices of `axis_name`, so that the mean over devices of each loss is the loss of the
    whole batch, however the samples fall.
    """
    anchors, rois = outputs.anchors, outputs.rois
    roi_positive = rois.label > 0

    def mean(values: Array, over: Array) -> Array:
        """Sum of `values` where `over`, per sample there is."""
        count = jnp.sum(over).astype(jnp.float32)
        if axis_name is not None:
            count = jax.lax.pmean(count, axis_name)
        return jnp.sum(jnp.where(over, values, 0.0)) / jnp.where(count > 0.0, count, 1.0)

    def box_loss(deltas: Array, target: Array, positive: Array, valid: Array, beta: float) -> Array:
        moves = jnp.where(positive[..., None], deltas - target, 0.0)
        values = jnp.sum(smooth_l1(moves, beta), axis=-1)
        if settings.per_positive:  # Matterport: the mean over the positives' coordinates
            return mean(values / 4.0, positive)
        return mean(values, valid)  # torchvision: summed, per sample of either kind

    per_anchor = optax.sigmoid_binary_cross_entropy(outputs.anchor_logits, anchors.positive.astype(jnp.float32))
    per_roi = optax.softmax_cross_entropy_with_integer_labels(outputs.class_logits, rois.label)
    per_mask = jnp.mean(optax.sigmoid_binary_cross_entropy(outputs.mask_logits, outputs.mask_targets), axis=(2, 3))
    return {
        "rpn_objectness": mean(per_anchor, anchors.valid),
        "rpn_box": box_loss(
            outputs.anchor_deltas, anchors.target, anchors.positive & anchors.valid, anchors.valid, settings.rpn_beta
        ),
        "class": mean(per_roi, rois.valid | settings.padding_is_background),
        "box": box_loss(outputs.box_deltas, rois.target, roi_positive & rois.valid, rois.valid, settings.box_beta),
        "mask": mean(per_mask, outputs.mask_known),
    }


def smooth_l1(x: Float[Array, "*n"], beta: float) -> Float[Array, "*n"]:
    """Square below `beta`, straight above (Fast R-CNN paper, eq. 3; detectron's beta)."""
    size = jnp.abs(x)
    return jnp.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)
