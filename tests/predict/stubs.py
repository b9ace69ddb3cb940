"""A model that finds exactly what is painted, whatever its shape, in any view: without a network."""

from collections.abc import Iterable, Iterator

import numpy as np
from pycocotools import mask as coco_mask

from wbcjax.enhance import AS_THEY_ARE
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.search import Ensemble, Layout, Picture, Search, ShownLarge
from wbcjax.predict.views import VIEWS
from wbcjax.smear.field import text_rle

CLASSES = ("L1", "L2", "L3")


class Painted(Search):
    """Takes each value of red but 0 for a cell: of the class that green names, and the score blue / 255."""

    def __init__(self, classes: tuple[str, ...] = CLASSES, tta_temperature: float = 1.0) -> None:
        self.classes, self.enhance, self.min_score, self.max_pixels = classes, AS_THEY_ARE, 0.5, 10**6
        self.pixel_size, self.cell_sides, self.temperature = 0.0, None, 1.0
        self.tta_temperature = tta_temperature
        self.canvas = (64, 96)
        self.shown: list[Picture] = []

    def with_tta(self) -> Ensemble:
        return Ensemble((self,), VIEWS, self.tta_temperature)

    def layout(self, height: int, width: int, pixel_size: float = 0.0, zoom: float = 1.0) -> Layout:
        return Layout(zoom, [(0, 0)])

    def shown_large(self, pixel_size: float = 0.0) -> ShownLarge:
        return ShownLarge(1.0, self.canvas)

    def find(self, pictures: Iterable[Picture]) -> Iterator[FieldDetections]:
        for picture in pictures:
            self.shown.append(picture)
            yield cells_in(picture.name, picture.image)


def cells_in(name: str, image: np.ndarray) -> FieldDetections:
    numbers = [number for number in np.unique(image[..., 0]).tolist() if number]
    masks = [image[..., 0] == number for number in numbers]
    of_cell = [image[mask][0] for mask in masks]
    return FieldDetections(
        name=name,
        height=image.shape[0],
        width=image.shape[1],
        boxes=np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4),
        labels=np.array([green for _, green, _ in of_cell], np.int32),
        scores=np.array([blue / 255 for _, _, blue in of_cell], np.float32),
        rles=[rle(mask) for mask in masks],
    )


def rle(mask: np.ndarray) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    y, x = np.nonzero(mask)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
