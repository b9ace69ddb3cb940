"""Name cells with a trained classifier of crops: `load_classifier("runs/b3").probabilities(crops)`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from wbcjax.enhance import AS_THEY_ARE, Enhancement
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.temperature import scaled
from wbcjax.input.crop_pipeline import fit_crop
from wbcjax.input.settings import CropSetSettings
from wbcjax.models import efficientnet
from wbcjax.models.fold import fold, folded
from wbcjax.models.settings import EfficientNetSettings, from_dict
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices
from wbcjax.predict.views import TURNS, UPRIGHT, View, turned
from wbcjax.runs.calibration import temperatures
from wbcjax.runs.folder import CLASSIFICATION, check_kind, load_config, load_facts
from wbcjax.runs.located import located
from wbcjax.runs.packed import variables_of
from wbcjax.runs.stablehlo import ExportedNetwork, load_network
from wbcjax.settings.parts import Trust
from wbcjax.smear.crops import annotated_crops, cut_crop, resize
from wbcjax.smear.field import Cell, SmearField, as_rgb

BATCH = 32  # crops that a device processes at a time
CUT = ("margin", "size", "mask_background")  # settings that are needed to cut cells out

# (variables, crops on canvases (n, h, w, 3), uint8) -> probabilities of the classes (n, classes)
Network = Callable[[Any, Any], jax.Array]


@dataclass(eq=False)
class CropClassifier:
    """An EfficientNet with its weights; compiled on first use, for its canvas.

    network: a `Network` with its variables.
    classes: names of label 0, 1, ...
    cut: how the crops it was trained on were cut out of fields, as `wbcjax crop` notes it; None where not known.
    enhance: the enhancement of these crops.
    views: in which each crop is shown; the probabilities are the means over them.
    temperature, tta_temperature: by which they are calibrated, and those of `with_tta`; 1: they are not.
    """

    network: OnLocalDevices
    canvas: tuple[int, int]
    classes: tuple[str, ...]
    cut: dict[str, Any] | None = None
    enhance: Enhancement = AS_THEY_ARE
    views: tuple[View, ...] = (UPRIGHT,)
    temperature: float = 1.0
    tta_temperature: float = 1.0

    def with_tta(self) -> "CropClassifier":
        """The same, which sees each crop in the eight flips and turns of a square."""
        return replace(self, views=TURNS, temperature=self.tta_temperature)

    def with_variables(self, variables: Any) -> "CropClassifier":
        """The same with other variables, without compiling again. They leave the devices when it is deleted."""
        return replace(self, network=OnLocalDevices(self.network.compiled, variables))

    def probabilities(self, crops: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> Float[np.ndarray, "n c"]:
        """The probabilities of the classes for each RGB crop, of any size, as it was cut out.

        Raises ValueError for any other image, naming it by its number from 0.
        """
        if not isinstance(crops, Iterable) or isinstance(crops, (str, bytes)) or getattr(crops, "ndim", 4) == 3:
            raise ValueError(f"needs crops one after the other, as in a list, got one {type(crops).__name__}")
        rgb = (as_rgb(crop, f"crop {number}") for number, crop in enumerate(crops))
        return self.probabilities_of_enhanced(self.enhance(crop) for crop in rgb)

    def probabilities_of_enhanced(self, crops: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> Float[np.ndarray, "n c"]:
        """The same for crops that are enhanced already, as those of a built set are."""
        shown = (turned(crop, view) for crop in crops for view in self.views)
        batches = self.network.over(shown, lambda crop: (fit_crop(crop, self.canvas),))
        rows = [found[: len(batch)] for batch, found in batches]
        of_views = np.concatenate([np.zeros((0, len(self.classes)), np.float32), *rows])
        found = of_views.reshape(-1, len(self.views), len(self.classes)).mean(axis=1)
        return found if self.temperature == 1 else scaled(found, self.temperature)

    def name(self, image: UInt8[np.ndarray, "h w 3"], cells: FieldDetections) -> FieldDetections:
        """The cells found in an RGB image, each with its most probable class (its label less one) and the probability.

        Raises as `probabilities_of`.
        """
        found = self.probabilities_of(image, cells)
        return replace(cells, labels=found.argmax(axis=1).astype(np.int32) + 1, scores=found.max(axis=1))

    def probabilities_of(self, image: UInt8[np.ndarray, "h w 3"], cells: FieldDetections) -> Float[np.ndarray, "d c"]:
        """The probabilities of the classes for each cell found in an RGB image.

        They are cut out as the crops of the training were. Raises ValueError when that is not known.
        """
        cut = self.cut_settings()
        image = as_rgb(image, cells.name)
        field = SmearField(
            name=cells.name,
            height=cells.height,
            width=cells.width,
            cells=tuple(Cell(int(label), rle=rle) for label, rle in zip(cells.labels, cells.rles, strict=True)),
            pixels=image,
        )
        crops = annotated_crops(field, cut["margin"])
        pixels = (cut_crop(field, image, crop, cut["mask_background"]) for crop in crops)
        return self.probabilities(pixels if cut["size"] is None else (resize(crop, cut["size"]) for crop in pixels))

    def cut_settings(self) -> dict[str, Any]:
        """How the crops of the training were cut. Raises ValueError when that is not known."""
        if self.cut is None:
            raise ValueError(
                "the classifier was trained on crops without a crops.json, so how to cut cells out for it is not "
                "known: train it on crops that `wbcjax crop` wrote"
            )
        if lacking := [name for name in CUT if name not in self.cut]:
            raise ValueError(
                f"the crops.json of the classifier's training lacks {', '.join(lacking)}: train it on crops that "
                "`wbcjax crop` wrote"
            )
        return self.cut


def crop_classifier(
    network: Network, dataset: CropSetSettings, variables: Any = None, cut: dict[str, Any] | None = None
) -> CropClassifier:
    """A CropClassifier of a network that is trained on crops of these settings."""
    local = OnLocalDevices(CompiledNetwork(network, BATCH), variables)
    return CropClassifier(local, dataset.canvas, dataset.classes, cut, dataset.enhancement)


def live_network(model: EfficientNetSettings, classes: Sequence[str], cpu: bool | None = None) -> Network:
    """The EfficientNet of these settings, as a function of its trained variables.

    cpu: as in `efficientnet.build`.
    """
    return partial(_classify_live, efficientnet.build(model, len(classes), cpu))


# Module-level functions can be pickled, unlike closures; so a CropClassifier can be too.
def _classify_live(model: efficientnet.Classifier, variables: Any, crops: jax.Array) -> jax.Array:
    logits: Any = model.apply(variables, crops)
    return jax.nn.softmax(logits)


def _classify_exported(exported: ExportedNetwork, weights: Any, crops: jax.Array) -> jax.Array:
    return exported(weights, crops)["probabilities"]


def load_classifier(place: str | Path, which: str = "best", trust_parts: Trust = False) -> CropClassifier:
    """The classifier of a training run, with its best or latest weights, or of an exported file.

    trust_parts: whether to run code from outside of wbcjax that the run's config names.

    Raises FileNotFoundError when `place` holds no run and is no file, ValueError for a run or file of another kind,
    Untrusted as `load_config`.
    """
    place = located(place)
    config = load_config(place, trust_parts)
    check_kind(config, CLASSIFICATION, place)
    model = from_dict(EfficientNetSettings, config.model.to_dict())
    dataset, cut = CropSetSettings.from_config(config.dataset), load_facts(place).get("cut")
    if place.is_file():
        exported, weights = load_network(place)
        found, step = crop_classifier(partial(_classify_exported, exported), dataset, weights, cut), None
    else:
        variables, step = variables_of(place, which)
        network = folded(live_network(model, dataset.classes))
        found = crop_classifier(network, dataset, fold(variables, model.norm_epsilon), cut)
    plain, tta = temperatures(place, step)
    return replace(found, temperature=plain, tta_temperature=tta)
