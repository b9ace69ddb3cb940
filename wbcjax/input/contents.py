"""The fields of a set, from its settings, and hashes that change when they do."""

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wbcjax.input.digest import Digests
from wbcjax.input.settings import (
    SYNTHETIC,
    WITH_GROUPS,
    FieldSetSettings,
    check_drawn,
    class_map,
    has_groups,
    reader_of,
)
from wbcjax.input.split import PARTS, read_names
from wbcjax.slides.annotated import file_of
from wbcjax.smear import synthetic
from wbcjax.smear.field import AnnotationError
from wbcjax.smear.read import POINTS_ONLY, FieldSet, read
from wbcjax.system.progress import shown

FORMAT_VERSION = 7  # raise it whenever the same files would be read into other fields, or records change their layout


def field_set(dataset: FieldSetSettings) -> FieldSet:
    """The fields of a set. Raises AnnotationError as `read` does, ValueError for settings that do not go together."""
    if dataset.name == SYNTHETIC:
        return _drawn(dataset)
    if dataset.group_attribute and not has_groups(dataset):
        raise ValueError(
            f"dataset.group_attribute is for {' and '.join(WITH_GROUPS)} files, and dataset.name is {dataset.name!r}: "
            "leave it out, and list the fields in dataset.split to keep a patient's on one side"
        )
    found = read(
        Path(dataset.annotations),
        Path(dataset.images),
        class_map(dataset),
        file_format=reader_of(dataset) or dataset.name,
        class_attribute=dataset.class_attribute,
        group_attribute=dataset.group_attribute,
        on_error=dataset.on_error,
        max_pixels=dataset.max_pixels,
        crowd_as_cells=dataset.crowd_as_cells,
        rectangles_as_boxes=dataset.rectangles_as_boxes,
        semantic=dataset.semantic,
    )
    points = sum(len(field.points) for field in found.fields)
    if points and not any(field.cells for field in found.fields):
        raise AnnotationError(f"{dataset.annotations}: its {points} cells are points. {POINTS_ONLY}")
    return found


def fingerprint(dataset: FieldSetSettings, digests: Digests) -> str:
    """A hash of the annotations and of all settings that determine the fields and cells in the set."""
    names = {f"{part}_names": read_names(getattr(dataset.split, f"{part}_names")) for part in PARTS}
    split = {**asdict(dataset.split), **names}
    if not dataset.split.folds:  # so that a set from before there were folds is still the same
        del split["folds"], split["fold"]
    settings: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "classes": dataset.classes,
        "split": split,
        "enhance": dataset.enhancement.identity,
    }
    if dataset.name == SYNTHETIC:
        check_drawn(dataset)
        drawn = dataset.synthetic
        settings |= {"smear": asdict(drawn.smear), "count": drawn.count, "subtypes": drawn.subtypes, "seed": drawn.seed}
    else:
        annotations = Path(dataset.annotations)
        settings |= {"class_of": class_map(dataset), "attributes": (dataset.class_attribute, dataset.group_attribute)}
        settings |= {"on_error": dataset.on_error}
        settings |= {"taken": (dataset.crowd_as_cells, dataset.rectangles_as_boxes)}
        if dataset.semantic is not None:
            settings |= {"semantic": dataset.semantic}
        if reader := reader_of(dataset):
            settings |= {"reader": digests.file(Path(inspect.getfile(reader)))}
        settings |= {"annotations": (digests.folder if annotations.is_dir() else digests.file)(annotations)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def image_digest(dataset: FieldSetSettings, names: Sequence[str], digests: Digests) -> str:
    """A hash of the image files of the fields named, which the set holds.

    For rendered fields it is of the first one, which a changed renderer would change. Where fields with problems are
    skipped it is of all images: once repaired, a field belongs to the set again.
    """
    if dataset.name == SYNTHETIC:
        first = synthetic.render(dataset.synthetic.smear, dataset.synthetic.seed)
        return hashlib.sha256(first.image().tobytes()).hexdigest()
    images = Path(dataset.images)
    if dataset.on_error == "skip":
        return digests.folder(images)
    each = [digests.file(images / file_of(name)) for name in names]
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()


def _drawn(dataset: FieldSetSettings) -> FieldSet:
    """Fields drawn by the renderer."""
    check_drawn(dataset)
    smear, count, subtypes, seed = (getattr(dataset.synthetic, name) for name in ("smear", "count", "subtypes", "seed"))
    wanted = synthetic.subtype_fields(smear, subtypes, seed) if subtypes else synthetic.fields(smear, count, seed)
    drawn = shown(wanted, "render fields", "field", count)
    return FieldSet(list(drawn), (), Counter(), [], 0, 0, [])
