"""Write `efficientnet_reference.npz` anew: `python -m tests.parity.make_efficientnet_reference` (extra `parity`).

It imports torch and Keras (on its JAX backend): for the script and the live tests.
"""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import jax
import keras
import numpy as np
import optax
import torch
import torchvision

from tests.parity import efficientnet as parity
from tests.parity.efficientnet import Arrays, Case, Names


def run(case: Case, seed: int, *, train: bool) -> tuple[Names, Arrays]:
    """The other library's variables and their shapes, and its stages, as `parity.predict` and `parity.train` give."""
    return {"keras": _run_keras, "torchvision": _run_torchvision}[case.library](case, seed, train)


def _run_torchvision(case: Case, seed: int, train: bool) -> tuple[Names, Arrays]:
    torch.set_num_threads(1)
    build = getattr(torchvision.models, f"efficientnet_{case.scale}")
    model = build(weights=None, num_classes=parity.CLASSES, dropout=0.0, stochastic_depth_prob=0.0)
    names = {n: tuple(v.shape) for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    filled = parity.weights(case, names, seed)
    model.load_state_dict({n: torch.from_numpy(value) for n, value in filled.items()}, strict=False)

    image, label = parity.batch(seed)
    pixels = (image.astype(np.float32) - case.settings.pixel_mean) / case.settings.pixel_std
    x = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = model.eval().features(x)
        stages = {"features": features.permute(0, 2, 3, 1).numpy(), "logits": model(x).numpy()}
    if not train:
        return names, stages
    loss = torch.nn.functional.cross_entropy(model.train()(x), torch.from_numpy(label))
    loss.backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    statistics = {n: value.numpy() for n, value in model.named_buffers() if value.ndim}
    return names, stages | {"loss": loss.detach().numpy()} | parity.their_stages(case, gradients, statistics)


def _run_keras(case: Case, seed: int, train: bool) -> tuple[Names, Arrays]:
    model = _keras_model(case)
    names = {w.path: tuple(w.shape) for w in model.weights if not w.path.startswith("seed_generator")}
    filled = parity.weights(case, names, seed)
    for weight in model.weights:
        if weight.path in filled:
            weight.assign(filled[weight.path])
    model.get_layer("normalization").finalize_state()  # it works with copies of its variables

    image, label = parity.batch(seed)
    image = image.astype(np.float32)
    both = keras.Model(model.input, [model.get_layer("top_activation").output, model.output])
    features, logits = both(image, training=False)
    stages = {"features": np.asarray(features), "logits": np.asarray(logits)}
    if not train:
        return names, stages
    trained, stored = model.trainable_variables, model.non_trainable_variables

    def loss(values: Any) -> Any:
        logits, changed = model.stateless_call(values, [v.value for v in stored], image, training=True)[:2]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), changed

    (value, changed), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))([v.value for v in trained])
    gradients = {v.path: np.asarray(slope) for v, slope in zip(trained, slopes, strict=True)}
    statistics = {v.path: np.asarray(new) for v, new in zip(stored, changed, strict=True) if v.path in names}
    return names, stages | {"loss": np.asarray(value)} | parity.their_stages(case, gradients, statistics)


def _keras_model(case: Case) -> keras.Model:
    keras.backend.clear_session()  # or layers without a name are numbered on
    build = getattr(keras.applications, f"EfficientNet{case.scale.upper()}")
    shape = (*parity.CANVAS, 3)
    if case.head == "pool":
        model = build(weights=None, input_shape=shape, classes=parity.CLASSES, classifier_activation=None)
    else:
        base = build(weights=None, input_shape=shape, include_top=False)
        flat = keras.layers.Dropout(0.3)(keras.layers.Flatten()(base.output))
        model = keras.Model(base.input, keras.layers.Dense(parity.CLASSES)(flat))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):  # stochastic depth is one too
            layer.rate = 0.0
    return model


def main() -> None:
    kept = {}
    for name, case in parity.CASES.items():
        names, stages = run(case, parity.COMMITTED_SEED, train=name in parity.TRAINED)
        kept[f"{name}/names"] = np.array([" ".join([n, *map(str, shape)]) for n, shape in names.items()])
        kept |= {f"{name}/{stage}": values for stage, values in parity.brief(stages).items()}
    np.savez_compressed(parity.REFERENCE, allow_pickle=False, **kept)


if __name__ == "__main__":
    main()
