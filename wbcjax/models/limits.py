"""Limits on the number of cells that a model can find in an image, and those that a set's most crowded field needs.

Shapes are fixed when a model is compiled. So every stage keeps a fixed number of its best and drops the rest silently:
the RPN's anchors before NMS, its proposals, the candidates before the last NMS, and the detections after it.
"""

import logging
from collections.abc import Mapping, Sequence

from wbcjax.system.run_files import CONFIG

log = logging.getLogger(__name__)

# The limits that a prediction may fill, in the order of `Detections.full`.
LIMITS: tuple[str, ...] = ("rpn.before_nms_test", "rpn.proposals_test", "detection.candidates", "detection.per_image")

# Places for each cell of the most crowded field: a cell is found in several boxes, by neighbouring anchors and under
# neighbouring classes. On 60 drawn fields of 12 to 16 cells of three classes the demonstration's mask AP, 56.5 where
# nothing is limited, stays within half a point by 200 anchors a level before NMS (56.4), 100 proposals (56.9), 300
# candidates (56.1) and 48 detections (56.5); 100, 48, 200 and 32 of them give 55.5, 55.6, 53.0 and 54.7.
PLACES = {
    "rpn.before_nms_train": 12,
    "rpn.before_nms_test": 12,
    "rpn.proposals_train": 6,
    "rpn.proposals_test": 6,
    "roi.samples": 3,  # of which a quarter are cells, each image and step: as many as `configs.base.small` for 16 cells
    "detection.candidates": 20,
    "detection.per_image": 3,
}


def needed(cells: int) -> dict[str, int]:
    """The limits, by their names in `config.model`, for fields of up to `cells` cells."""
    return {name: places * cells for name, places in PLACES.items()}


def check_room(limits: Mapping[str, int], max_cells: int, cells: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse training fields with more cells than a batch can hold; warn of fields with more than can be found.

    `limits` are the model's, by the names of `PLACES`; `max_cells` is the number of cells of a field in a batch;
    `cells` is the number of cells of each field by name, of each split that the training uses. Raises ValueError that
    names the fields and every limit that must grow with them.
    """
    most = max(count for of_split in cells.values() for count in of_split.values())
    low = {name: count for name, count in needed(most).items() if limits[name] < count}
    if crowded := {name: n for name, n in cells["train"].items() if n > max_cells}:
        listed = "\n".join(f"  {name}: {count} cells" for name, count in crowded.items())
        raise ValueError(
            f"dataset.max_cells is {max_cells}; set it to {max(crowded.values())} or more, for\n{listed}"
            + (f"\nThat so many can be found, set too {_settings(limits, low)}" if low else "")
        )
    if never := {name: count for name, count in low.items() if name in LIMITS and limits[name] < most}:
        log.warning(
            "a field has %d cells, and the model can find no more than %d of them: set %s",
            most,
            min(limits[name] for name in never),
            _settings(limits, low),
        )


def _settings(limits: Mapping[str, int], values: Mapping[str, int]) -> str:
    """The limits as arguments of the command line, with their present values."""
    each = (f"--config.model.{name}={value} ({limits[name]} now)" for name, value in values.items())
    return ", ".join(each)


class FilledLimits:
    """The images that fill limits of a model, by limit. Unknown limits are not noted."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits  # by name
        self._images: dict[str, list[str]] = {}  # by limit

    def note(self, image: str, full: Sequence[str]) -> None:
        """Note that an image, or a tile of it, fills these limits."""
        for name in full:
            images = self._images.setdefault(name, [])
            if name in self._limits and image not in images[-1:]:
                images.append(image)

    def tell(self) -> None:
        """Warn of all of them in one line."""
        filled = {name: images for name, images in self._images.items() if images}
        if not filled:
            return
        each = [
            f"config.model.{name} = {self._limits[name]} is full in {len(images)} (such as {images[0]})"
            for name, images in filled.items()
        ]
        log.warning(
            "some images may hold more cells than the model can find, and those of low score are dropped: %s. Raise "
            f"these, to twice as many or more, in the {CONFIG} of the run; it need not be trained again",
            "; ".join(each),
        )
