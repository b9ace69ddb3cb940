"""EfficientNet as a backbone: the features of its blocks at levels 2 to 5, without the top (Tan and Le 2019)."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.backbone import Backbone, Trains
from wbcjax.models.efficientnet import batch_norm, features
from wbcjax.models.settings import EFFICIENTNET_KERAS, EFFICIENTNET_TORCHVISION

DIALECTS = {"torchvision": EFFICIENTNET_TORCHVISION, "keras": EFFICIENTNET_KERAS}


class EfficientNetBackbone(Backbone):
    """C2 to C5. Names of weights are those below `base` of our EfficientNet.

    dialect: whose padding, and whose norms' epsilon and momentum. The detector normalises the pixels.
    """

    size: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"] = "b0"
    dialect: Literal["torchvision", "keras"] = "torchvision"
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    cpu: bool = False

    WEIGHTS_NEED: ClassVar = ("size", "dialect")

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], trains: Trains, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ _"]]:
        s = DIALECTS[self.dialect][self.size]
        s = dataclasses.replace(s, dtype=jnp.dtype(self.dtype).name, remat=self.remat)

        def norm_of(stage: int) -> Callable[..., nn.Module]:
            return batch_norm(s, trains(stage), axis_name)

        levels = features(s, x, norm_of, cpu=self.cpu)
        return {level: levels[level] for level in (2, 3, 4, 5)}

    def stage_of(self, path: tuple[str, ...]) -> int:
        return DIALECTS[self.dialect][self.size].stage_of(("base", *path))

    @property
    def title(self) -> str:
        return f"EfficientNet-{self.size.upper()}"
