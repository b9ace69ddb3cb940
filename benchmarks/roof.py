"""The machine's roof: the float32 matrix product of the fastest library, in operations a second."""

from collections.abc import Iterator

import numpy as np

from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, contest

SIDE = 3072


def results(rounds: int) -> Iterator[Result]:
    products = {"JAX": Contestant(jax_product), "NumPy": Contestant(numpy_product), "torch": Contestant(torch_product)}
    yield Result(f"matrix product {SIDE}", contest(products, 3 * rounds), unit="product", flops=2.0 * SIDE**3)


def peak(results: list[Result]) -> float:
    """Operations a second of the best run of the best library."""
    (result,) = results
    return result.flops / min(time.wall for record in result.records.values() for time in record.times)


def matrices() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2)]


def numpy_product() -> Task:
    a, b = matrices()
    return lambda: a @ b


def jax_product() -> Task:
    import jax

    a, b = map(jax.device_put, matrices())
    product = jax.jit(jax.numpy.dot)
    return lambda: jax.block_until_ready(product(a, b))


def torch_product() -> Task:
    import torch

    a, b = map(torch.from_numpy, matrices())
    return lambda: a @ b
