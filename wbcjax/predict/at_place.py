"""What a model sees at a place of an image that a person points at, however little it thinks of it."""

import numpy as np

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.detector import Predictor
from wbcjax.predict.search import Ensemble, Picture, Search
from wbcjax.smear.rle import cut_outs


def detect_at(model: Search, picture: Picture, place: tuple[float, float]) -> FieldDetections:
    """The detections of any score whose mask has the pixel at a place (x, y) of a picture, which is not enhanced yet.

    They are of the network's proposals around the place, see `MaskRCNN.predict_at`; of an ensemble's first member. An
    exported model, which takes no place, gives those of its detections in the whole image.
    """
    member = model.members[0] if isinstance(model, Ensemble) else model
    if isinstance(member, Predictor) and member.at_place is not None:
        found = member.find_at(picture._replace(image=member.enhance(picture.image)), place)
    else:
        found = member.detect(picture.image, picture.name, picture.pixel_size)
    return found.select(np.array(_rows_at(found, place), np.int64))


def _rows_at(found: FieldDetections, place: tuple[float, float]) -> list[int]:
    column, row = int(place[0]), int(place[1])
    rows = []
    for number, (mask, left, top) in enumerate(cut_outs(found.rles)):
        inside = 0 <= row - top < mask.shape[0] and 0 <= column - left < mask.shape[1]
        if inside and mask[row - top, column - left]:
            rows.append(number)
    return rows
