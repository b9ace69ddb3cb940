"""Filling our variables from arrays with another library's names, by tables of names."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, Shaped

ArrayOrShape = Any  # anything with a `shape` and a `dtype`: an array or a jax.ShapeDtypeStruct
Layout = Callable[[np.ndarray], np.ndarray]
Leaves = Mapping[str, tuple[str, Layout]]  # by another library's name of a module's array: our name, change of layout
Modules = tuple[tuple[str, str, Leaves], ...]  # pattern of a module's name there, our path of it, its arrays


class Placed(NamedTuple):
    """An array in our layout, and its name in the other library."""

    name: str
    array: Float[np.ndarray, "..."]


def place(
    weights: Mapping[str, Shaped[np.ndarray, "..."]], modules: Modules, dotted: Callable[[str], str] = str
) -> tuple[dict[str, Placed], list[str]]:
    """The arrays by our paths without their collection (`backbone/conv1/kernel`), and a line for each that has none."""
    placed: dict[str, Placed] = {}
    problems = []
    for name, value in weights.items():
        path, layout = _target(dotted(name), modules)
        if not path or path in placed:
            problems.append(f"unexpected: {name} {value.shape}")
            continue
        try:
            placed[path] = Placed(name, np.asarray(layout(value), np.float32, order="C"))
        except (ValueError, IndexError):  # too few axes, or sizes that cannot be divided
            problems.append(f"shape: {name} is {value.shape}, from which nothing can be made for {path}")
    return placed, problems


def fill(placed: Mapping[str, Placed], template: Mapping[str, Any], problems: list[str]) -> dict[str, dict[str, Any]]:
    """Variables of the paths, shapes and types of `template`.

    Raises ValueError listing `problems`, and every array that is not in `template`, missing, or of another shape.
    """
    flat: dict[tuple[str, ...], ArrayOrShape] = flatten_dict(dict(template))
    wanted = {"/".join(path[1:]): (path, leaf) for path, leaf in flat.items()}
    filled, problems = {}, list(problems)
    for short, (name, array) in placed.items():
        if short not in wanted:
            problems.append(f"unexpected: {name} {array.shape}")
            continue
        path, leaf = wanted.pop(short)
        if array.shape != leaf.shape:
            problems.append(f"shape: {name} becomes {array.shape}, but {'/'.join(path)} is {leaf.shape}")
        filled[path] = array.astype(leaf.dtype, copy=False)
    problems += [f"missing: {'/'.join(path)} {leaf.shape}" for path, leaf in wanted.values()]
    if problems:
        listing = "\n  ".join(problems)
        raise ValueError(f"the weights do not fit the model in {len(problems)} places:\n  {listing}")
    return unflatten_dict(filled)


def same(x: np.ndarray) -> np.ndarray:
    """No change of layout."""
    return x


def torch_convolution(x: np.ndarray) -> np.ndarray:
    """(out, in, h, w) to (h, w, in, out)."""
    return x.transpose(2, 3, 1, 0)


def torch_linear(x: np.ndarray) -> np.ndarray:
    """(out, in) to (in, out)."""
    return x.T


def torch_depthwise(x: np.ndarray) -> np.ndarray:
    """(c, 1, h, w) to (h, w, c)."""
    return x[:, 0].transpose(1, 2, 0)


TORCH_CONV: Leaves = {"weight": ("kernel", torch_convolution), "bias": ("bias", same)}
TORCH_LINEAR: Leaves = {"weight": ("kernel", torch_linear), "bias": ("bias", same)}
TORCH_NORM: Leaves = {
    "weight": ("scale", same),
    "bias": ("bias", same),
    "running_mean": ("mean", same),
    "running_var": ("var", same),
}
KERAS_CONV: Leaves = {"kernel": ("kernel", same), "bias": ("bias", same)}
KERAS_NORM: Leaves = {
    "gamma": ("scale", same),
    "beta": ("bias", same),
    "moving_mean": ("mean", same),
    "moving_variance": ("var", same),
}


def _target(name: str, modules: Modules) -> tuple[str, Layout]:
    """Our path of the array called `name`, without the collection, and its layout; "" if no table has it."""
    module, _, leaf = name.rpartition(".")
    for pattern, path, leaves in modules:
        match = re.fullmatch(pattern, module)
        if match and leaf in leaves:
            our_leaf, layout = leaves[leaf]
            return f"{match.expand(path)}/{our_leaf}".lstrip("/"), layout
    return "", same
