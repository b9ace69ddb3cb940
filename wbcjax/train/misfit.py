"""Comparison of saved arrays with those of a model, and with those that were to be saved."""

from typing import Any

import jax
import numpy as np

MOST_LINES = 10


def find_misfit(saved: Any, needed: Any) -> str:
    """The differences of two trees of arrays in names, types or shapes: a line for each array, or ""."""
    saved, needed = _arrays(saved), _arrays(needed)
    lines = [
        f"  {path}: {saved.get(path, 'absent')} in the checkpoint, {needed.get(path, 'absent')} in the model"
        for path in sorted(saved | needed)
        if saved.get(path) != needed.get(path)
    ]
    more = [f"  and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "\n".join(lines[:MOST_LINES] + more)


def find_alteration(read: Any, written: Any) -> str:
    """The name of the first array that differs in a bit between two trees of the same structure, or ""."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(written)
    for (path, wanted), found in zip(leaves, jax.tree.leaves(read), strict=True):
        if (
            found.dtype != wanted.dtype
            or found.shape != wanted.shape
            or not np.array_equal(_bits(found), _bits(wanted))
        ):
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return ""


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # in which NaN equals itself


def _arrays(tree: Any) -> dict[str, str]:
    # orbax's description of a tree has the fields of a NamedTuple, and the positions of a tuple, as dictionary keys.
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
        for path, leaf in leaves
    }
