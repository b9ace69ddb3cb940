"""Name cells with a trained classifier of crops: `load_classifier("runs/b3").probabilities(crops)`."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from wbcjax.enhance import METHODS
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.contents import enhancement
from wbcjax.input.crop_pipeline import fit_crop
from wbcjax.models import efficientnet
from wbcjax.models.efficientnet import Classifier
from wbcjax.run import CLASSIFICATION, check_task, load_config, load_facts
from wbcjax.smear.crops import annotated_crops, cut_crop
from wbcjax.smear.field import Cell, SmearField
from wbcjax.train.checkpoint import load_variables

BATCH = 32  # crops that the network sees at a time


class CropClassifier:
    """An EfficientNet with its weights; compiled once, on first use, for its canvas.

    cut: how the crops it was trained on were cut out of fields, as `wbcjax crop` notes it; None where not known.
    enhance: the contrast enhancement of these crops, one of `wbcjax.enhance.METHODS`.
    """

    def __init__(
        self,
        model: Classifier,
        canvas: tuple[int, int],
        classes: Sequence[str],
        variables: Any = None,
        cut: dict[str, Any] | None = None,
        enhance: str = "none",
    ) -> None:
        self.canvas = canvas
        self.classes = tuple(classes)  # of label 0, 1, ...
        self.variables = variables
        self.cut = cut
        self.enhance = enhance

        def apply(variables: Any, crops: jax.Array) -> jax.Array:
            logits: Any = model.apply(variables, crops)
            return jax.nn.softmax(logits)

        self._apply = jax.jit(apply)

    def probabilities(self, crops: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> Float[np.ndarray, "n c"]:
        """How probable each class is for each RGB crop, of any size, as it was cut out."""
        return self.probabilities_of_enhanced(METHODS[self.enhance](crop) for crop in crops)

    def probabilities_of_enhanced(self, crops: Iterable[UInt8[np.ndarray, "_ _ 3"]]) -> Float[np.ndarray, "n c"]:
        """The same of crops that are enhanced already, as those of a built set are."""
        rows = [np.zeros((0, len(self.classes)), np.float32), *self._batches(fit_crop(c, self.canvas) for c in crops)]
        return np.concatenate(rows)

    def name(self, image: UInt8[np.ndarray, "h w 3"], cells: FieldDetections) -> FieldDetections:
        """The cells found in an RGB image, each with its likeliest class (its label less one) and how probable it is.

        They are cut out as the crops of the training were. Raises ValueError when it is not known how.
        """
        cut = self.cut_settings()
        field = SmearField(
            name=cells.name,
            height=cells.height,
            width=cells.width,
            cells=tuple(Cell(int(label), rle=rle) for label, rle in zip(cells.labels, cells.rles, strict=True)),
            pixels=image,
        )
        crops = annotated_crops(field, cut["margin"])
        found = self.probabilities(cut_crop(field, image, crop, cut["mask_background"]) for crop in crops)
        labels, scores = found.argmax(axis=1).astype(np.int32) + 1, found.max(axis=1)
        return dataclasses.replace(cells, labels=labels, scores=scores)

    def cut_settings(self) -> dict[str, Any]:
        """How the crops of the training were cut. Raises ValueError when that is not known."""
        if self.cut is None:
            raise ValueError(
                "the classifier was trained on crops without a crops.json, so how to cut cells out for it is not "
                "known: train it on crops that `wbcjax crop` wrote"
            )
        return self.cut

    def _batches(self, drawn: Iterator[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Float[np.ndarray, "b c"]]:
        while batch := list(islice(drawn, BATCH)):
            padded = np.stack(batch + batch[-1:] * (BATCH - len(batch)))
            yield np.asarray(self._apply(self.variables, padded))[: len(batch)]


def crop_classifier(config: ConfigDict, variables: Any = None, cut: dict[str, Any] | None = None) -> CropClassifier:
    """A CropClassifier of the model that a whole experiment's `config` describes."""
    classes, canvas = tuple(config.dataset.classes), tuple(config.dataset.canvas)
    model = efficientnet.from_config(config.model, num_classes=len(classes))
    return CropClassifier(model, canvas, classes, variables, cut, enhancement(config.dataset))


def load_classifier(workdir: str | Path, which: str = "best") -> CropClassifier:
    """The classifier of a training run, with its best or latest weights.

    Raises FileNotFoundError when `workdir` holds no run, ValueError when it holds one of another kind.
    """
    workdir = Path(workdir)
    config = load_config(workdir)
    check_task(config, CLASSIFICATION, workdir)
    variables, _ = load_variables(workdir, which)
    return crop_classifier(config, variables, load_facts(workdir).get("cut"))
