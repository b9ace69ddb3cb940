"""Losses of boxes as parts of a config."""

from typing import Annotated, Any

from wbcjax.ops.losses import smooth_l1
from wbcjax.settings.parts import Bound, PartOf

BOX_LOSSES = {"smooth_l1": "wbcjax.ops.losses:smooth_l1", "giou": "wbcjax.ops.losses:giou"}
BoxLossPart = Annotated[Any, PartOf(BOX_LOSSES, leading=4)]  # a `wbcjax.ops.losses.BoxLoss`
SMOOTH_L1 = Bound(smooth_l1, beta=1.0 / 9.0)
