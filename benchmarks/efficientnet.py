"""A training step of EfficientNet-B3 against torchvision's: `python -m benchmarks.efficientnet` (extra `parity`).

Adam, float32, images of 300 x 300, dropout and stochastic depth on, the batch of 32 of Suvon et al. All are run in turn
in one process, so that what else the machine does falls on each. The table gives the median and the least wall time of
a step, the least CPU time of all cores together, and the three ratios to torchvision's (below 1 is faster).
`--tune-malloc` is what the command-line programs do (wbcjax/runtime.py); it holds for torchvision too, and need not
suit it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torchvision.models import efficientnet_b3

from wbcjax import runtime
from wbcjax.models import efficientnet
from wbcjax.models.settings import EFFICIENTNET_SIDE, EFFICIENTNET_TORCHVISION

CLASSES = 2
LEARNING_RATE = 2e-4

Step = Callable[[], float]  # does one step and returns the loss


class Time(NamedTuple):
    """Of one step, in seconds."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=EFFICIENTNET_SIDE["b3"], help="of the images, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tune-malloc", action="store_true")
    options = parser.parse_args()
    if options.tune_malloc:
        runtime.tune_malloc()
    runtime.use_compilation_cache()

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (options.batch, options.side, options.side, 3), dtype=np.uint8)
    label = rng.integers(0, CLASSES, options.batch)
    steps = {
        "torchvision": torch_step(image, label, torch.contiguous_format),
        "torchvision, channels_last": torch_step(image, label, torch.channels_last),
        "ours": our_step(image, label),
    }
    times: dict[str, list[Time]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if turn:  # the first makes ready
                times[name].append(Time(time.perf_counter() - wall, time.process_time() - cpu))
    report(times)


def report(times: dict[str, list[Time]]) -> None:
    print(f"{'seconds':28}{'median':>9}{'least':>9}{'CPU':>9}{'ratios':>24}")
    figures = {
        name: (statistics.median(t.wall for t in taken), min(t.wall for t in taken), min(t.cpu for t in taken))
        for name, taken in times.items()
    }
    base = figures["torchvision"]
    for name, found in figures.items():
        ratios = "".join(f"{a / b:8.2f}" for a, b in zip(found, base, strict=True))
        print(f"{name:28}" + "".join(f"{figure:9.3f}" for figure in found) + ratios)


def our_step(image: np.ndarray, label: np.ndarray) -> Step:
    model = efficientnet.Classifier(EFFICIENTNET_TORCHVISION["b3"], CLASSES)
    optimizer = optax.adam(LEARNING_RATE)

    def step(variables: dict, opt_state: optax.OptState, key: jax.Array) -> tuple:
        def loss(params: dict) -> tuple:
            keys = jax.random.split(key, len(image))
            logits, changed = model.apply({**variables, "params": params}, images, keys, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), changed

        (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state)
        return {"params": optax.apply_updates(variables["params"], updates), **changed}, opt_state, value

    images = jnp.asarray(image)
    compiled = jax.jit(step, donate_argnums=(0, 1))
    variables = jax.device_put(efficientnet.init(model, image.shape[1:3], seed=0))
    state = [variables, optimizer.init(variables["params"])]

    def run() -> float:
        state[0], state[1], value = compiled(state[0], state[1], jax.random.key(0))
        return float(value)

    return run


def torch_step(image: np.ndarray, label: np.ndarray, layout: torch.memory_format) -> Step:
    model = efficientnet_b3(weights=None, num_classes=CLASSES).train().to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    settings = EFFICIENTNET_TORCHVISION["b3"]
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (settings.pixel_mean, settings.pixel_std))
    images = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    labels = torch.from_numpy(label)

    def run() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model((images - mean) / std), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


if __name__ == "__main__":
    main()
