"""EfficientNet-B0 to B7 (Tan and Le 2019): features of an image, and a classifier of images on top of them."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key, UInt8

from wbcjax.models.backbone import Trains, everything_trains
from wbcjax.models.conv import Conv, DepthwiseConv
from wbcjax.models.initial import drawn, he_normal, initial_values
from wbcjax.models.norm import BatchNorm
from wbcjax.models.settings import EfficientNetSettings
from wbcjax.models.variables import Variables
from wbcjax.ops.cpu import on_cpu


class Stage(NamedTuple):
    """Blocks of one resolution; `channels` and `blocks` are B0's."""

    expansion: int
    kernel: int
    stride: int  # of the first block
    channels: int
    blocks: int


STAGES = (  # table 1 of the paper
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
STEM, TOP = 32, 1280  # B0's channels before and after the stages
SQUEEZE = 4  # a block's channels to those inside its squeeze-and-excitation

# As in the paper's code: the dense layer's kernel is uniform, with the variance 1 / (3 outputs).
DENSE_INIT = drawn(lambda rng, shape: rng.uniform(-1.0, 1.0, shape) / math.sqrt(shape[1]))
KERNEL_INIT = drawn(he_normal)

Image = Float[Array, "n h w 3"] | UInt8[Array, "n h w 3"]  # RGB, 0..255


class Classifier(nn.Module):
    """Images into the log-odds of `num_classes` classes."""

    settings: EfficientNetSettings
    num_classes: int
    cpu: bool = False  # by `wbcjax/ops/cpu`

    def setup(self) -> None:
        self.base = EfficientNet(self.settings, self.cpu)
        self.head = Head(self.settings, self.num_classes)

    def __call__(
        self,
        image: Image,
        keys: Key[Array, " n"] | None = None,
        axis_name: str | None = None,
        trains: Trains = everything_trains,
    ) -> Float[Array, "n classes"]:
        """Logits. With `keys`, one PRNG key per image, as in training: with dropout, and see `EfficientNet`."""
        base_keys, head_keys = (None, None) if keys is None else jax.vmap(jax.random.split, out_axes=1)(keys)
        return self.head(self.base(image, base_keys, axis_name, trains), head_keys)


class EfficientNet(nn.Module):
    """Features of images at a 32nd of their size."""

    settings: EfficientNetSettings
    cpu: bool = False

    @nn.compact
    def __call__(
        self,
        image: Image,
        keys: Key[Array, " n"] | None = None,
        axis_name: str | None = None,
        trains: Trains = everything_trains,
    ) -> Float[Array, "n h2 w2 c"]:
        """Features. With `keys`, one PRNG key per image, as in training: residual branches are dropped at random
        (stochastic depth, Huang et al. 2016), and stages that train use the statistics of the batch, over all devices
        of `axis_name`.
        """
        s = self.settings

        def norm_of(stage: int) -> Callable[..., nn.Module]:
            return batch_norm(s, keys is not None and trains(stage), axis_name)

        x = (image.astype(jnp.float32) - jnp.array(s.pixel_mean)) / jnp.array(s.pixel_std)
        if s.stored_normalization:
            x = StoredNormalization(name="normalization")(x)
        x = features(s, x, norm_of, keys, self.cpu)[5]
        conv = functools.partial(Conv, kernel_init=KERNEL_INIT, dtype=jnp.dtype(s.dtype), cpu=self.cpu)
        x = conv(scaled_channels(TOP, s.width), 1, use_bias=False, name="top_conv")(x)
        return norm_of(5)(name="top_bn", swish=True)(x)  # (n, h/32, w/32, c)


def features(
    settings: EfficientNetSettings,
    x: Float[Array, "n h w 3"],
    norm_of: Callable[[int], Callable[..., nn.Module]],
    keys: Key[Array, " n"] | None = None,
    cpu: bool = False,
) -> dict[int, Float[Array, "n _ _ _"]]:
    """Features of normalised pixels at levels 1 to 5, each from the last block of its resolution, without the top.

    Its layers are those of the module whose compact method calls it. `norm_of` gives the constructor of a stage's norm.
    With `keys` there is stochastic depth.
    """
    s = settings
    mb_conv = nn.remat(MBConv) if s.remat else MBConv
    conv = functools.partial(Conv, kernel_init=KERNEL_INIT, dtype=jnp.dtype(s.dtype), cpu=cpu)
    x = conv(scaled_channels(STEM, s.width), 3, 2, use_bias=False, same=s.same_padding, name="stem_conv")(x)
    x = norm_of(s.stage_of(("base", "stem")))(name="stem_bn", swish=True)(x)  # (n, h/2, w/2, c)
    repeats = [math.ceil(s.depth * stage.blocks) for stage in STAGES]
    weights = _branch_weights(keys, s.stochastic_depth, sum(repeats))
    levels = {}
    for number, (stage, blocks) in enumerate(zip(STAGES, repeats, strict=True), start=1):
        level = s.stage_of(("base", f"block{number}"))
        width, norm = scaled_channels(stage.channels, s.width), norm_of(level)
        for i in range(blocks):
            stride = stage.stride if i == 0 else 1
            name = f"block{number}_{i}"
            x = mb_conv(s, norm, stage.expansion, stage.kernel, stride, width, cpu, name=name)(x, weights.pop(0))
        levels[level] = x  # (n, h/2^level, w/2^level, c)
    return levels


class MBConv(nn.Module):
    """Mobile inverted bottleneck (Sandler et al. 2018) with squeeze-and-excitation (Hu et al. 2018).

    1x1 up to `expansion` times as many channels, depthwise, each channel scaled by a function of all channels' means,
    1x1 down to `width`; and a skip connection where neither stride nor width changes the shape.
    """

    settings: EfficientNetSettings
    norm: Callable[..., nn.Module]
    expansion: int
    kernel: int
    stride: int
    width: int
    cpu: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], weight: Float[Array, " n"] | None) -> Float[Array, "n h2 w2 k"]:
        """`weight` multiplies the residual branch of each image."""
        s, norm = self.settings, self.norm
        dtype = jnp.dtype(s.dtype)
        conv = functools.partial(Conv, kernel_init=KERNEL_INIT, dtype=dtype, cpu=self.cpu)
        expanded, squeezed = x.shape[-1] * self.expansion, max(1, x.shape[-1] // SQUEEZE)
        y = x
        if self.expansion > 1:
            y = conv(expanded, 1, use_bias=False, name="expand_conv")(y)
            y = norm(name="expand_bn", swish=True)(y)  # (n, h, w, e)
        y = DepthwiseConv(self.kernel, self.stride, s.same_padding, dtype, self.cpu, name="depthwise_conv")(y)
        y = norm(name="depthwise_bn", swish=True)(y)  # (n, h2, w2, e)
        average = jnp.mean(y, (1, 2), keepdims=True)  # (n, 1, 1, e)
        average = nn.swish(conv(squeezed, 1, name="squeeze")(average))
        y *= nn.sigmoid(conv(expanded, 1, name="excite")(average))
        y = conv(self.width, 1, use_bias=False, name="project_conv")(y)
        y = norm(name="project_bn")(y)
        if self.stride > 1 or x.shape[-1] != self.width:
            return y
        return x + (y if weight is None else y * weight[:, None, None, None].astype(dtype))


class Head(nn.Module):
    """Features into log-odds: averaged or flattened, dropout, one dense layer."""

    settings: EfficientNetSettings
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], keys: Key[Array, " n"] | None) -> Float[Array, "n classes"]:
        s = self.settings
        x = x.astype(jnp.float32)
        x = jnp.mean(x, (1, 2)) if s.head == "pool" else x.reshape(len(x), -1)
        if keys is not None:
            kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - s.dropout, x.shape[1:]))(keys)
            x = jnp.where(kept, x / (1 - s.dropout), 0)
        return nn.Dense(self.num_classes, kernel_init=DENSE_INIT, name="logits")(x)


class StoredNormalization(nn.Module):
    """Keras's `Normalization`: by a stored mean and variance, with a stored count of the values behind them."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:]).value
        var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:]).value
        self.variable("batch_stats", "count", jnp.zeros, ())
        return (x - mean) / jnp.maximum(jnp.sqrt(var), 1e-7)


def scaled_channels(channels: int, width: float) -> int:
    """`width` times as many channels, a multiple of 8 and at most a tenth fewer, as in the paper's code."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def build(settings: EfficientNetSettings, num_classes: int, cpu: bool | None = None) -> Classifier:
    """The classifier of these settings, in the forms for CPUs by `cpu`; by default where JAX runs on one."""
    return Classifier(settings, num_classes, on_cpu() if cpu is None else cpu)


def init(model: Classifier, canvas: tuple[int, int], seed: int) -> Variables:
    """Fresh variables in host memory, by the modules' own initialisers; a flattening head fits one canvas only."""
    return initial_values(model, seed, _image(canvas))


def shapes(model: Classifier, canvas: tuple[int, int]) -> Variables:
    """The tree of the variables' shapes."""
    return jax.eval_shape(lambda image: model.init(jax.random.key(0), image), _image(canvas))


def _image(canvas: tuple[int, int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *canvas, 3), jnp.float32)


def batch_norm(settings: EfficientNetSettings, train: bool, axis_name: str | None) -> Callable[..., nn.Module]:
    """The constructor of a norm; with `train` it uses the statistics of the batches of all devices of `axis_name`."""
    return functools.partial(
        BatchNorm,
        train=train,
        momentum=settings.norm_momentum,
        epsilon=settings.norm_epsilon,
        dtype=jnp.dtype(settings.dtype),
        axis_name=axis_name if train else None,
    )


def _branch_weights(keys: Key[Array, " n"] | None, rate: float, blocks: int) -> list[Float[Array, " n"] | None]:
    """For each block and image 0 where the branch is dropped, else 1 / the probability that it is kept."""
    if keys is None:
        return [None] * blocks
    survival = 1 - rate * jnp.arange(blocks) / blocks
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, survival))(keys)  # (n, blocks)
    return list((kept / survival).T)
