"""A cascade of box heads: each takes the boxes of the one before for its RoIs (Cai and Vasconcelos 2018)."""

from dataclasses import dataclass, replace
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Key

from wbcjax.models.backbone import given
from wbcjax.models.box_head import BoxHead, DetectionSettings
from wbcjax.models.rois import Cells, Found, Pool, RoiSamples, RoiSettings, Weights, match_rois
from wbcjax.models.settings import BOX_HEADS, GIVEN
from wbcjax.ops import boxes
from wbcjax.ops.losses import Mean
from wbcjax.settings.checked import Share
from wbcjax.settings.parts import PartOf


@dataclass(frozen=True)
class Stage:
    """The matching and the box weights of a stage after the first."""

    iou: Share  # with a cell, at or above which an RoI is positive
    box_weights: Weights


class Cascade(nn.Module):
    """Class-agnostic box heads of one kind in a row.

    The first is trained by `config.model.roi`. Each later one is trained on all boxes that the one before decodes from
    its RoIs, matched anew. Between the stages boxes are not clipped to the field. The score of a cell is the mean over
    the stages. Losses are those of the first stage by its own names, then class_2, box_2, and so on.
    """

    head: Annotated[BoxHead, PartOf(BOX_HEADS, (*GIVEN, "class_agnostic"), base=BoxHead)] = BoxHead()
    later: tuple[Stage, ...] = (Stage(0.6, (20.0, 20.0, 10.0, 10.0)), Stage(0.7, (30.0, 30.0, 15.0, 15.0)))
    num_classes: int = 2
    roi: RoiSettings = RoiSettings()
    detection: DetectionSettings = DetectionSettings()
    dtype: DTypeLike = jnp.float32
    cpu: bool = False

    def setup(self) -> None:
        rois = [self.roi]
        for stage in self.later:
            matched = {"positive_iou": stage.iou, "negative_iou": stage.iou}
            rois.append(replace(self.roi, **matched, box_weights=stage.box_weights))
        own = {
            "num_classes": self.num_classes,
            "detection": self.detection,
            "dtype": self.dtype,
            "cpu": self.cpu,
            "class_agnostic": True,
        }
        self.stages = [given(self.head, name=None, roi=roi, **own) for roi in rois]  # else all have the field's name

    @property
    def LOSSES(self) -> tuple[str, ...]:
        """The names of its losses."""
        return tuple(_of_stage(name, number) for number in range(1 + len(self.later)) for name in self.head.LOSSES)

    @property
    def keeps_statistics(self) -> bool:
        """Whether its norms use stored statistics also while they train."""
        return self.head.keeps_statistics

    def sample(
        self, keys: Key[Array, " n"], proposals: Float[Array, "n p 4"], real: Bool[Array, "n p"], cells: Cells
    ) -> RoiSamples:
        """The RoIs of each image to train the first stage and all other heads on."""
        return self.stages[0].sample(keys, proposals, real, cells)

    def losses(self, pool: Pool, rois: RoiSamples, cells: Cells, mean: Mean) -> dict[str, Float[Array, ""]]:
        """Losses of the outputs of every stage for its RoIs."""
        losses, refined = {}, rois.boxes
        for number, head in enumerate(self.stages):
            matched = match_rois(refined, rois.valid, cells, head.roi) if number else rois
            logits, deltas = head(pool(matched.boxes, head.bins))
            of_head = head.losses_of(logits, deltas, matched, mean)
            losses |= {_of_stage(name, number): loss for name, loss in of_head.items()}
            refined = refine(head, deltas, matched.boxes)
        return losses

    def detect(
        self, pool: Pool, proposals: Float[Array, "n p 4"], real: Bool[Array, "n p"], size: Float[Array, "n 2"]
    ) -> Found:
        """The cells detected from the proposals of each image; boxes are clipped to `size` (height, width)."""
        *before, last = self.stages
        scores, rois = [], proposals
        for head in before:
            logits, deltas = head(pool(rois, head.bins))
            scores.append(nn.softmax(logits))
            rois = refine(head, deltas, rois)
        logits, deltas = last(pool(rois, last.bins))
        scores.append(nn.softmax(logits))
        return last.found(jnp.mean(jnp.stack(scores), axis=0), deltas, rois, real, size)


def refine(head: BoxHead, deltas: Float[Array, "n r 1 4"], rois: Float[Array, "n r 4"]) -> Float[Array, "n r 4"]:
    """The boxes that a class-agnostic head decodes from its RoIs, without a gradient."""
    return jax.lax.stop_gradient(boxes.decode(deltas[:, :, 0], rois, head.roi.box_weights))


def _of_stage(loss: str, number: int) -> str:
    return f"{loss}_{number + 1}" if number else loss
