"""EfficientNet in both dialects: the cases, what both implementations are filled and fed with, and ours run on it."""

import dataclasses
import functools
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from jaxtyping import Float, Int, UInt8

from tests.parity import fill
from tests.parity.digest import digest
from tests.weights.direct import efficientnet_from_keras, efficientnet_from_torchvision
from wbcjax.models.efficientnet import Classifier, shapes
from wbcjax.models.settings import EFFICIENTNET_KERAS, EFFICIENTNET_TORCHVISION, EfficientNetSettings

REFERENCE = Path(__file__).parent / "efficientnet_reference.npz"
CLASSES = 4
CANVAS = (72, 99)  # halved five times, to 3 x 4, it is odd and even in turn: 36 18 9 5 3 and 50 25 13 7 4
IMAGES = 2
COMMITTED_SEED = 7

# Without LLVM's optimisations it compiles in half the time.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

Arrays = dict[str, np.ndarray]
Names = Mapping[str, tuple[int, ...]]  # the other library's variables and their shapes


class Case(NamedTuple):
    """A network of another library; with head "flatten" it is the one of Suvon et al."""

    library: str
    scale: str
    head: str

    @property
    def settings(self) -> EfficientNetSettings:
        """Ours of the same dialect, without dropout and stochastic depth."""
        dialect = {"keras": EFFICIENTNET_KERAS, "torchvision": EFFICIENTNET_TORCHVISION}[self.library]
        return dataclasses.replace(dialect[self.scale], head=self.head, dropout=0.0, stochastic_depth=0.0)


CASES = {
    "torchvision_b0": Case("torchvision", "b0", "pool"),
    "torchvision_b3": Case("torchvision", "b3", "pool"),
    "keras_b0": Case("keras", "b0", "pool"),
    "keras_b3": Case("keras", "b3", "flatten"),
}
TRAINED = ("torchvision_b0",)  # in the committed figures: gradients compile long


def committed(name: str) -> tuple[Names, Arrays]:
    """The variables and the stages of one case that `make_efficientnet_reference.py` wrote, these as `brief` gives."""
    with np.load(REFERENCE) as stored:
        stages = {key.partition("/")[2]: stored[key] for key in stored if key.startswith(f"{name}/")}
    lines = [line.split() for line in stages.pop("names")]
    return {name: tuple(int(size) for size in sizes) for name, *sizes in lines}, stages


def weights(case: Case, names: Names, seed: int) -> Arrays:
    """An array for each of the other library's variables, drawn from its name."""
    draw = {"keras": _fill_keras, "torchvision": fill.fill}[case.library]
    return {name: draw(name, shape, seed) for name, shape in names.items()}


def batch(seed: int) -> tuple[UInt8[np.ndarray, "n h w 3"], Int[np.ndarray, " n"]]:
    """Images of coarse blotches, and the class of each."""
    rng = np.random.default_rng(seed)
    blotches = rng.uniform(0, 255, (IMAGES, *(-(-side // 6) for side in CANVAS), 3)).repeat(6, 1).repeat(6, 2)
    image = blotches[:, : CANVAS[0], : CANVAS[1]] + rng.normal(0, 20, (IMAGES, *CANVAS, 3))
    return image.clip(0, 255).astype(np.uint8), rng.integers(0, CLASSES, IMAGES)


def ours(case: Case, filled: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The other library's arrays in our tree."""
    return {"keras": efficientnet_from_keras, "torchvision": efficientnet_from_torchvision}[case.library](
        filled, wanted
    )


@functools.cache
def template(case: Case) -> dict[str, Any]:
    """Shapes of our variables."""
    return shapes(Classifier(case.settings, CLASSES), CANVAS)


def predict(case: Case, names: Names, seed: int) -> Arrays:
    """Features and logits of our network in inference mode."""
    model = Classifier(case.settings, CLASSES, cpu=True)
    variables = ours(case, weights(case, names, seed), template(case))

    def is_base(module: nn.Module, _: str) -> bool:
        return module.path == ("base",)

    logits, inside = compiled(
        lambda variables, image: model.apply(variables, image, capture_intermediates=is_base, mutable=["intermediates"])
    )(variables, batch(seed)[0])
    (features,) = inside["intermediates"]["base"]["__call__"]
    return {"features": np.asarray(features), "logits": np.asarray(logits)}


def train(case: Case, names: Names, seed: int) -> Arrays:
    """The loss of our network in training mode, its gradients, and the running statistics after the step."""
    model = Classifier(case.settings, CLASSES, cpu=True)
    variables = ours(case, weights(case, names, seed), template(case))

    @compiled
    def step(params: Any, batch_stats: Any, image: jax.Array, label: jax.Array) -> Any:
        def loss(params: Any) -> Any:
            keys = jax.random.split(jax.random.key(0), IMAGES)  # nothing is left to chance, but they mean training
            logits, changed = model.apply(
                {"params": params, "batch_stats": batch_stats}, image, keys, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean(), changed

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, changed), gradients = step(variables["params"], variables["batch_stats"], *batch(seed))
    return {"loss": np.asarray(loss)} | _stages(case, gradients, changed["batch_stats"])


def their_stages(case: Case, gradients: Arrays, statistics: Arrays) -> Arrays:
    """Gradients and running statistics of the other library by our names, in our layout."""
    wanted = template(case)
    return _stages(
        case,
        ours(case, gradients, {"params": wanted["params"]})["params"],
        ours(case, statistics, {"batch_stats": wanted["batch_stats"]})["batch_stats"],
    )


def _stages(case: Case, gradients: Mapping[str, Any], statistics: Mapping[str, Any]) -> Arrays:
    flat: Iterable = flatten_dict({"gradient": gradients, "statistics": statistics}, sep="/").items()
    stages = {path: np.asarray(array) for path, array in flat}
    if case.library == "torchvision":  # its running variances are n / (n - 1) of what it normalises by
        stages = {path: array for path, array in stages.items() if not path.endswith("/var")}
    return stages


def brief(stages: Mapping[str, np.ndarray]) -> Arrays:
    """Stages, small: those of training as a table of two figures for each variable, in the order of their names."""
    kept = digest({name: values for name, values in stages.items() if "/" not in name})
    for kind in ("gradient", "statistics"):
        names = sorted(name for name in stages if name.startswith(f"{kind}/"))
        if names:
            kept[kind] = np.array([_two_figures(name, stages[name]) for name in names], np.float32)
    return kept


def _two_figures(name: str, values: np.ndarray) -> tuple[float, float]:
    """The norm, and a random weighting that tells values apart which have changed places."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return float(np.linalg.norm(values)), float(np.vdot(rng.standard_normal(values.shape), values))


def _fill_keras(path: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "..."]:
    """As `fill.fill`, by Keras's names."""
    rng = np.random.default_rng([seed, zlib.crc32(path.encode())])
    layer, leaf = path.split("/")[-2:]
    if leaf in ("moving_variance", "variance"):
        values = rng.uniform(0.7, 1.4, shape)
    elif leaf == "gamma":
        values = rng.uniform(0.8, 1.2, shape)
    elif leaf == "kernel":
        inputs = shape[:2] if layer.endswith("dwconv") else shape[:-1]
        values = math.sqrt(2 / math.prod(inputs)) * rng.standard_normal(shape)
    elif leaf == "count":
        values = np.zeros(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype(np.float32)
