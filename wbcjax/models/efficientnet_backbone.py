"""EfficientNet as a backbone: the features of its blocks at levels 2 to 5, without the top (Tan and Le 2019)."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.backbone import Backbone, Trains
from wbcjax.models.efficientnet import batch_norm, features
from wbcjax.models.settings import EFFICIENTNET_TORCHVISION


class EfficientNetBackbone(Backbone):
    """C2 to C5 with torchvision's settings. Names of weights are those below `base` of our EfficientNet."""

    size: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"] = "b0"
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    cpu: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], trains: Trains, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ _"]]:
        s = EFFICIENTNET_TORCHVISION[self.size]
        s = dataclasses.replace(s, dtype=jnp.dtype(self.dtype).name, remat=self.remat)

        def norm_of(stage: int) -> Callable[..., nn.Module]:
            return batch_norm(s, trains(stage), axis_name)

        levels = features(s, x, norm_of, cpu=self.cpu)
        return {level: levels[level] for level in (2, 3, 4, 5)}

    def stage_of(self, path: tuple[str, ...]) -> int:
        return EFFICIENTNET_TORCHVISION[self.size].stage_of(("base", *path))

    @property
    def title(self) -> str:
        return f"EfficientNet-{self.size.upper()}"
