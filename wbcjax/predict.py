"""Find cells with a trained Mask R-CNN: `wbcjax.load("runs/demo").predict(image)`, for an image of any size."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from wbcjax.evaluate.detections import FieldDetections, detect
from wbcjax.input.augment import fit_scale
from wbcjax.input.builder import Source
from wbcjax.input.pipeline import eval_batches, fit
from wbcjax.models import mask_rcnn
from wbcjax.models.mask_rcnn import Detections, MaskRCNN
from wbcjax.train.checkpoint import load_variables

CANVAS_UNIT = 32  # pixels: the stride of C5, which the FPN must double exactly on its way up


class Predictor:
    """A Mask R-CNN with its weights; compiled once, on first use, for its canvas."""

    def __init__(self, model: MaskRCNN, canvas: tuple[int, int], classes: Sequence[str], variables: Any = None) -> None:
        self.canvas = canvas
        self.classes = tuple(classes)  # of label 1, 2, ...
        self.variables = variables
        self.compilations = 0
        self._aligned = model.settings.roi.convention == "aligned"

        def apply(variables: Any, image: jax.Array, size: jax.Array) -> Detections:
            self.compilations += 1  # runs only while JAX traces
            return model.apply(variables, image, size, method="predict")  # type: ignore[return-value]

        self._apply = jax.jit(apply)

    def predict(self, image: UInt8[np.ndarray, "h w 3"], name: str = "image") -> FieldDetections:
        """Cells found in an RGB image, with boxes and masks in its own pixels. Raises ValueError for another format."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"{name}: predict needs RGB as (height, width, 3) uint8, got {image.shape} {image.dtype}")
        height, width = image.shape[:2]
        drawn, scale = fit(image, self.canvas)
        size = np.array([[height * scale, width * scale]], np.float32)
        found = jax.device_get(self._apply(self.variables, drawn[None], size))
        return self._in_field(found, 0, name, height, width, scale)

    def predict_source(self, source: Source, config: ConfigDict) -> Iterator[FieldDetections]:
        """Cells found in every field of a built set, in its order. `config` is a whole experiment's."""
        for batch in eval_batches(source, config):
            found = jax.device_get(self._apply(self.variables, batch.image, batch.size))
            for row, index in enumerate(batch.index):
                if index >= 0:
                    field = source.field(int(index))
                    scale = fit_scale(field.height, field.width, self.canvas)
                    yield self._in_field(found, row, field.name, field.height, field.width, scale)

    def _in_field(
        self, found: Detections, row: int, name: str, height: int, width: int, scale: float
    ) -> FieldDetections:
        """Detections of one image of a batch, from canvas pixels to the field's own."""
        real = np.asarray(found.valid[row])
        boxes, labels, scores, masks = (np.asarray(x[row])[real] for x in found[:4])
        limit = np.array([width, height, width, height], np.float32)
        boxes = np.minimum(boxes / np.float32(scale), limit)
        return detect(name, height, width, boxes, labels, scores, masks, self._aligned)


def load(workdir: str | Path, which: str = "best") -> Predictor:
    """The model of a training run, with its best or latest weights.

    Raises FileNotFoundError when `workdir` holds no run.
    """
    config = load_config(workdir)
    variables, _ = load_variables(Path(workdir), which)
    return predictor(config, variables)


def load_config(workdir: str | Path) -> ConfigDict:
    """The config that a run was trained with."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the workdir of a training run")
    return ConfigDict(json.loads(path.read_text()))


def predictor(config: ConfigDict, variables: Any = None) -> Predictor:
    """A Predictor of the model that a whole experiment's `config` describes. Raises ValueError for a wrong canvas."""
    canvas = tuple(config.dataset.canvas)
    if len(canvas) != 2 or any(side <= 0 or side % CANVAS_UNIT for side in canvas):
        raise ValueError(
            f"config.dataset.canvas is {canvas}; give (height, width) in multiples of {CANVAS_UNIT} pixels"
        )
    model = mask_rcnn.from_config(config.model, num_classes=len(config.dataset.classes) + 1)
    return Predictor(model, canvas, config.dataset.classes, variables)
