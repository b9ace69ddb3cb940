"""Filling our variables from arrays that another library names: what the tables of names have in common."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

ArrayOrShape = Any  # anything with a `shape`: an array or a jax.ShapeDtypeStruct
Layout = Callable[[np.ndarray], np.ndarray]
Leaves = Mapping[str, tuple[str, Layout]]  # what another library calls a module's arrays: our name, how the axes turn
Modules = tuple[tuple[str, str, Leaves], ...]  # pattern of a module's name there, our path of it, its arrays


def fill_template(
    weights: Mapping[str, Float[np.ndarray, "..."]],
    template: Mapping[str, Any],
    modules: Modules,
    dotted: Callable[[str], str] = str,
) -> dict[str, dict[str, Any]]:
    """Variables {"params", "batch_stats"} of the paths and shapes of `template`, filled from `weights` by name.

    The table knows names as a module's and an array's with a dot between; `dotted` makes them so. `template` holds
    arrays or shapes; it says which variables there are, and whether one is trained or stored. Raises ValueError listing
    every name that is unknown, missing, or of another shape.
    """
    flat: dict[tuple[str, ...], ArrayOrShape] = flatten_dict(dict(template))
    wanted = {path[1:]: (path, leaf.shape) for path, leaf in flat.items()}
    filled, problems = {}, []
    for name, value in weights.items():
        path, layout = _target(dotted(name), modules)
        if path not in wanted:
            problems.append(f"unexpected: {name} {value.shape}")
            continue
        path, shape = wanted.pop(path)
        array = np.asarray(layout(value), np.float32, order="C")
        if array.shape != shape:
            problems.append(f"shape: {name} becomes {array.shape}, but {'/'.join(path)} is {shape}")
        filled[path] = array
    problems += [f"missing: {'/'.join(path)} {shape}" for path, shape in wanted.values()]
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


TORCH_CONV: Leaves = {"weight": ("kernel", torch_convolution), "bias": ("bias", same)}
TORCH_LINEAR: Leaves = {"weight": ("kernel", torch_linear), "bias": ("bias", same)}
TORCH_NORM: Leaves = {
    "weight": ("scale", same),
    "bias": ("bias", same),
    "running_mean": ("mean", same),
    "running_var": ("var", same),
}


def _target(name: str, modules: Modules) -> tuple[tuple[str, ...], Layout]:
    """Where the array called `name` goes, without the collection, and its layout; nowhere if no table knows it."""
    module, _, leaf = name.rpartition(".")
    for pattern, path, leaves in modules:
        match = re.fullmatch(pattern, module)
        if match and leaf in leaves:
            our_leaf, layout = leaves[leaf]
            return (*match.expand(path).split("/"), our_leaf), layout
    return (), same
