import flax.linen as nn
from flax import nnx
from flax.nnx import bridge

from wbcjax.models.backbone import Backbone


class Convolutions(nnx.Module):
    """Five strided convolutions."""

    def __init__(self, width, *, rngs):
        for level in range(1, 6):  # by names, and no list: paths of weights are texts
            channels = 3 if level == 1 else width
            setattr(self, f"conv{level}", nnx.Conv(channels, width, (3, 3), strides=2, rngs=rngs))

    def __call__(self, x):
        features = {}
        for level in range(1, 6):
            features[level] = x = nnx.relu(getattr(self, f"conv{level}")(x))
        return {level: features[level] for level in (2, 3, 4, 5)}


class NnxNet(Backbone):
    """The features of an nnx module."""

    width: int = 32

    @nn.compact
    def __call__(self, x, trains, axis_name=None):
        return bridge.to_linen(Convolutions, self.width, name="convolutions")(x)

    def stage_of(self, path):
        return max(int(path[1][len("conv")]), 1)  # convolutions/conv3 makes level 3
