"""A network that finds just what is there: rectangles, each of a colour that says which cell it is."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.models.mask_rcnn import Detections, MaskRCNN
from wbcjax.models.settings import TORCHVISION
from wbcjax.predict.detector import Predictor
from wbcjax.predict.devices import CompiledNetwork, OnLocalDevices

CELLS = 20
CLASSES = ("L1", "L2", "L3")
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2


class Oracle(MaskRCNN):
    """Sees cell k by red 10 k and blue 255 - 10 k, which is its score too; green is its class. Edges that a scaled
    image has blurred are no cell's."""

    def predict(self, image, size):
        red, _, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
        number = jnp.where(red + blue == 255, red, 0)
        inside = number[:, None] == 10 * jnp.arange(1, CELLS + 1)[:, None, None]  # (n, cells, h, w)
        rows, columns = inside.any(axis=3), inside.any(axis=2)
        x1, y1 = columns.argmax(axis=2), rows.argmax(axis=2)
        x2, y2 = columns.shape[2] - columns[..., ::-1].argmax(axis=2), rows.shape[2] - rows[..., ::-1].argmax(axis=2)
        green, blue = (jnp.where(inside, image[:, None, ..., channel], 0).max(axis=(2, 3)) for channel in (1, 2))
        boxes = jnp.stack([x1, y1, x2, y2], axis=-1).astype(jnp.float32)
        masks = jnp.ones((*green.shape, 28, 28))
        return Detections(boxes, green.astype(jnp.int32), blue / 255.0, masks, rows.any(axis=2))


def oracle(canvas: tuple[int, int], scales: tuple[float, float] | None = None) -> Predictor:
    model = Oracle(TORCHVISION, len(CLASSES) + 1)

    def network(variables: Any, image: Any, size: Any) -> Any:
        return model.apply(variables, image, size, method="predict")

    return Predictor(OnLocalDevices(CompiledNetwork(network, 1), {}), canvas, CLASSES, "detectron2", scales)


def paint(height: int, width: int, cells: dict[Rectangle, int]) -> np.ndarray:
    """An image that the oracle can read, of cells given by place and class; the first are the surest."""
    image = np.zeros((height, width, 3), np.uint8)
    for number, ((x1, y1, x2, y2), label) in enumerate(cells.items(), start=1):
        image[y1:y2, x1:x2] = 10 * number, label, 255 - 10 * number
    return image


def as_set(found: FieldDetections) -> set[tuple]:
    """What was found, in any order."""
    rows = zip(found.boxes.round(2).tolist(), found.labels, found.scores, found.rles, strict=True)
    return {(tuple(box), int(label), round(float(score), 4), rle["counts"]) for box, label, score, rle in rows}
