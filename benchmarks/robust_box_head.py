"""A box head whose background is taught by a bounded loss: for fields in which cells were left unannotated.

The cross-entropy of a sure cell that nobody annotated grows without end. The generalised cross-entropy of Zhang and
Sabuncu (2018), (1 - p^q) / q, ends at 1 / q. It is asked of the background alone; annotated cells are trusted.
Used by `benchmarks/segpc_ablation.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from wbcjax.models.box_head import BoxHead
from wbcjax.models.rois import RoiSamples
from wbcjax.ops.losses import Mean
from wbcjax.settings.checked import Positive


class RobustBoxHead(BoxHead):
    """`BoxHead` with the generalised cross-entropy for background."""

    q: Positive = 0.7  # Zhang and Sabuncu's; towards 0 it is the cross-entropy

    def losses_of(
        self, logits: Float[Array, "n r classes"], deltas: Float[Array, "n r boxes 4"], rois: RoiSamples, mean: Mean
    ) -> dict[str, Float[Array, ""]]:
        log_background = jax.nn.log_softmax(logits)[..., 0]
        bounded = (1.0 - jnp.exp(self.q * log_background)) / self.q
        background = (rois.label == 0) & rois.valid
        losses = super().losses_of(logits, deltas, rois, mean)
        more = mean(jnp.where(background, bounded + log_background, 0.0), rois.valid | self.padding_is_background)
        return losses | {"class": losses["class"] + more}
