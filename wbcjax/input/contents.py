"""What goes into a set: the fields that a config describes, read or rendered, and hashes that tell when they change.

`config` is an experiment's `dataset` all through (configs/base.py).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from wbcjax.enhance import ENHANCE_VERSION, METHODS
from wbcjax.input.digest import Digests
from wbcjax.input.split import PARTS, read_names
from wbcjax.smear import synthetic
from wbcjax.smear.formats.mask_files import CLASS_NAME
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.read import FORMATS, FieldSet, read

FORMAT_VERSION = 3  # raise it whenever the same files would be read into other fields, or records change their layout
WITH_GROUPS = ("via", "coco")  # formats that can say which fields belong together
WITHOUT_CLASSES = ("label_images", "mask_folders")  # formats in which every cell is named CLASS_NAME


def field_set(config: ConfigDict) -> FieldSet:
    """The fields that `config` describes. Raises AnnotationError as `read` does, ValueError for impossible settings."""
    if config.name == "synthetic":
        smear, count, subtypes, seed = renderer(config)
        wanted = synthetic.subtype_fields(smear, subtypes, seed) if subtypes else synthetic.fields(smear, count, seed)
        drawn = tqdm(wanted, total=count, desc="render fields", unit="field", disable=None)
        return FieldSet(list(drawn), (), Counter(), [], 0, 0, [])
    if config.name not in FORMATS:
        raise ValueError(f"dataset.name is {config.name!r}; give one of {('synthetic', *FORMATS)}")
    if config.group_attribute and config.name not in WITH_GROUPS:
        raise ValueError(
            f"dataset.group_attribute is for {' and '.join(WITH_GROUPS)} files, and dataset.name is {config.name!r}: "
            "leave it out, and list the fields in dataset.split to keep a patient's on one side"
        )
    return read(
        Path(config.annotations),
        Path(config.images),
        class_map(config),
        file_format=config.name,
        class_attribute=config.class_attribute,
        group_attribute=config.group_attribute,
        on_error=on_error(config),
        max_pixels=config.get("max_pixels", MAX_PIXELS),  # runs from before there was a limit have none
    )


def fingerprint(config: ConfigDict, digests: Digests) -> str:
    """A hash of the annotations and of all settings that decide which fields and cells are in the set."""
    names = {f"{part}_names": read_names(config.split.get(f"{part}_names", ())) for part in PARTS}
    settings: dict[str, Any] = {"format": FORMAT_VERSION, "classes": config.classes, "split": {**config.split, **names}}
    settings |= {"enhance": (enhancement(config), ENHANCE_VERSION)}
    if config.name == "synthetic":
        smear, count, subtypes, seed = renderer(config)
        settings |= {"smear": asdict(smear), "count": count, "subtypes": subtypes, "seed": seed}
    else:
        annotations = Path(config.annotations)
        settings |= {"class_of": class_map(config), "attributes": (config.class_attribute, config.group_attribute)}
        settings |= {"on_error": on_error(config)}
        settings |= {"annotations": (digests.folder if annotations.is_dir() else digests.file)(annotations)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def image_digest(config: ConfigDict, names: Sequence[str], digests: Digests) -> str:
    """A hash of the image files of the fields named, which the set holds.

    For rendered fields of a first one, which a changed renderer would change; where fields with problems are skipped,
    of all images, as one that is mended belongs to the set again.
    """
    if config.name == "synthetic":
        smear, _, _, seed = renderer(config)
        return hashlib.sha256(synthetic.render(smear, seed).image().tobytes()).hexdigest()
    images = Path(config.images)
    if on_error(config) == "skip":
        return digests.folder(images)
    each = [digests.file(images / name) for name in names]
    return hashlib.sha256(json.dumps(each).encode()).hexdigest()


def class_map(config: ConfigDict) -> dict[str, int]:
    """Annotated value -> class index; 0, to leave out, for values that `config.class_of` maps to "".

    Raises ValueError when `config.class_of` is no map into `config.classes`, or says nothing of a format's only name.
    """
    index = {name: i for i, name in enumerate(config.classes, start=1)}
    names = _class_names(config)
    unknown = sorted({name for name in names.values() if name and name not in index})
    if unknown:
        raise ValueError(f"dataset.class_of maps to {unknown}, not in dataset.classes {tuple(config.classes)}")
    return {value: index.get(name, 0) for value, name in names.items()}


def enhancement(config: ConfigDict) -> str:
    """The contrast enhancement, one of METHODS, of the set's images and of what a model is shown that learnt from it.

    Raises ValueError for one that there is not.
    """
    chosen = config.get("enhance", "none")  # runs from before there was a choice have none
    if chosen not in METHODS:
        raise ValueError(f"dataset.enhance is {chosen!r}; give one of {', '.join(map(repr, METHODS))}")
    return chosen


def on_error(config: ConfigDict) -> Any:
    """What to do about annotations with problems: "raise" or "skip". Raises ValueError for anything else."""
    chosen = config.get("on_error", "raise")  # runs from before there was a choice have none
    if chosen not in ("raise", "skip"):
        raise ValueError(f"dataset.on_error is {chosen!r}; give 'raise', or 'skip' to leave out what has problems")
    return chosen


def is_drawn(config: ConfigDict) -> bool:
    """Whether the fields are drawn ones: their scores say nothing about patients, nor against a paper's."""
    return config.name == "synthetic" or config.get("drawn", False)  # `on_paper_set` notes it for files of drawn ones


def _class_names(config: ConfigDict) -> dict[str, str]:
    """Annotated value -> class name, "" to leave it out."""
    names, classes = _pairs(config.class_of), tuple(config.classes)
    if config.name not in WITHOUT_CLASSES or CLASS_NAME in names:
        return names or {name: name for name in classes}
    if names or len(classes) != 1:
        raise ValueError(
            f"{config.name} annotations have no class names: every cell is a {CLASS_NAME!r}. Say in dataset.class_of "
            f"which of dataset.classes {classes} that is, as (({CLASS_NAME!r}, {classes[0]!r}),)"
        )
    return {CLASS_NAME: classes[0]}


def _pairs(class_of: Any) -> dict[str, str]:
    # A map in runs from before it was a tuple of pairs, which takes names with dots, and the command line does too.
    pairs = list(class_of.items() if isinstance(class_of, ConfigDict) else class_of)
    named = {pair[0]: pair[1] for pair in pairs if isinstance(pair, tuple | list) and len(pair) == 2}
    if len(named) < len(pairs):
        raise ValueError(
            f"dataset.class_of is {class_of!r}; give a pair (annotated value, class) for each value once, such as "
            '(("blast", "L2"), ("unsure", ""))'
        )
    return named


def renderer(config: ConfigDict) -> tuple[synthetic.SyntheticSmear, int, tuple[int, ...], int]:
    """The renderer's parameters, the number of fields, that of each subtype where given, and the first field's seed."""
    parameters = dict(config.synthetic)
    count, seed, subtypes = parameters.pop("count", 0), parameters.pop("seed", 0), tuple(parameters.pop("subtypes", ()))
    smear = synthetic.SyntheticSmear(**parameters)
    if tuple(config.classes) != smear.classes:
        raise ValueError(f"dataset.classes is {tuple(config.classes)}; these synthetic fields have {smear.classes}")
    if subtypes and (len(subtypes) != len(synthetic.CLASSES) or min(subtypes) < 0 or sum(subtypes) != count):
        raise ValueError(
            f"dataset.synthetic.subtypes is {subtypes} and count {count}: give the number of fields of each of "
            f"{synthetic.CLASSES}, {count} in all"
        )
    return smear, count, subtypes, seed
