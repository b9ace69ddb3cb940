"""Where the weights are in what torch and detectron2 save: the whole, or the entry of a checkpoint that has them."""

from typing import Any, TypeVar

Weight = TypeVar("Weight")

_ENTRIES = ("model", "state_dict")


def find_weights(saved: Any, kind: type[Weight]) -> tuple[dict[str, Weight], dict[str, str]]:
    """The weights of what was saved, by name, and the other entries as text, those that are no text in `left_out`.

    Raises ValueError, naming what was found, when there is no dict of weights alone.
    """
    if not isinstance(saved, dict):
        raise ValueError(f"it holds a {type(saved).__name__}; save a model's state dict instead")
    weights, metadata = saved, {}
    entry = next((name for name in _ENTRIES if isinstance(saved.get(name), dict)), None)
    if entry is not None:
        weights = saved[entry]
        others = {str(name): value for name, value in saved.items() if name != entry}
        metadata = {name: str(value) for name, value in others.items() if isinstance(value, (str, int, float))}
        left_out = [name for name in others if name not in metadata]
        metadata |= {"left_out": ", ".join(left_out)} if left_out else {}
    strangers = [name for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, kind))]
    if strangers:
        found = ", ".join(f"{name!r}: {type(weights[name]).__name__}" for name in strangers[:5])
        raise ValueError(
            f"{len(strangers)} of {len(weights)} entries are no weights ({found}); save the state dict alone"
        )
    return weights, metadata
