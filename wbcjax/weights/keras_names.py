"""Names of the arrays in Keras's HDF5 files: their places in `.h5`, put together from their layers in `.weights.h5`.

The two layouts are those of Keras 3.15's `legacy_h5_format` (and of Keras 2) and of its `saving_lib`.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

_OPTIMIZERS = ("optimizer_weights", "optimizer")


def is_numbered(places: Iterable[str]) -> bool:
    """Whether arrays are numbered under their layers (`layers/conv2d/vars/0`), and not named."""
    return any("/vars/" in place for place in places)


def listed_names(places: Iterable[str]) -> dict[str, str]:
    """Names, LAYER/NAME, of the arrays at `places` of an `.h5`; a model saved whole has them in a folder."""
    inside = "model_weights/" if any(place.startswith("model_weights/") for place in places) else ""
    found = [place for place in places if place.startswith(inside) and place.removeprefix(inside).count("/")]
    return {place: place.removeprefix(inside).split("/", 1)[1] for place in found}


def numbered_names(places: Collection[str], layers: Mapping[str, str]) -> dict[str, str]:
    """Names of the arrays at `places` of a `.weights.h5`: Keras's variable paths, `base/stem_conv/kernel`.

    `layers` has the names of layers by their places. Arrays of unknown kinds of layers keep their number. Raises
    ValueError when a layer has no name.
    """
    counts = Counter(place.rpartition("/vars/")[0] for place in places)  # arrays by the layer's place
    names = {}
    for place in places:
        layer, between, number = place.rpartition("/vars/")
        if between and place.split("/")[0] not in _OPTIMIZERS:
            kinds = _VARIABLES.get(re.sub(r"_\d+$", "", layer.split("/")[-1]), ())
            variables = next((kind for kind in kinds if len(kind) == counts[layer]), ())
            variable = dict(zip(map(str, range(len(variables))), variables, strict=True)).get(number, number)
            names[place] = f"{_layer_path(layer, layers)}/{variable}"
    return names


def left_out(places: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """The optimizer's part of a file, if there is one. Raises ValueError on other arrays without a name, or two of one.

    `names` has the name by place.
    """
    found = {place.split("/")[0] for place in places}.intersection(_OPTIMIZERS)
    strangers = sorted(place for place in places if place not in names and place.split("/")[0] not in found)
    if strangers:
        raise ValueError(f"{len(strangers)} arrays that no layer has, {strangers[0]!r} first; is the file of Keras?")
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice; give every layer a name of its own and save the model again")
    return sorted(found)


def configured_layers(config: Mapping[str, Any], inside: str = "") -> dict[str, str]:
    """Names of layers by their places, of the configuration in a `.keras` archive.

    Raises TypeError, KeyError or AttributeError when it is none.
    """
    settings = config["config"]
    names: dict[str, str] = {}
    if isinstance(settings.get("layer"), dict):  # of a wrapper such as TimeDistributed
        place = f"{inside}layer"
        names = {place: settings["layer"]["config"]["name"]} | configured_layers(settings["layer"], f"{place}/")
    kinds: Counter[str] = Counter()
    for layer in settings.get("layers", []):
        kind = _snake_case(layer["class_name"])
        place = f"{inside}layers/{kind}_{kinds[kind]}" if kinds[kind] else f"{inside}layers/{kind}"
        kinds[kind] += 1
        names |= {place: layer["config"]["name"]} | configured_layers(layer, f"{place}/")
    return names


def _layer_path(layer: str, layers: Mapping[str, str]) -> str:
    """Names of a layer and of those it is in, as `base/stem_conv` for `layers/functional/layers/conv2d`."""
    parts = layer.split("/")
    places = ["/".join(parts[: end + 1]) for end in range(len(parts)) if parts[end] != "layers"]
    nameless = [place for place in places if not layers.get(place)]
    if nameless:
        raise ValueError(f"layer {nameless[0]!r} has no name in it; load it in Keras and save it as .keras")
    return "/".join(layers[place] for place in places)


def _snake_case(kind: str) -> str:
    """`BatchNormalization` as `batch_normalization`, `Conv2D` as `conv2d`."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", kind).lower()


# The arrays of a layer's class, as Keras spells it in a file, in their order.
_VARIABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "conv2d": (("kernel",), ("kernel", "bias")),
    "conv2d_transpose": (("kernel",), ("kernel", "bias")),
    "depthwise_conv2d": (("kernel",), ("kernel", "bias")),
    "dense": (("kernel",), ("kernel", "bias")),
    "batch_normalization": (("gamma", "beta", "moving_mean", "moving_variance"), ("moving_mean", "moving_variance")),
    "normalization": (("mean", "variance", "count"),),
}
