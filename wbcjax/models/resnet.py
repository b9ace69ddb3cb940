"""ResNet-18, 34, 50 and 101 as feature extractors (He et al. 2016; batch normalisation's place as in the paper)."""

import functools
from collections.abc import Callable
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.backbone import STEM, Backbone, Trains
from wbcjax.models.conv import Conv
from wbcjax.models.norm import FROZEN, norm_layer
from wbcjax.ops.conv import max_pool_3x3
from wbcjax.settings.checked import Count, NotNegative

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1 of the paper


class ResNet(Backbone):
    """C2 to C5: features at strides 4, 8, 16 and 32. Names of weights follow torchvision's (`layer1_0/conv1`).

    norm: "frozen_bn" and "bn_frozen_stats" use stored statistics (pretrained weights); the second trains scale and
        bias. "bn" and "gn" train from scratch.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: Count = 64  # channels of the stem; 64 in the paper
    norm: Literal["frozen_bn", "bn_frozen_stats", "bn", "gn"] = "frozen_bn"
    norm_epsilon: NotNegative = 1e-5  # 0 in torchvision's published detectors
    stride_in_1x1: bool = False  # where a bottleneck block halves the resolution: its 1x1 (Matterport) or its 3x3
    conv_bias: bool = False
    same_pool: bool = False  # the stem's pooling padded right and below only, as TensorFlow's SAME
    dtype: DTypeLike = jnp.float32
    remat: bool = False  # compute the blocks again for the gradient, and keep only their inputs
    cpu: bool = False

    WEIGHTS_NEED: ClassVar = (
        "norm",
        "depth",
        "width",
        "norm_epsilon",
        "stride_in_1x1",
        "conv_bias",
        "same_pool",
    )

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], trains: Trains, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ _"]]:
        conv = functools.partial(Conv, use_bias=self.conv_bias, dtype=self.dtype, cpu=self.cpu)
        block = BasicBlock if self.depth < 50 else BottleneckBlock
        block = nn.remat(block) if self.remat else block

        x = conv(self.width, 7, 2, name="conv1")(x)  # (n, h/2, w/2, 64)
        x = nn.relu(self._norm(trains(STEM), axis_name)(name="bn1")(x))
        x = max_pool_3x3(x, self.same_pool)  # (n, h/4, w/4, 64)
        features = {}
        for stage, blocks in enumerate(BLOCKS[self.depth], start=2):
            norm = self._norm(trains(stage), axis_name)
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 2 else 1
                width = self.width * 2 ** (stage - 2)
                x = block(conv, norm, width, stride, self.stride_in_1x1, name=f"layer{stage - 1}_{i}")(x)
            features[stage] = x  # (n, h/2^stage, w/2^stage, width or 4 width)
        return features

    def _norm(self, train: bool, axis_name: str | None) -> Callable[..., nn.Module]:
        return norm_layer(self.norm, self.norm_epsilon, self.dtype, train, axis_name)

    def stage_of(self, path: tuple[str, ...]) -> int:
        """2 of `layer1_0`, which makes level 2; Matterport's stages have the same numbers."""
        return int(path[0][len("layer")]) + 1 if path[0].startswith("layer") else STEM

    @property
    def title(self) -> str:
        return f"ResNet-{self.depth}"

    @property
    def keeps_statistics(self) -> bool:
        return self.norm in FROZEN


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the skip connection."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    width: int
    stride: int
    stride_in_1x1: bool = False  # of bottlenecks only

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        conv, norm = self.conv, self.norm
        y = conv(self.width, 3, self.stride, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.width, 3, 1, name="conv2")(y)
        y = norm(name="bn2")(y)
        if x.shape != y.shape:
            x = conv(self.width, 1, self.stride, name="downsample_conv")(x)
            x = norm(name="downsample_bn")(x)
        return nn.relu(x + y)


class BottleneckBlock(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up to four times as many, and the skip connection."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    width: int
    stride: int
    stride_in_1x1: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        conv, norm = self.conv, self.norm
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = conv(self.width, 1, first, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.width, 3, second, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y))
        y = conv(4 * self.width, 1, 1, name="conv3")(y)
        y = norm(name="bn3")(y)
        if x.shape != y.shape:  # the first block of each stage
            x = conv(4 * self.width, 1, self.stride, name="downsample_conv")(x)
            x = norm(name="downsample_bn")(x)
        return nn.relu(x + y)
