"""EfficientNet-B3 at 300 x 300 pixels against torchvision and Keras 3: `python -m benchmarks.efficientnet`.

Needs the extra `parity`. float32, two classes, random weights. The times include:

inference   from RGB crops in host memory (uint8) to logits in host memory.
train       forward with dropout and stochastic depth, backward, Adam (Suvon et al.), from images in host memory. Keras
            by `train_on_batch` on its JAX backend, compiled as `fit` would have it.

This command times a training step only, against torchvision's default. `--tune-malloc` tunes malloc as the programs do
(wbcjax/system/heap.py) on both sides, with torchvision in channels_last. `python -m benchmarks --only efficientnet`
measures the rest too.
"""

import argparse
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.results import Result, summary
from benchmarks.timing import Contestant, Task, apart, contest

CLASSES = 2
LEARNING_RATE = 2e-4
SIDE = 300  # B3's own, pixels
SECONDS = 60.0  # a contestant that has run for longer takes no further turn: Keras's steps are long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=SIDE, help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tune-malloc", action="store_true")
    options = parser.parse_args()
    contestants = _contestants("train", options.batch, options.side)
    del contestants["Keras 3"], contestants["torchvision" if options.tune_malloc else "torchvision, channels_last"]
    records = contest(contestants, options.rounds, tuned=options.tune_malloc, together=False)
    print(summary(records))


def results(rounds: int) -> Iterator[Result]:
    """Inference of 32, training steps of 8 and 32, each with malloc as it is and tuned."""
    for work, batch in (("inference", 32), ("train", 8), ("train", 32)):
        flops = apart(count_flops, work=work, batch=batch)
        title = f"{'training step' if work == 'train' else 'inference'}, batch {batch}"
        for tuned in (False, True):
            contestants = _contestants(work, batch, SIDE)
            large = work == "train" and batch == 32  # the activations of all do not fit into 24 GB together
            keras = contestants.pop("Keras 3") if large else None
            records = contest(contestants, 2 if large else rounds, tuned=tuned, together=not large, seconds=SECONDS)
            if keras and not tuned:  # a step takes minutes: one is timed
                records |= contest({"Keras 3": keras}, 1)
            yield Result(title, records, tuned, batch, flops=flops)


def _contestants(work: str, batch: int, side: int) -> dict[str, Contestant]:
    options = {"batch": batch, "side": side}
    ours, theirs, kerass = {
        "inference": (our_inference, their_inference, keras_inference),
        "train": (our_step, their_step, keras_step),
    }[work]
    return {
        "ours": Contestant(ours, options),
        "torchvision": Contestant(theirs, options),
        "torchvision, channels_last": Contestant(theirs, {**options, "channels_last": True}),
        "Keras 3": Contestant(kerass, options),
    }


def crops(batch: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, and the class of each."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8), rng.integers(0, CLASSES, batch)


# Ours


def our_inference(batch: int, side: int = SIDE) -> Task:
    import jax

    from wbcjax.models.fold import fold, folded

    model, variables = _our_model(side)
    variables = fold(variables, model.settings.norm_epsilon)
    image, _ = crops(batch, side)
    apply = jax.jit(folded(lambda variables, image: model.apply(variables, image)))
    return lambda: jax.device_get(apply(variables, image))


def our_step(batch: int, side: int = SIDE) -> Task:
    import jax
    import optax

    model, variables = _our_model(side)
    optimizer = optax.adam(LEARNING_RATE)
    image, label = crops(batch, side)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(variables: Any, opt_state: Any, image: Any, label: Any, key: Any) -> tuple[Any, Any, Any]:
        def loss(params: Any) -> Any:
            keys = jax.random.split(key, batch)
            logits, changed = model.apply({**variables, "params": params}, image, keys, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), changed

        (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state)
        return {"params": optax.apply_updates(variables["params"], updates), **changed}, opt_state, value

    state = [variables, jax.jit(optimizer.init)(variables["params"])]

    def run() -> float:
        state[0], state[1], value = step(state[0], state[1], image, label, jax.random.key(0))
        return float(value)

    return run


def _our_model(side: int) -> tuple[Any, Any]:
    import jax

    from wbcjax.models import efficientnet
    from wbcjax.models.settings import EFFICIENTNET_TORCHVISION
    from wbcjax.ops.cpu import on_cpu

    model = efficientnet.Classifier(EFFICIENTNET_TORCHVISION["b3"], CLASSES, on_cpu())
    return model, jax.device_put(efficientnet.init(model, (side, side), seed=0))


# torchvision's


def their_inference(batch: int, side: int = SIDE, channels_last: bool = False) -> Task:
    import torch

    model, images = _their_model(channels_last).eval(), _their_images(batch, side, channels_last)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return model(images()).numpy()

    return run


def their_step(batch: int, side: int = SIDE, channels_last: bool = False) -> Task:
    import torch

    model, images = _their_model(channels_last).train(), _their_images(batch, side, channels_last)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    labels = torch.from_numpy(crops(batch, side)[1])

    def run() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images()), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def _their_model(channels_last: bool) -> Any:
    import torch
    from torchvision.models import efficientnet_b3

    model = efficientnet_b3(weights=None, num_classes=CLASSES)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def _their_images(batch: int, side: int, channels_last: bool) -> Task:
    """Normalises the images in host memory, as a data loader would."""
    import torch

    from wbcjax.models.settings import EFFICIENTNET_TORCHVISION

    settings = EFFICIENTNET_TORCHVISION["b3"]
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.pixel_mean, settings.pixel_std))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.from_numpy(crops(batch, side)[0]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    return lambda: (image - mean) / std


def count_flops(work: str, batch: int) -> float:
    """FLOPs of torchvision's forward, by torch's counter: convolutions and matrix products, a multiply-add as two.

    A training step counts three times that: the counter takes gradients of depthwise convolutions for dense ones.
    """
    from torch.utils.flop_counter import FlopCounterMode

    task = their_inference(1)
    with FlopCounterMode(display=False) as counter:
        task()
    return batch * counter.get_total_flops() * (3 if work == "train" else 1)


# Keras's


def keras_inference(batch: int, side: int = SIDE) -> Task:
    model = _keras_model(side)
    image, _ = crops(batch, side)
    return lambda: model.predict_on_batch(image)


def keras_step(batch: int, side: int = SIDE) -> Task:
    model = _keras_model(side)
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss)
    image, label = crops(batch, side)
    return lambda: model.train_on_batch(image, label)


def _keras_model(side: int) -> Any:
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    import keras

    untrained: Any = None  # whose type Keras does not declare
    return keras.applications.EfficientNetB3(
        weights=untrained, input_shape=(side, side, 3), classes=CLASSES, classifier_activation=untrained
    )


if __name__ == "__main__":
    main()
