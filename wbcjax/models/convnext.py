"""ConvNeXt as a feature extractor (Liu et al. 2022, A ConvNet for the 2020s)."""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.backbone import STEM, Backbone, Trains
from wbcjax.models.conv import DepthwiseConv
from wbcjax.settings.checked import Count


class Size(NamedTuple):
    """Channels of level 2, which double from level to level, and blocks of levels 2 to 5."""

    width: int
    blocks: tuple[int, int, int, int]


# Tiny and small: the paper, section 3. The others are of timm/models/convnext.py, and of ConvNeXt V2 (Woo et al. 2023).
SIZES = {
    "atto": Size(40, (2, 2, 6, 2)),
    "femto": Size(48, (2, 2, 6, 2)),
    "pico": Size(64, (2, 2, 6, 2)),
    "nano": Size(80, (2, 2, 8, 2)),
    "tiny": Size(96, (3, 3, 9, 3)),
    "small": Size(96, (3, 3, 27, 3)),
}
# As github.com/facebookresearch/ConvNeXt, models/convnext.py.
LAYER_SCALE = 1e-6
NORM_EPSILON = 1e-6
INIT = nn.initializers.truncated_normal(0.02)


class ConvNeXt(Backbone):
    """C2 to C5, each with a norm of its own, as in the authors' detectors (github.com/facebookresearch/ConvNeXt,
    object_detection/mmdet/models/backbones/convnext.py)."""

    size: Literal["atto", "femto", "pico", "nano", "tiny", "small"] = "tiny"
    width: Count | None = None  # channels of level 2, where they are not those of the size
    blocks: tuple[Count, Count, Count, Count] | None = None  # of levels 2 to 5, likewise
    dtype: DTypeLike = jnp.float32
    remat: bool = False  # compute the blocks again for the gradient, and keep only their inputs
    cpu: bool = False

    WEIGHTS_NEED: ClassVar = ("size", "width", "blocks")
    FOR_DETECTION: ClassVar = ("level2_norm", "level3_norm", "level4_norm", "level5_norm")

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], trains: Trains, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ _"]]:
        block = nn.remat(Block) if self.remat else Block
        size = SIZES[self.size]
        features = {}
        for level, blocks in enumerate(self.blocks or size.blocks, start=2):
            width = (self.width or size.width) * 2 ** (level - 2)
            if level == 2:
                x = self._patches(width, 4, "stem")(x)  # (n, h/4, w/4, width)
                x = self._norm("stem_norm")(x)
            else:
                x = self._norm(f"level{level}_down_norm")(x)
                x = self._patches(width, 2, f"level{level}_down")(x)
            for i in range(blocks):
                x = block(self.dtype, self.cpu, name=f"level{level}_{i}")(x)
            features[level] = self._norm(f"level{level}_norm")(x)  # (n, h/2^level, w/2^level, width)
        return features

    def _patches(self, width: int, side: int, name: str) -> nn.Module:
        """A convolution on patches that do not overlap."""
        return nn.Conv(width, (side, side), side, "VALID", dtype=self.dtype, kernel_init=INIT, name=name)

    def _norm(self, name: str) -> nn.Module:
        return nn.LayerNorm(NORM_EPSILON, dtype=self.dtype, name=name)

    def stage_of(self, path: tuple[str, ...]) -> int:
        return int(path[0][len("level")]) if path[0].startswith("level") else STEM

    @property
    def title(self) -> str:
        return f"ConvNeXt-{self.size[0].upper()}"


class Block(nn.Module):
    """Depthwise 7x7, norm, 1x1 up to four times as many channels and down again; and the skip connection (figure 4)."""

    dtype: DTypeLike
    cpu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        channels = x.shape[-1]
        # He's initial values; the norm removes their scale.
        y = DepthwiseConv(7, dtype=self.dtype, cpu=self.cpu, name="depthwise")(x)
        y += self.param("depthwise_bias", nn.initializers.zeros, (channels,), jnp.float32).astype(self.dtype)
        y = nn.LayerNorm(NORM_EPSILON, dtype=self.dtype, name="norm")(y)
        y = nn.Dense(4 * channels, dtype=self.dtype, kernel_init=INIT, name="expand")(y)
        y = nn.Dense(channels, dtype=self.dtype, kernel_init=INIT, name="project")(nn.gelu(y, approximate=False))
        scale = self.param("scale", nn.initializers.constant(LAYER_SCALE), (channels,), jnp.float32)
        return x + y * scale.astype(self.dtype)
