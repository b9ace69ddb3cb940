"""Matterport's network in Keras 3 layers of its names, and its weights in a file of its layout. It imports Keras.

Written from the description of the graph in https://github.com/matterport/Mask_RCNN (mrcnn/model.py), in any width. The
heads take features that have been pooled already.
"""

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import layers
from keras.layers import TimeDistributed

from tests.weights.named import BLOCKS, Sizes

EPSILON = 1e-3
ANCHORS = 3


def features(s: Sizes, canvas: tuple[int, int]) -> keras.Model:
    """Pixels less their mean, to P2 to P6."""
    image = keras.Input((*canvas, 3))
    x = layers.ZeroPadding2D(3)(image)
    x = layers.Conv2D(s.width, 7, strides=2, name="conv1")(x)
    x = layers.ReLU()(_norm("bn_conv1")(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    stages = []
    for stage, blocks in enumerate(BLOCKS[s.depth], start=2):
        for block in range(blocks):
            stride = 2 if stage > 2 and block == 0 else 1
            x = _block(x, s.width * 2 ** (stage - 2), f"{stage}{chr(ord('a') + block)}_branch", stride, block == 0)
        stages.append(x)
    merged, levels = None, []
    for level in (5, 4, 3, 2):
        lateral = layers.Conv2D(s.channels, 1, name=f"fpn_c{level}p{level}")(stages[level - 2])
        merged = lateral if merged is None else layers.Add()([layers.UpSampling2D(2)(merged), lateral])
        levels.insert(0, layers.Conv2D(s.channels, 3, padding="same", name=f"fpn_p{level}")(merged))
    return keras.Model(image, [*levels, layers.MaxPooling2D(1, strides=2)(levels[-1])])


def rpn(s: Sizes) -> keras.Model:
    """A level, to logits of background and cell, and (dy, dx, log dh, log dw), of each anchor."""
    level = keras.Input((None, None, s.channels))
    shared = layers.Conv2D(s.channels, 3, padding="same", activation="relu", name="rpn_conv_shared")(level)
    logits = layers.Conv2D(2 * ANCHORS, 1, name="rpn_class_raw")(shared)
    deltas = layers.Conv2D(4 * ANCHORS, 1, name="rpn_bbox_pred")(shared)
    return keras.Model(level, [layers.Reshape((-1, 2))(logits), layers.Reshape((-1, 4))(deltas)], name="rpn_model")


def box_head(s: Sizes) -> keras.Model:
    """RoIs of 7 x 7, to logits of the classes, and (dy, dx, log dh, log dw) of each."""
    pooled = keras.Input((None, 7, 7, s.channels))
    x = TimeDistributed(layers.Conv2D(s.box, 7), name="mrcnn_class_conv1")(pooled)
    x = layers.ReLU()(TimeDistributed(layers.BatchNormalization(epsilon=EPSILON), name="mrcnn_class_bn1")(x))
    x = TimeDistributed(layers.Conv2D(s.box, 1), name="mrcnn_class_conv2")(x)
    x = layers.ReLU()(TimeDistributed(layers.BatchNormalization(epsilon=EPSILON), name="mrcnn_class_bn2")(x))
    shared = layers.Reshape((-1, s.box))(x)
    logits = TimeDistributed(layers.Dense(s.classes), name="mrcnn_class_logits")(shared)
    deltas = TimeDistributed(layers.Dense(4 * s.classes), name="mrcnn_bbox_fc")(shared)
    return keras.Model(pooled, [logits, layers.Reshape((-1, s.classes, 4))(deltas)])


def mask_head(s: Sizes) -> keras.Model:
    """RoIs of 14 x 14, to the probability of each class in 28 x 28."""
    x = pooled = keras.Input((None, 14, 14, s.channels))
    for i in range(1, 5):
        x = TimeDistributed(layers.Conv2D(s.channels, 3, padding="same"), name=f"mrcnn_mask_conv{i}")(x)
        x = layers.ReLU()(TimeDistributed(layers.BatchNormalization(epsilon=EPSILON), name=f"mrcnn_mask_bn{i}")(x))
    deconv = layers.Conv2DTranspose(s.channels, 2, strides=2, activation="relu")
    x = TimeDistributed(deconv, name="mrcnn_mask_deconv")(x)
    return keras.Model(pooled, TimeDistributed(layers.Conv2D(s.classes, 1, activation="sigmoid"), name="mrcnn_mask")(x))


def fill(models: list[keras.Model], seed: int) -> None:
    """Lively weights: He's, with damped residual branches, and statistics near those of an identity."""
    rng = np.random.default_rng(seed)
    for weight in (weight for model in models for weight in model.weights):
        leaf = weight.path.rpartition("/")[2]
        if leaf == "kernel":
            fan_in = np.prod(weight.shape[:-1]) if "deconv" not in weight.path else weight.shape[-1]
            scale = np.sqrt(2 / fan_in) * (0.25 if "branch2c" in weight.path else 1.0)
            values = scale * rng.standard_normal(weight.shape)
        elif leaf in ("gamma", "moving_variance"):
            values = rng.uniform(0.7, 1.3, weight.shape)
        else:
            values = 0.1 * rng.standard_normal(weight.shape)
        weight.assign(values.astype(np.float32))


def train(model: keras.Model, inputs: np.ndarray, decay: float, clip: float, rate: float, steps: int) -> None:
    """Some steps of `compile`'s SGD on the mean squares of what a model gives, with TRAIN_BN False and the L2 term.

    Keras 2's `clipnorm` is of all gradients together: Keras 3's `global_clipnorm`.
    """
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, global_clipnorm=clip)
    optimizer.build(model.trainable_variables)
    paths = [weight.path for weight in model.trainable_variables]
    fixed = [weight.value for weight in model.non_trainable_variables]

    def loss(weights: Any) -> Any:
        outputs, *_ = model.stateless_call(weights, fixed, inputs, training=False)
        terms = [
            keras.regularizers.L2(decay)(weight) / weight.size
            for path, weight in zip(paths, weights, strict=True)
            if "gamma" not in path and "beta" not in path
        ]
        return sum(jnp.mean(output**2) for output in outputs) + sum(terms)

    for _ in range(steps):
        grads = jax.jit(jax.grad(loss))([weight.value for weight in model.trainable_variables])
        optimizer.apply(grads, model.trainable_variables)


def save(models: list[keras.Model], path: Path) -> None:
    """As Keras 2's `model.save_weights`: a group for each layer, in which its arrays are named once more, with `:0`."""
    with h5py.File(path, "w") as file:
        groups = {}
        for model in models:
            groups |= {"rpn_model": model.layers} if model.name == "rpn_model" else {x.name: [x] for x in model.layers}
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
        for name, members in groups.items():
            weights = {f"{x.name}/{w.path.rpartition('/')[2]}:0": w for x in members for w in x.weights}
            group = file.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in weights]
            for key, weight in weights.items():
                group[key] = np.asarray(weight)


def _norm(name: str) -> layers.Layer:
    return layers.BatchNormalization(epsilon=EPSILON, name=name)


def _block(x: keras.KerasTensor, width: int, name: str, stride: int, first: bool) -> keras.KerasTensor:
    y = layers.Conv2D(width, 1, strides=stride, name=f"res{name}2a")(x)
    y = layers.ReLU()(_norm(f"bn{name}2a")(y))
    y = layers.Conv2D(width, 3, padding="same", name=f"res{name}2b")(y)
    y = layers.ReLU()(_norm(f"bn{name}2b")(y))
    y = _norm(f"bn{name}2c")(layers.Conv2D(4 * width, 1, name=f"res{name}2c")(y))
    if first:
        x = _norm(f"bn{name}1")(layers.Conv2D(4 * width, 1, strides=stride, name=f"res{name}1")(x))
    return layers.ReLU()(layers.Add()([y, x]))
