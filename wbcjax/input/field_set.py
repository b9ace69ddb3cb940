"""Annotated fields as a TFDS set of array records, built once and cached under a hash of annotations and settings."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from pycocotools import mask as coco_mask

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
from wbcjax.input.contents import FORMAT_VERSION, field_set, fingerprint, image_digest
from wbcjax.input.digest import Digests, Item, json_digest, pixels_digest
from wbcjax.input.settings import FieldSetSettings
from wbcjax.input.split import PARTS, first_by_hash, split_fields
from wbcjax.smear.field import Cell, SmearField, decode_image, read_image
from wbcjax.smear.image_header import claimed_size
from wbcjax.smear.pixel_size import stated_pixel_size
from wbcjax.smear.problem_list import first_of_each_kind
from wbcjax.smear.read import FieldSet
from wbcjax.smear.whole_set import AS_CELLS, uncounted
from wbcjax.system.progress import shown

log = logging.getLogger(__name__)

WITHOUT_CELLS = "annotate some, or look at config.dataset.class_of and config.dataset.split"


class Measures(NamedTuple):
    """Measures of a field that are known without reading it."""

    height: int  # pixels
    width: int
    cells: int  # crowd regions among them
    longest: int  # pixels: the longest side of an outlined cell's bounds, crowd regions apart; 0 without any
    sides: Sequence[float] = ()  # pixels: the longer side of the box of each cell, crowd regions apart
    pixel_size: float = 0.0  # micrometres, as the image's file states it; 0: it does not


class Source:
    """One part of a built set: `len(source)`, `source.field(i)`, `source.names[i]`, `source.classes`."""

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        items: Sequence[Item],
        classes: Sequence[str],
        measures: Sequence[Measures],
    ) -> None:
        self.items = tuple(items)  # of field 0, 1, ...
        self.measures = tuple(measures)  # likewise
        self.names = tuple(item.name for item in items)
        # The number of each field's cells, crowd regions among them
        self.cells = {name: field.cells for name, field in zip(self.names, self.measures, strict=True)}
        self.classes = tuple(classes)  # of label 1, 2, ...
        self._records = records

    def __len__(self) -> int:
        return len(self.items)

    def select(self, rows: Sequence[int]) -> "Source":
        """The fields `rows` of this part, in that order."""
        items, measures = [self.items[row] for row in rows], [self.measures[row] for row in rows]
        return Source(Rows(self._records, rows), items, self.classes, measures)

    def field(self, index: int) -> SmearField:
        """Field `index`, decoded, at its own size, its cells as RLE masks or, where no more is known, as boxes."""
        record = self._records[index]
        columns = record["cells"]
        cells = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return SmearField(
            name=self.names[index],
            height=int(record["height"]),
            width=int(record["width"]),
            cells=tuple(map(_cell, cells)),
            pixels=decode_image(record["image"], self.names[index]),
            group=record["group"].decode() or None,
        )

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of field `index` in pixels, without reading it."""
        return self.measures[index].height, self.measures[index].width

    def counts(self) -> dict[str, int]:
        """The number of fields, as "fields", and of cells of each class, without crowd regions."""
        per_class = {name: sum(item.counts[label] for item in self.items) for label, name in enumerate(self.classes)}
        return {"fields": len(self)} | per_class

    def uncounted(self) -> str:
        """Why no cell trains, or is to be found, with the remedy; "" where one is."""
        if any(sum(item.counts) for item in self.items):
            return ""
        crowd = sum(self.cells.values())
        return f"{uncounted(crowd)}; {AS_CELLS if crowd else WITHOUT_CELLS}"

    def outlined(self) -> bool:
        """Whether any cell is outlined, crowd regions apart: if none is, there is no mask to score."""
        return any(field.longest for field in self.measures)


def _cell(record: Mapping[str, Any]) -> Cell:
    label, crowd = int(record["label"]), bool(record["crowd"])
    if record["outlined"]:
        return Cell(label, rle=json.loads(record["rle"]), crowd=crowd)
    x1, y1, x2, y2 = (float(side) for side in record["box"])
    return Cell(label, box=(x1, y1, x2, y2), crowd=crowd)


def source(dataset: FieldSetSettings, part: str, cache_dir: str | Path | None = None) -> Source:
    """The part "train", "val" or "test" of a set, see `sources`. Raises also ValueError when it has no fields."""
    return part_of(sources(dataset, cache_dir), part)


def part_of(found: Mapping[str, Source], part: str) -> Source:
    """A part of a set, of those that have fields. Raises ValueError where it has none."""
    if part not in found:
        sizes = {name: len(found.get(name, ())) for name in PARTS}
        raise ValueError(f"split {part!r} has no fields (fields by split: {sizes}); change dataset.split")
    return found[part]


def sources(dataset: FieldSetSettings, cache_dir: str | Path | None = None) -> dict[str, Source]:
    """The parts that have fields of the set that `dataset` describes, built on first use.

    Sets are kept in `cache_dir`, else in $WBCJAX_CACHE, else in ~/.cache/wbcjax, in a folder named by a hash of the
    annotations and settings. One whose images (or whose renderer) have changed since is built anew. Annotated cells
    that are left out are counted in the log whenever the set is opened, and listed there when it is built.

    One set serves every number of `train_fields`: they are taken from its part "train" here.

    Raises AnnotationError for annotations that cannot be used; ValueError for settings that contradict each other and
    for images that cannot be read.
    """
    root = cache_root(cache_dir)
    digests = digests_of(root, [dataset.annotations, dataset.images])
    folder = root / f"{dataset.name.replace(':', '.')}-{fingerprint(dataset, digests)}"
    if not _is_current(folder, dataset, digests):
        with one_at_a_time(folder):
            if not _is_current(folder, dataset, digests):  # by another process, meanwhile
                _build(folder, dataset, digests)
    digests.remember()
    built = _open(folder)
    metadata = built.info.metadata
    for omission in metadata["omissions"]:
        log.warning("%s: %s", dataset.annotations, omission)
    if suspects := metadata["suspects"]:
        places = "1 place" if suspects == 1 else f"{suspects} places"
        log.info("%s: %s worth a look; `wbcjax inspect` lists them", dataset.annotations, places)
    # Images stay encoded here: TFDS does not decode as `decode_image` does, upright and with 8 bits a channel.
    decoders = {"image": tfds.decode.SkipDecoding()}
    parts = {
        part: Source(
            built.as_data_source(part, decoders=decoders),
            list(starmap(Item, items)),
            dataset.classes,
            list(starmap(Measures, metadata["measures"][part])),
        )
        for part, items in metadata["items"].items()
        if items
    }
    if dataset.train_fields and "train" in parts:
        rows = first_by_hash(parts["train"].names, dataset.train_fields, dataset.train_fields_seed)
        parts["train"] = parts["train"].select(rows)
    return parts


class SmearFields(tfds.core.GeneratorBasedBuilder):
    """The record layout. Takes the fields of each split to build a set, none to open a built one."""

    VERSION = tfds.core.Version(f"{FORMAT_VERSION}.0.0")

    def __init__(
        self,
        *,
        data_dir: Path,
        splits: Mapping[str, Sequence[SmearField]] | None = None,
        items: Mapping[str, Sequence[Item]] | None = None,
        found: FieldSet | None = None,
        enhance: Enhancement = AS_THEY_ARE,
        digest: str = "",
    ) -> None:
        self._splits = splits or {}
        self._items = items or {}  # of the fields of each split
        self._found = found  # what `splits` are taken from
        self._enhance = enhance
        self._digest = digest  # see `image_digest`
        super().__init__(file_format=record_format(), data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        cell = {
            "label": np.int32,
            "crowd": np.bool_,
            "outlined": np.bool_,  # False where only the box is known
            "rle": tfds.features.Text(),  # of the mask, or the filled box: COCO compressed, as JSON
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),  # as annotated, or tight around the mask
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stained smear fields with instance masks, or boxes, of their white blood cells.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),  # the file's own bytes, of whatever format, or PNG
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),  # empty when the field has none
                    "height": np.int32,
                    "width": np.int32,
                    "cells": tfds.features.Sequence(cell),
                }
            ),
            metadata=tfds.core.MetadataDict(
                # Of each field of each split, in the order of the records.
                items={side: list(map(list, items)) for side, items in self._items.items()},
                measures={side: list(map(measures, fields)) for side, fields in self._splits.items()},
                omissions=self._found.omissions() if self._found else [],
                suspects=len(self._found.suspects) if self._found else 0,
                digest=self._digest,
            ),
            disable_shuffling=True,  # record i is field i of the split
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # TFDS cannot write an empty split; the metadata still has it, and `source` reports it.
        return {side: self._generate_examples(side, fields) for side, fields in self._splits.items() if fields}

    def _generate_examples(self, side: str, fields: Sequence[SmearField]) -> Iterator[tuple[int, dict[str, Any]]]:
        each = shown(fields, f"write {side} fields", "field")
        for index, (field, image) in enumerate(zip(each, image_files(fields, self._enhance), strict=True)):
            if sorted(claimed_size(image) or ()) != sorted((field.height, field.width)):  # EXIF may turn it
                raise ValueError(f"{field.path}: it was changed while the set was being built: build it again")
            yield (
                index,
                {
                    "image": image,
                    "name": field.name,
                    "group": field.group or "",
                    "height": field.height,
                    "width": field.width,
                    "cells": [_cell_record(cell, field.height, field.width) for cell in field.cells],
                },
            )


def _cell_record(cell: Cell, height: int, width: int) -> dict[str, Any]:
    rle: Any = cell.to_rle(height, width)
    x, y, w, h = coco_mask.toBbox(rle)
    return {
        "label": cell.label,
        "crowd": cell.crowd,
        "outlined": cell.outlined,
        "rle": json.dumps(rle),
        "box": np.array(cell.box or (x, y, x + w, y + h), np.float32),
    }


def measures(field: SmearField) -> Measures:
    """The measures of a field, for the metadata of a built set."""
    outlined: Any = [cell.to_rle(field.height, field.width) for cell in field.cells if cell.outlined and not cell.crowd]
    sides = coco_mask.toBbox(outlined)[:, 2:].max(axis=1).tolist() if outlined else []
    boxes = [cell.box for cell in field.cells if cell.box is not None and not cell.crowd]
    return Measures(
        field.height,
        field.width,
        cells=len(field.cells),
        longest=int(max(sides, default=0)),
        sides=[*sides, *(max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)],
        pixel_size=stated_pixel_size(field.path) if field.path is not None else field.pixel_size,
    )


def _open(folder: Path) -> Any:
    """The set in a folder, which may not be there yet. Any: TFDS's decorators hide its signatures from pyright."""
    return SmearFields(data_dir=folder)


def _is_current(folder: Path, dataset: FieldSetSettings, digests: Digests) -> bool:
    """Whether there is a set in the folder, made of the images as they are now."""
    built = _open(folder)
    if not built.data_path.exists():
        return False
    names = [name for side in built.info.metadata["items"].values() for name, *_ in side]
    return built.info.metadata["digest"] == image_digest(dataset, names, digests)


def _build(folder: Path, dataset: FieldSetSettings, digests: Digests) -> None:
    """Write a set. TFDS writes beside the folder and renames at the end: a broken build leaves nothing to be read."""
    found = field_set(dataset)
    _tell(found, dataset)
    splits = split_fields(found.fields, dataset.split)
    digest = image_digest(dataset, [field.name for side in splits.values() for field in side], digests)
    log.info("building %s: %s fields", folder, {side: len(fields) for side, fields in splits.items()})
    outdated = _open(folder).data_path
    if outdated.exists() and not _is_current(folder, dataset, digests):
        shutil.rmtree(outdated)
    items = {side: _items(fields, len(dataset.classes)) for side, fields in splits.items()}
    builder = SmearFields(
        data_dir=folder, splits=splits, items=items, found=found, enhance=dataset.enhancement, digest=digest
    )
    prepare(builder, lambda: _is_current(folder, dataset, digests))
    if not folder.name.endswith(fingerprint(dataset, digests)) or not _is_current(folder, dataset, digests):
        shutil.rmtree(_open(folder).data_path)
        raise ValueError(
            f"{dataset.annotations} or its images in {dataset.images} were changed while the set was being built of "
            "them: build it again"
        )


def _items(fields: Sequence[SmearField], classes: int) -> list[Item]:
    """The item of each field. Raises ValueError that names every image that cannot be read."""

    def look(field: SmearField) -> Item | str:
        try:
            image = field.image() if field.path is None else read_image(field.path, field.max_pixels)
        except OSError as error:
            return f"{field.path}: {error.strerror}"
        except ValueError as error:
            return str(error)
        counted = Counter(cell.label for cell in field.cells if not cell.crowd)
        counts = tuple(counted[label] for label in range(1, classes + 1))
        return Item(field.name, pixels_digest(image), json_digest(list(map(_plain, field.cells))), field.group, counts)

    with ThreadPoolExecutor() as pool:
        found = list(shown(pool.map(look, fields), "look at fields", "field", len(fields)))
    if faults := [fault for fault in found if isinstance(fault, str)]:
        raise ValueError(f"{len(faults)} of {len(fields)} images cannot be read:\n  " + "\n  ".join(faults))
    return [item for item in found if isinstance(item, Item)]


def _plain(cell: Cell) -> list[Any]:
    """A cell as it was annotated."""
    return [cell.label, cell.crowd, [polygon.tolist() for polygon in cell.polygons], cell.rle, cell.box]


def _tell(found: FieldSet, dataset: FieldSetSettings) -> None:
    """Log the annotations that are left out and those that are suspect, each by its place."""
    for kind, level, listed in (
        ("left out because of problems", logging.WARNING, found.problems),
        ("worth a look", logging.INFO, found.suspects),
    ):
        if listed:
            lines = first_of_each_kind(listed, "; wbcjax inspect lists all")
            log.log(level, "\n  ".join([f"{dataset.annotations}: {len(listed)} {kind}", *lines]))
