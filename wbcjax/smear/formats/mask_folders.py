"""Readers of folders with a mask file for each cell, whose pixels of the cell are not 0. Two layouts:

- 2018 Data Science Bowl (https://www.kaggle.com/c/data-science-bowl-2018/data): <id>/images/<id>.png, and
  <id>/masks/*.png. The root of the ids is both the annotations and the image folder.
- SegPC-2021 (https://doi.org/10.21227/7np1-2q42): <image>_<number>.bmp in one folder, the images in another. A mask
  holds one value for the cytoplasm and one for the nucleus (20 and 40): both are the cell.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats import folders, mask_files
from wbcjax.smear.formats.checks import Fault, Reading
from wbcjax.smear.formats.format import Format, Place
from wbcjax.smear.formats.image_names import IMAGES

DRAW_MASKS = "draw masks of its cells, if it has any"


def fields(reading: Reading) -> list[SmearField]:
    """The fields of a folder of masks of either layout, by name. All cells are of class "cell".

    A masks folder without files makes a field without cells; images that have no masks at all are noted as suspect.
    """
    inner = id_folders(reading.annotations)
    found = _fields_of_id_folders(reading, inner) if inner else _fields_of_numbered_masks(reading)
    return [field for field in found if field is not None]


def id_folders(root: Path) -> list[Path]:
    """The folders of a root of the Data Science Bowl's layout, by name; none when not one of them has masks."""
    if not any(path.is_dir() for path in root.glob("*/masks")):
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _fields_of_id_folders(reading: Reading, inner: list[Path]) -> list[SmearField | None]:
    if reading.annotations.resolve() != reading.images.resolve():
        found = "the images lie beside the masks, and another image folder is given"
        raise Fault(found, "give this folder for the images, too")
    found = []
    for folder in inner:
        with reading.at(folder.name):
            name = _image_in(folder)
            if (folder / "masks").is_dir():
                found.append(_field(reading, name, folders.files(folder / "masks", IMAGES)))
            else:
                remedy = "add its masks, or an empty folder named masks if it shows no cell"
                reading.suspect(name, "", "it has no annotations, and is left out", remedy)
    return found


def _image_in(folder: Path) -> str:
    """The name of an id's image, relative to the root. Faults: there is none, or there are several."""
    images = folders.files(folder / "images", IMAGES) if (folder / "images").is_dir() else []
    if len(images) != 1:
        raise Fault(f"its folder images holds {len(images)} images", "keep the one image that the masks are for there")
    return f"{folder.name}/images/{images[0].name}"


def _fields_of_numbered_masks(reading: Reading) -> list[SmearField | None]:
    names_of = folders.images_by_stem(reading.images)
    files = folders.annotation_files(reading.annotations, IMAGES)
    if files[0].parent.resolve() == reading.images.resolve():
        raise Fault("masks and images lie in one folder", "put the masks in a folder of their own")
    masks_by_stem = defaultdict(list)
    for file in files:
        with reading.at(reading.annotations.name, f"mask {file.name}"):
            stem = folders.stem_of_numbered(file)
            if stem is None:
                raise Fault("its name is not <image>_<number>", "name it after its image, with a number for the cell")
            masks_by_stem[folders.stem_of_label(reading, file, stem)].append(file)
    found = []
    for stem, masks in sorted(masks_by_stem.items()):
        with reading.at(f"{stem}_*"):
            name = folders.image_of_stem(reading, masks[0], stem)
            found.append(_field(reading, name, sorted(masks, key=lambda mask: int(mask.stem.rpartition("_")[2]))))
    folders.suspect_images_without(reading, names_of, set(), set(masks_by_stem), DRAW_MASKS)
    return found


def _field(reading: Reading, name: str, files: list[Path]) -> SmearField | None:
    path, size = None, None
    with reading.at(name):
        path, size = reading.image(name)
    cells, apart = [], []
    for file in files:
        with reading.at(name, f"mask {file.name}"):
            label = reading.label(mask_files.CLASS_NAME)
            if label == 0:
                continue
            mask = _mask(file, size, reading.max_pixels, path)
            cells.append(Cell(label, rle=mask_files.rle_of(mask)))
            if mask_files.in_parts(mask):
                apart.append(file.name)
    mask_files.suspect_parts(reading, name, apart, len(cells), "save a mask for each cell")
    if path is None or size is None:
        return None
    return SmearField(name, *size, tuple(cells), path, max_pixels=reading.max_pixels)


def _mask(file: Path, size: tuple[int, int] | None, max_pixels: int, image: Path | None) -> UInt8[np.ndarray, "h w"]:
    """The pixels of a mask file that are not 0, in any colour, as 1. Faults: another size, empty, or unreadable."""
    values = mask_files.read_values(file, "the mask", max_pixels)
    if size is not None:
        folders.check_size("the mask has", (values.shape[0], values.shape[1]), size, image)
    if values.ndim == 3:
        values = values[..., :3].max(axis=2)  # (h, w), without an alpha channel
    if not values.any():
        raise Fault("the mask is empty", "delete it or draw the cell")
    return (values != 0).astype(np.uint8)


def _recognises(place: Place) -> bool:
    labels, masks = place.named_after_images
    return masks > labels or bool(place.is_folder and id_folders(place.path))


FORMAT = Format(
    name="mask_folders",
    tools="one mask for each cell",
    content="the layouts of SegPC-2021 and of the 2018 Data Science Bowl",
    recognises=_recognises,
    fields=fields,
)
