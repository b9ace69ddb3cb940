"""The weights in an object saved by torch or detectron2: the whole, or the entry of a checkpoint that holds them."""

from collections.abc import Mapping
from typing import Any, TypeVar

Weight = TypeVar("Weight")

ENTRY = "entry"  # of the metadata: the weights' place in a checkpoint
# Names that training scripts give a model's state dict, and its moving average.
_MODELS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights", "module", "params"),
    *("model_ema", "state_dict_ema", "ema", "ema_state_dict", "ema_model", "params_ema"),
)


def find_weights(saved: Any, kind: type[Weight]) -> tuple[dict[str, Weight], dict[str, str]]:
    """The weights of a saved object, by name, and its other entries as text; those that are no text in `left_out`.

    The weights are the whole, or the only dictionary in it, or in an entry of it, that holds weights alone. Its place
    is noted under ENTRY. Raises ValueError, naming what was found, when there is none, or more than one.
    """
    if not isinstance(saved, dict):
        raise ValueError(f"it holds a {type(saved).__name__}; save a model's state dict instead")
    path = () if _is_state_dict(saved, kind) else _place(saved, kind)
    weights, metadata = saved, {}
    for name in path:
        metadata |= _described({other: value for other, value in weights.items() if other != name}, metadata)
        weights = weights[name]
    strangers = [name for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, kind))]
    if strangers:
        found = ", ".join(f"{name!r}: {type(weights[name]).__name__}" for name in strangers[:5])
        raise ValueError(
            f"{len(strangers)} of {len(weights)} entries are no weights ({found}); save the state dict alone"
        )
    return weights, metadata | ({ENTRY: ".".join(path)} if path else {})


def _place(saved: Mapping[Any, Any], kind: type) -> tuple[str, ...]:
    """The keys that lead to the state dict of a checkpoint; () where there is none."""
    inside = {name: value for name, value in saved.items() if isinstance(name, str) and isinstance(value, dict)}
    found = [(name,) for name, value in inside.items() if _is_state_dict(value, kind)]
    if not found:
        found = [
            (name, inner)
            for name, entry in inside.items()
            for inner, value in entry.items()
            if isinstance(inner, str) and isinstance(value, dict) and _is_state_dict(value, kind)
        ]
    models = [path for path in found if path[-1] in _MODELS]
    if len(models) == 1 or len(found) == 1:
        return (models or found)[0]
    if found:
        listed = ", ".join(repr(".".join(path)) for path in found[:5]) + (", ..." if len(found) > 5 else "")
        item = "".join(f"[{name!r}]" for name in (models or found)[0])
        raise ValueError(
            f"{len(found)} of its entries are dictionaries of weights ({listed}): save one of them alone, as by "
            f"`torch.save(torch.load(IN, map_location='cpu'){item}, OUT)` in torch"
        )
    return next(((name,) for name in _MODELS if name in inside), ())


def _is_state_dict(value: Mapping[Any, Any], kind: type) -> bool:
    return bool(value) and all(isinstance(name, str) and isinstance(one, kind) for name, one in value.items())


def _described(others: Mapping[Any, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Entries beside the weights: text and numbers as they are, the names of all others under `left_out`."""
    texts = {str(name): str(value) for name, value in others.items() if isinstance(value, (str, int, float))}
    left_out = [*filter(None, [known.get("left_out")]), *(str(name) for name in others if str(name) not in texts)]
    return texts | ({"left_out": ", ".join(left_out)} if left_out else {})
