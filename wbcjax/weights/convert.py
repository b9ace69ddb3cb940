"""A weights file as a model of ours by itself, without a model to initialise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float, Shaped

from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models.settings import EfficientNetSettings, MaskRCNNSettings
from wbcjax.weights.dialects import Settings
from wbcjax.weights.initialise import initialise, initialise_from_ours, sort
from wbcjax.weights.report_text import Report
from wbcjax.weights.sources import Source, needed, ours, recognise


class Converted(NamedTuple):
    """Weights by our paths (`params/backbone/conv1/kernel`), float32, and the model that they are of."""

    arrays: dict[str, Float[np.ndarray, "..."]]
    settings: Settings  # as far as its forward pass goes; else those of its library
    needs: dict[str, tuple[Any, ...]]  # fields of `config.model` that a model must have to use them, and their values
    classes: int | None  # of a detector with the background; None without a head that names classes
    report: Report
    of_backbone: dict[str, tuple[Any, ...]]  # as `needs`, of a detector that takes a classifier's weights

    def text(self) -> str:
        """The account of the arrays, and the settings that they need, in lines."""
        background = ", the background among them" if isinstance(self.settings, MaskRCNNSettings) else ""
        classes = "without classes" if self.classes is None else f"{self.classes} classes{background}"
        lines = [self.report.text(), classes, "config.model needs"]
        lines += _listed(self.needs)
        if self.of_backbone:
            lines += ["for the backbone of a Mask R-CNN, config.model needs", *_listed(self.of_backbone)]
        return "\n".join(lines)


def convert(arrays: Mapping[str, Shaped[np.ndarray, "..."]], trained_with: Settings | None = None) -> Converted:
    """The arrays of a weights file as variables of ours; all must fit the model that their names imply.

    trained_with: the settings of a model of this package, which names do not imply; None: the arrays are another
    library's. `initialise_from_ours` takes the result. Raises ValueError as `initialise` does.
    """
    source = recognise(arrays) if trained_with is None else ours(trained_with, arrays)
    placed, _, _, parts, settings = sort(arrays, source)
    head = placed.get(f"{source.heads[0]}/kernel") if source.heads else None
    features, classes = head.array.shape if head and head.array.ndim == 2 else (0, None)
    variables = _shapes(settings, features, classes or 2)
    if trained_with is None:
        filled, report = initialise(variables, arrays, settings)
    else:
        filled, report = initialise_from_ours(variables, arrays, settings, trained_with)
    flat: dict[str, Any] = flatten_dict(filled, sep="/")
    loaded = {path: flat[path] for path in report.loaded.values()}
    needs = needed(source, settings, parts)
    return Converted(loaded, settings, needs, classes, report._replace(initial=()), _of_backbone(source, arrays))


def _listed(needs: Mapping[str, tuple[Any, ...]]) -> list[str]:
    return [f"  {field}: {' or '.join(map(repr, values))}" for field, values in needs.items()]


def _of_backbone(source: Source, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[Any, ...]]:
    """The fields that a detector needs to take a classifier's weights for its backbone; none for other weights."""
    if source.of_backbone is None:
        return {}
    detector = source.into(MaskRCNNSettings())
    found = sort(arrays, detector)
    return needed(detector, found.dialect, found.parts)


def _shapes(settings: Settings, features: int, classes: int) -> dict[str, Any]:
    """Those of a model's variables; `features` enter its head, 0 when not known."""
    if isinstance(settings, EfficientNetSettings):
        # A head may have weights for each position of the last map, which is one for 32 x 32 pixels.
        places = max(features // efficientnet.scaled_channels(efficientnet.TOP, settings.width), 1)
        return efficientnet.shapes(efficientnet.Classifier(settings, classes), (32, 32 * places))
    model = mask_rcnn.MaskRCNN(settings, classes)
    return jax.eval_shape(lambda: mask_rcnn.init(model, 0))
