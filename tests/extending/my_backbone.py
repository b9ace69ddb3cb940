from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from wbcjax.models.backbone import Backbone


class Block(nn.Module):
    """A depthwise 7x7, a norm and two dense layers, beside a skip connection, as in ConvNeXt (Liu et al. 2022)."""

    trains: bool
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        y = nn.Conv(channels, (7, 7), feature_group_count=channels, dtype=self.dtype, name="depthwise")(x)
        axis_name = self.axis_name if self.trains else None  # statistics are those of the batches of all devices
        y = nn.BatchNorm(use_running_average=not self.trains, axis_name=axis_name, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(nn.Dense(4 * channels, dtype=self.dtype, name="expand")(y))
        return x + nn.Dense(channels, dtype=self.dtype, name="project")(y)


class LittleNet(Backbone):
    """A small ConvNeXt with batch norms, one block a stage."""

    width: int = 32
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x, trains, axis_name=None):
        block = nn.remat(Block) if self.remat else Block
        features = {}
        for level in (2, 3, 4, 5):
            stride = 4 if level == 2 else 2
            channels = self.width * 2 ** (level - 2)
            x = nn.Conv(channels, (stride, stride), stride, dtype=self.dtype, name=f"stage{level}_down")(x)
            x = block(trains(level), axis_name, self.dtype, name=f"stage{level}_block")(x)
            features[level] = x  # (n, h / 2^level, w / 2^level, channels)
        return features

    def stage_of(self, path):
        return int(path[0][len("stage")])  # "stage3_block" is of stage 3

    @property
    def title(self):
        return f"LittleNet of width {self.width}"
