"""Crops in class folders as a TFDS set of array records, built once and cached under a hash of its contents."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from wbcjax.enhance import AS_THEY_ARE, Enhancement
from wbcjax.input.array_records import (
    Rows,
    cache_root,
    digests_of,
    image_files,
    one_at_a_time,
    prepare,
    record_format,
)
from wbcjax.input.crop_contents import Crop, check_classes, crop_sides, cut_settings
from wbcjax.input.digest import Digests, Item, pixels_digest
from wbcjax.input.settings import CropSetSettings
from wbcjax.input.split import PARTS
from wbcjax.smear.field import decode_image
from wbcjax.system.progress import shown

log = logging.getLogger(__name__)

FORMAT_VERSION = 2  # raise it whenever records change their layout


class CropSource:
    """One part of a built set: `len(source)`, `source.image(i)`, and by crop its name, group and label."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        items: Sequence[Item],
        classes: Sequence[str],
        cut: Mapping[str, Any] | None = None,
    ) -> None:
        self.items = tuple(items)  # of crop 0, 1, ...
        self.names = tuple(item.name for item in items)  # "class/file"
        self.groups = tuple(item.group or item.name for item in items)  # the group or field it is from
        self.labels = np.array([item.counts.index(1) for item in items], np.int32)  # (n,), 0..c-1
        self.classes = tuple(classes)  # of label 0, 1, ...
        self.cut = cut  # how the crops were cut: see `cut_settings`
        self._records = records

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Sequence[int]) -> "CropSource":
        """The crops `rows` of this part, in that order."""
        return CropSource(Rows(self._records, rows), [self.items[row] for row in rows], self.classes, self.cut)

    def counts(self) -> dict[str, int]:
        """How many crops there are, as "crops", and how many of each class."""
        per_class = {name: int((self.labels == label).sum()) for label, name in enumerate(self.classes)}
        return {"crops": len(self)} | per_class

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Crop `index`, RGB, at its own size, enhanced when the set is."""
        return decode_image(self._records[index]["image"], self.names[index])


def crop_source(dataset: CropSetSettings, part: str, cache_dir: str | Path | None = None) -> CropSource:
    """The part "train", "val" or "test" of a set, see `crop_sources`. Raises also ValueError when it has no crops."""
    return crop_part_of(crop_sources(dataset, cache_dir), part)


def crop_part_of(found: Mapping[str, CropSource], part: str) -> CropSource:
    """A part of a set, of those that have crops. Raises ValueError where it has none."""
    if part not in found:
        sizes = {name: len(found.get(name, ())) for name in PARTS}
        raise ValueError(f"split {part!r} has no crops (crops by split: {sizes}); change dataset.split")
    return found[part]


def crop_sources(dataset: CropSetSettings, cache_dir: str | Path | None = None) -> dict[str, CropSource]:
    """The parts, those with crops, of the set that `dataset` describes, built on first use.

    Sets are kept beside those of fields, see `cache_root`, in a folder named by a hash of their contents: a crop that
    changes, appears or disappears makes another set. Files in the folders that are not in the set are logged whenever
    it is opened.

    Raises FileNotFoundError for a folder that is not there; ValueError as `crop_sides` and `check_classes` do, and
    for crops that cannot be read, each by its name.
    """
    sides = crop_sides(dataset)
    check_classes(sides, dataset.classes)
    cut = cut_settings(dataset)

    root, enhance = cache_root(cache_dir), dataset.enhancement
    digests = digests_of(root, [dataset.crops, dataset.val_crops, dataset.test_crops])
    folder = root / f"{dataset.name}-{_fingerprint(sides, enhance, digests)}"
    if not _is_built(folder):
        with one_at_a_time(folder):
            if not _is_built(folder):  # by another process, meanwhile
                _build(folder, sides, enhance)
                if not folder.name.endswith(_fingerprint(sides, enhance, digests)):
                    shutil.rmtree(_open(folder).data_path)
                    raise ValueError("crops were changed while the set was being built of them: build it again")
    digests.remember()
    built = _open(folder)
    images = built.info.metadata["images"]
    # Images stay encoded here: TFDS does not decode as `decode_image` does, upright and with 8 bits a channel.
    decoders = {"image": tfds.decode.SkipDecoding()}
    return {
        part: CropSource(
            built.as_data_source(part, decoders=decoders),
            [_item(*of, dataset.classes) for of in zip(crops, images[part], strict=True)],
            dataset.classes,
            cut,
        )
        for part, crops in sides.items()
        if crops
    }


def _item(crop: Crop, image: str, classes: Sequence[str]) -> Item:
    """A crop as an item of a set; `image` is its `pixels_digest`. Its annotation is its class."""
    counts = tuple(int(label == crop.label) for label in range(len(classes)))
    return Item(crop.name, image, classes[crop.label], crop.group, counts)


class CellCrops(tfds.core.GeneratorBasedBuilder):
    """The record layout. Takes the crops of each split to build a set, none to open a built one."""

    VERSION = tfds.core.Version(f"{FORMAT_VERSION}.0.0")

    def __init__(
        self,
        *,
        data_dir: Path,
        sides: Mapping[str, Sequence[Crop]] | None = None,
        images: Mapping[str, Sequence[str]] | None = None,
        enhance: Enhancement = AS_THEY_ARE,
    ) -> None:
        self._sides = sides or {}
        self._images = images or {}  # `pixels_digest` of each crop
        self._enhance = enhance
        super().__init__(file_format=record_format(), data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Cells cut out of stained smear fields, and their classes.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),  # the file's own bytes, of whatever format, or PNG
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),
                    "label": np.int32,  # 0..c-1
                }
            ),
            metadata=tfds.core.MetadataDict(images={side: list(found) for side, found in self._images.items()}),
            disable_shuffling=True,  # record i is crop i of the split
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # TFDS cannot write an empty split; `crop_source` opens none.
        return {side: self._generate_examples(side, crops) for side, crops in self._sides.items() if crops}

    def _generate_examples(self, side: str, crops: Sequence[Crop]) -> Iterator[tuple[int, dict[str, Any]]]:
        each = shown(crops, f"write {side} crops", "crop")
        for index, (crop, image) in enumerate(zip(each, image_files(crops, self._enhance), strict=True)):
            yield index, {"image": image, "name": crop.name, "group": crop.group, "label": crop.label}


def _open(folder: Path) -> Any:
    """The set in a folder, which may not be there yet. Any: TFDS's decorators hide its signatures from pyright."""
    return CellCrops(data_dir=folder)


def _is_built(folder: Path) -> bool:
    return _open(folder).data_path.exists()


def _fingerprint(sides: Mapping[str, Sequence[Crop]], enhance: Enhancement, digests: Digests) -> str:
    """A hash of all in a set: each part's crops in their order, and the contents of their files."""
    rows = {side: [(c.name, c.group, c.label, digests.file(c.path)) for c in crops] for side, crops in sides.items()}
    contents = {"format": FORMAT_VERSION, "enhance": enhance.identity, "sides": rows}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]


def _build(folder: Path, sides: Mapping[str, Sequence[Crop]], enhance: Enhancement) -> None:
    crops = [crop for side in sides.values() for crop in side]
    with ThreadPoolExecutor() as pool:
        found = list(shown(pool.map(_look, crops), "look at crops", "crop", len(crops)))
    if faults := [fault for _, fault in found if fault]:
        raise ValueError(f"{len(faults)} of {len(crops)} crops cannot be read:\n  " + "\n  ".join(faults))
    log.info("building %s: %s crops", folder, {side: len(crops) for side, crops in sides.items()})
    looked = iter(found)
    images = {side: [next(looked)[0] for _ in of_side] for side, of_side in sides.items()}
    prepare(CellCrops(data_dir=folder, sides=sides, images=images, enhance=enhance), lambda: _is_built(folder))


def _look(crop: Crop) -> tuple[str, str]:
    """The `pixels_digest` of a crop, and why it cannot be read; one of the two is ""."""
    try:
        return pixels_digest(crop.image()), ""
    except OSError as error:
        return "", f"{crop.path}: {error.strerror}"
    except ValueError as error:
        return "", str(error)
