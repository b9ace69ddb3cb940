"""ResNet-18, 34, 50 and 101 as feature extractors (He et al. 2016; batch normalisation's place as in the paper)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from wbcjax.models.conv import Conv
from wbcjax.models.norm import norm_layer
from wbcjax.models.settings import BackboneSettings
from wbcjax.ops.conv import max_pool_3x3

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1 of the paper


class ResNet(nn.Module):
    """C2 to C5: features at strides 4, 8, 16 and 32. Names of weights follow torchvision's (`layer1_0/conv1`)."""

    settings: BackboneSettings
    dtype: DTypeLike = jnp.float32
    remat: bool = False  # see `MaskRCNNSettings`
    cpu: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w 3"], train: bool, axis_name: str | None = None
    ) -> dict[int, Float[Array, "n _ _ _"]]:
        s = self.settings
        if s.depth not in BLOCKS:
            raise ValueError(f"config.model.backbone.depth is {s.depth}; choose one of {', '.join(map(str, BLOCKS))}")
        block = BasicBlock if s.depth < 50 else BottleneckBlock
        block = nn.remat(block) if self.remat else block
        conv = functools.partial(Conv, use_bias=s.conv_bias, dtype=self.dtype, cpu=self.cpu)
        norm = norm_layer(s.norm, s.norm_epsilon, self.dtype, train, axis_name)
        x = conv(s.width, 7, 2, name="conv1")(x)  # (n, h/2, w/2, 64)
        x = nn.relu(norm(name="bn1")(x))
        x = max_pool_3x3(x, s.same_pool)  # (n, h/4, w/4, 64)
        features = {}
        for stage, blocks in enumerate(BLOCKS[s.depth], start=1):
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 1 else 1
                width = s.width * 2 ** (stage - 1)
                x = block(s, norm, width, stride, self.dtype, self.cpu, name=f"layer{stage}_{i}")(x)
            features[stage + 1] = x  # (n, h/2^(stage+1), w/2^(stage+1), width or 4 width)
        return features


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the skip connection."""

    settings: BackboneSettings
    norm: Callable[..., nn.Module]
    width: int
    stride: int
    dtype: DTypeLike
    cpu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        s, norm = self.settings, self.norm
        conv = functools.partial(Conv, use_bias=s.conv_bias, dtype=self.dtype, cpu=self.cpu)
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

    settings: BackboneSettings
    norm: Callable[..., nn.Module]
    width: int
    stride: int
    dtype: DTypeLike
    cpu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        s, norm = self.settings, self.norm
        conv = functools.partial(Conv, use_bias=s.conv_bias, dtype=self.dtype, cpu=self.cpu)
        first, second = (self.stride, 1) if s.stride_in_1x1 else (1, self.stride)
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
