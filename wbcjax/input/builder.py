"""Annotated fields as a TFDS set of array records, built once and cached under a hash of what it is made of."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from tqdm import tqdm

from wbcjax.input.split import read_names, split_fields
from wbcjax.smear import coco, synthetic, via
from wbcjax.smear.field import Cell, SmearField

log = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raise it whenever the same files would be read into other fields, or records change their layout


class Source:
    """One split of a built set: `len(source)`, `source.field(i)`, `source.names[i]`, `source.classes`."""

    def __init__(self, records: Sequence[Mapping[str, Any]], names: Sequence[str], classes: Sequence[str]) -> None:
        self.names = tuple(names)  # of field 0, 1, ...
        self.classes = tuple(classes)  # of label 1, 2, ...
        self._records = records

    def __len__(self) -> int:
        return len(self.names)

    def field(self, index: int) -> SmearField:
        """Field `index`, decoded, at its own size, its cells as RLE masks."""
        record = self._records[index]
        cells = record["cells"]
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None, f"{self.names[index]}: was decoded when the set was built"
        return SmearField(
            name=self.names[index],
            height=int(record["height"]),
            width=int(record["width"]),
            cells=tuple(
                Cell(label=int(label), rle=json.loads(rle), crowd=bool(crowd))
                for label, rle, crowd in zip(cells["label"], cells["rle"], cells["crowd"], strict=True)
            ),
            pixels=image,
            group=record["group"].decode() or None,
        )


def source(config: ConfigDict, split: str, cache_dir: str | Path | None = None) -> Source:
    """The "train" or "val" split of the set that `config` (an experiment's `dataset`) describes, built on first use.

    Sets are kept in `cache_dir`, else in $WBCJAX_CACHE, else in ~/.cache/wbcjax, in a folder named by a hash of the
    annotations and settings. One whose images (or whose renderer) have changed since is built anew.

    Raises AnnotationError for annotations that cannot be used, ValueError for settings that contradict each other, for
    an empty split, and for fields with more cells than `config.max_cells`, each named with its count.
    """
    root = Path(cache_dir or os.environ.get("WBCJAX_CACHE") or "~/.cache/wbcjax").expanduser()
    folder = root / f"{config.name}-{_fingerprint(config)}"
    if not _is_current(folder, config):
        _build(folder, config)
    built = _open(folder)
    contents = built.info.metadata["cells"]
    if not contents[split]:
        sizes = {side: len(names) for side, names in contents.items()}
        raise ValueError(f"split {split!r} has no fields (fields by split: {sizes}); change dataset.split")
    crowded = {name: count for name, count in contents[split].items() if count > config.max_cells}
    if crowded:
        listed = "\n".join(f"  {name}: {count} cells" for name, count in crowded.items())
        raise ValueError(
            f"dataset.max_cells is {config.max_cells}; set it to {max(crowded.values())} or more, for\n{listed}"
        )
    # Images stay encoded here: TFDS decodes without regard to EXIF orientation, which outlines are drawn by.
    records = built.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return Source(records, tuple(contents[split]), config.classes)


class SmearFields(tfds.core.GeneratorBasedBuilder):
    """The record layout. Takes the fields of each split to build a set, none to open a built one."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, data_dir: Path, splits: Mapping[str, Sequence[SmearField]] | None = None, digest: str = ""
    ) -> None:
        self._splits = splits or {}
        self._digest = digest  # see `_image_digest`
        super().__init__(file_format="array_record", data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        cell = {"label": np.int32, "crowd": np.bool_, "rle": tfds.features.Text()}  # rle: COCO compressed, as JSON
        return tfds.core.DatasetInfo(
            builder=self,
            description="Stained smear fields with instance masks of their white blood cells.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),  # the file's own bytes, or PNG
                    "name": tfds.features.Text(),
                    "group": tfds.features.Text(),  # empty when the field has none
                    "height": np.int32,
                    "width": np.int32,
                    "cells": tfds.features.Sequence(cell),
                }
            ),
            metadata=tfds.core.MetadataDict(
                # Number of cells by name by split, in the order of the records.
                cells={side: {f.name: len(f.cells) for f in fields} for side, fields in self._splits.items()},
                digest=self._digest,
            ),
            disable_shuffling=True,  # record i is field i of the split
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # TFDS cannot write an empty split; the metadata still has it, and `source` reports it.
        return {side: self._generate_examples(side, fields) for side, fields in self._splits.items() if fields}

    def _generate_examples(self, side: str, fields: Sequence[SmearField]) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, field in enumerate(tqdm(fields, desc=f"write {side} fields", unit="field")):
            rles = [cell.to_rle(field.height, field.width) for cell in field.cells]
            yield (
                index,
                {
                    "image": _encoded(field),
                    "name": field.name,
                    "group": field.group or "",
                    "height": field.height,
                    "width": field.width,
                    "cells": [
                        {"label": cell.label, "crowd": cell.crowd, "rle": json.dumps(rle)}
                        for cell, rle in zip(field.cells, rles, strict=True)
                    ],
                },
            )


def _encoded(field: SmearField) -> bytes:
    if field.path is not None:
        return field.path.read_bytes()
    return cv2.imencode(".png", cv2.cvtColor(field.image(), cv2.COLOR_RGB2BGR))[1].tobytes()


def _open(folder: Path) -> Any:
    """The set in a folder, which may not be there yet. Any: TFDS's decorators hide its signatures from pyright."""
    return SmearFields(data_dir=folder)


def _is_current(folder: Path, config: ConfigDict) -> bool:
    """Whether there is a set in the folder, made of the images as they are now."""
    built = _open(folder)
    if not built.data_path.exists():
        return False
    names = [name for side in built.info.metadata["cells"].values() for name in side]
    return built.info.metadata["digest"] == _image_digest(config, names)


def _build(folder: Path, config: ConfigDict) -> None:
    """Write a set. TFDS writes beside the folder and renames at the end: a broken build leaves nothing to be read."""
    fields = _render(config) if config.name == "synthetic" else _read(config)
    splits = split_fields(fields, **config.split)
    digest = _image_digest(config, [field.name for side in splits.values() for field in side])
    log.info("building %s: %s fields", folder, {side: len(fields) for side, fields in splits.items()})
    outdated = _open(folder).data_path
    if outdated.exists() and not _is_current(folder, config):
        shutil.rmtree(outdated)
    tfds.disable_progress_bar()  # several at a time; `_generate_examples` shows one
    builder = SmearFields(data_dir=folder, splits=splits, digest=digest)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a "download" of unknown size
            builder.download_and_prepare()
    except OSError:
        # Another process may have finished the same set first: then the rename fails, and the other's set is as good.
        if not _is_current(folder, config):
            raise


def _read(config: ConfigDict) -> list[SmearField]:
    annotations, images, class_of = Path(config.annotations), Path(config.images), _class_of(config)
    if config.name == "via":
        return via.read(annotations, images, config.class_attribute, class_of, config.group_attribute)
    if config.name == "coco":
        if config.group_attribute:
            raise ValueError(
                "dataset.group_attribute is for VIA files; COCO has none: list the fields in dataset.split"
            )
        return coco.read(annotations, images, class_of)
    raise ValueError(f"dataset.name is {config.name!r}; give 'synthetic', 'via' or 'coco'")


def _class_of(config: ConfigDict) -> dict[str, int]:
    """Annotated value -> class index; 0, to leave out, for values that `config.class_of` maps to ""."""
    index = {name: i for i, name in enumerate(config.classes, start=1)}
    names = dict(config.class_of) if config.class_of else {name: name for name in config.classes}
    unknown = sorted({name for name in names.values() if name and name not in index})
    if unknown:
        raise ValueError(f"dataset.class_of maps to {unknown}, not in dataset.classes {tuple(config.classes)}")
    return {value: index.get(name, 0) for value, name in names.items()}


def _renderer(config: ConfigDict) -> tuple[synthetic.SyntheticSmear, int, int]:
    """The renderer's parameters, the number of fields and the first field's seed."""
    if tuple(config.classes) != synthetic.CLASSES:
        raise ValueError(f"dataset.classes is {tuple(config.classes)}; synthetic fields have {synthetic.CLASSES}")
    parameters = dict(config.synthetic)
    count, seed = parameters.pop("count"), parameters.pop("seed")
    return synthetic.SyntheticSmear(**parameters), count, seed


def _render(config: ConfigDict) -> list[SmearField]:
    smear, count, seed = _renderer(config)
    return list(tqdm(synthetic.fields(smear, count, seed), total=count, desc="render fields", unit="field"))


def _fingerprint(config: ConfigDict) -> str:
    """A hash of the annotations and of all settings that decide which fields and cells are in the set."""
    names = {side: read_names(config.split[side]) for side in ("train_names", "val_names")}
    settings: dict[str, Any] = {"format": FORMAT_VERSION, "classes": config.classes, "split": {**config.split, **names}}
    if config.name == "synthetic":
        smear, count, seed = _renderer(config)
        settings |= {"smear": asdict(smear), "count": count, "seed": seed}
    else:
        settings |= {"class_of": _class_of(config), "attributes": (config.class_attribute, config.group_attribute)}
        settings |= {"annotations": _file_digest(Path(config.annotations))}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _image_digest(config: ConfigDict, names: Sequence[str]) -> str:
    """A hash of the named image files; for rendered fields, of a first one, which a changed renderer would change."""
    if config.name == "synthetic":
        smear, _, seed = _renderer(config)
        return hashlib.sha256(synthetic.render(smear, seed).image().tobytes()).hexdigest()
    digests = [_file_digest(Path(config.images) / name) for name in names]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    """A hash of a file's content; "" when there is none, which is the annotation readers' to report."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
