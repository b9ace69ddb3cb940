"""Whether saved arrays fit those of a model."""

from typing import Any

import jax
import numpy as np

MOST_LINES = 10


def find_misfit(saved: Any, needed: Any) -> str:
    """What differs between two trees of arrays in names, types or shapes: a line for each array, or ""."""
    saved, needed = _arrays(saved), _arrays(needed)
    lines = [
        f"  {path}: {saved.get(path, 'absent')} in the checkpoint, {needed.get(path, 'absent')} in the model"
        for path in sorted(saved | needed)
        if saved.get(path) != needed.get(path)
    ]
    more = [f"  and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "\n".join(lines[:MOST_LINES] + more)


def _arrays(tree: Any) -> dict[str, str]:
    # orbax's description of a tree names the fields of a NamedTuple and the places of a tuple as a dictionary's keys.
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
        for path, leaf in leaves
    }
