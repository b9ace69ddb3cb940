"""Settings of a set of fields or of crops (`config.dataset`), and the rules between them."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Annotated, Literal

import grain
from ml_collections import ConfigDict

from wbcjax.enhance import METHODS, Enhancement, Stain
from wbcjax.input.split import PARTS, SplitSettings, read_names
from wbcjax.settings.checked import ConfigError, Count, Name, NotEmpty, NotNegative, Number, OneOf, checked
from wbcjax.settings.parts import imported
from wbcjax.smear import synthetic_settings
from wbcjax.smear.formats.format import Reader
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.formats.mask_files import CLASS_NAME
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.smear.synthetic_settings import SyntheticSmear

MOST_THREADS = 16  # more wait for the interpreter's lock, and hold as many more batches
SYNTHETIC = "synthetic"  # the name of a set of drawn fields
WITH_GROUPS = ("via", "coco")  # formats that can say which fields belong together
WITHOUT_CLASSES = ("label_images", "mask_folders")  # formats in which every cell is named CLASS_NAME

Method = Annotated[str, OneOf(tuple(METHODS))]
Classes = Annotated[tuple[Name, ...], NotEmpty()]


@dataclass(frozen=True)
class InputSettings:
    """Threads that make batches ahead of the steps: `config.dataset.input`. It does not change the batches.

    A thread makes one batch at a time. OpenCV and NumPy release the interpreter's lock: no processes are needed.
    """

    threads: Number = 0  # 0: one for each core that this process may use, MOST_THREADS at most
    prefetch: Number = 0  # batches that are ready or being made, each in memory; 0: two more than there are threads
    # Of decoded images that a process keeps, to decode them once: any more are decoded in every epoch
    keep_megabytes: NotNegative = 1000.0

    def read_options(self) -> grain.ReadOptions:
        """The same as grain's options, with the defaults for this machine."""
        threads = self.threads or min(_cores(), MOST_THREADS)
        return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=self.prefetch or threads + 2)


@dataclass(frozen=True)
class SyntheticSettings(SyntheticSmear):
    """The number of drawn fields, and their appearance: `config.dataset.synthetic`."""

    count: Number = 0
    seed: Number = 0  # of the first field; each of the others has the next one
    subtypes: tuple[Number, ...] = ()  # the number of fields of patients with L1, L2, L3; empty: random mixtures

    @property
    def smear(self) -> SyntheticSmear:
        """Their appearance, the settings of the renderer."""
        return SyntheticSmear(**{name.name: getattr(self, name.name) for name in fields(SyntheticSmear)})


@dataclass(frozen=True)
class FieldSetSettings:
    """Annotated fields, for a detector: `config.dataset`."""

    # The format of the annotations, or the import path, "module:function", of a `Reader` of another
    name: Annotated[str, OneOf((SYNTHETIC, *FORMATS), paths=True)] = "via"
    annotations: str = ""  # a file (VIA, COCO) or a folder
    images: str = ""  # a folder
    max_pixels: Count = MAX_PIXELS  # of an image: a larger one is refused before it is decoded
    # "skip" leaves out fields and cells with problems, with a warning whenever the set is used
    on_error: Literal["raise", "skip"] = "raise"
    classes: Classes = ("cell",)  # class 1, 2, ...; class 0 is the background
    class_attribute: Name = "cell"  # VIA: region_attributes.cell holds the class
    # Pairs (annotated value, class); class "" leaves such cells out; empty: values are the classes' names. Label images
    # and mask folders name every cell "cell"; with one class and no pairs, that is their class.
    class_of: tuple[tuple[str, str], ...] = ()
    crowd_as_cells: bool = False  # take crowd regions for cells: CVAT marks every brush mask as one
    rectangles_as_boxes: bool = False  # take outlines that are upright rectangles for boxes
    # Label images: whether their values are classes, by whose names class_of goes, and each connected part is a cell;
    # None and False take each value of an image for one cell, and None refuses a set that looks as if it had classes.
    semantic: bool | None = None
    # VIA: a file attribute; COCO: a key of an image's entry. Fields of one value, such as a patient, stay in one split
    group_attribute: str | None = None
    enhance: Method = "none"  # the contrast or stain of the images, those that are predicted on too
    stain: Stain = field(default_factory=Stain)  # what "reinhard" and "macenko" bring the images to
    synthetic: SyntheticSettings = field(default_factory=SyntheticSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    train_fields: Number = 0  # of the part train, only so many train, chosen by a hash; 0: all
    train_fields_seed: Number = 0  # of that hash; of one seed the fewer fields lie among the more
    pixel_size: NotNegative = 0.0  # micrometres per pixel of the images, for measures of cells; 0: not known
    canvas: tuple[Count, Count] = (512, 512)  # height, width in pixels; multiples of 32
    max_cells: Count = 64  # in one field; more cells need more places in the model, too: wbcjax/models/limits.py
    drawn: bool = False  # the files hold drawn fields, as the paper's protocol writes them
    input: InputSettings = field(default_factory=InputSettings)

    @classmethod
    def from_config(cls, dataset: ConfigDict) -> "FieldSetSettings":
        """Of `config.dataset`. Raises ConfigError with all that is wrong."""
        return checked(cls, dataset, "config.dataset")

    @property
    def is_drawn(self) -> bool:
        """Whether the fields are drawn: their scores do not carry over to patients, nor compare with a paper's."""
        return self.drawn or self.name == SYNTHETIC

    @property
    def enhancement(self) -> Enhancement:
        """Of the images."""
        return Enhancement(self.enhance, self.stain)

    @property
    def tests(self) -> bool:
        """Whether there is a part to test on."""
        return self.split.tests


@dataclass(frozen=True)
class CropSetSettings:
    """Crops of cells, for a classifier: `config.dataset`."""

    name: Literal["crops"] = "crops"
    crops: str = ""  # folder of class folders, as `wbcjax crop` writes; crops of one group are never divided
    max_pixels: Count = MAX_PIXELS  # of a crop's file: a larger one is refused before it is decoded
    val_crops: str = ""  # another such folder to validate on; empty: a split of the first one
    test_crops: str = ""  # another one to test on, which neither trains nor chooses the checkpoint
    classes: Classes = ()  # the folders' names; class 0, 1, ...
    balance: bool = False  # draw every class equally often in training
    enhance: Method = "none"  # the contrast or stain of the crops, those that are predicted on too
    stain: Stain = field(default_factory=Stain)  # what "reinhard" and "macenko" bring the crops to
    split: SplitSettings = field(default_factory=lambda: SplitSettings(train_fraction=0.8))
    canvas: tuple[Count, Count] = (300, 300)  # height, width in pixels, that crops are drawn on
    input: InputSettings = field(default_factory=InputSettings)

    @classmethod
    def from_config(cls, dataset: ConfigDict) -> "CropSetSettings":
        """Of `config.dataset`. Raises ConfigError with all that is wrong."""
        return checked(cls, dataset, "config.dataset")

    @property
    def enhancement(self) -> Enhancement:
        """Of the crops."""
        return Enhancement(self.enhance, self.stain)

    @property
    def tests(self) -> bool:
        """Whether there is a part to test on."""
        return bool(self.test_crops) or self.split.tests

    @property
    def apart(self) -> tuple[str, ...]:
        """The parts that are folders of their own, in which names and fields have nothing to do with the training's."""
        if self.val_crops:
            return ("val", "test")
        return ("test",) if self.test_crops else ()


DatasetSettings = FieldSetSettings | CropSetSettings


def reader_of(dataset: FieldSetSettings) -> Reader | None:
    """The reader that `name` is the import path of; None for a format of ours. Raises ConfigError as `imported`."""
    if ":" not in dataset.name:
        return None
    return imported(dataset.name, f"config.dataset.name is {dataset.name!r}")


def has_groups(dataset: FieldSetSettings) -> bool:
    """Whether the annotations can say which fields belong together."""
    return dataset.name in WITH_GROUPS or ":" in dataset.name


def class_map(dataset: FieldSetSettings) -> dict[str, int]:
    """Annotated value -> class index; 0, to leave out, for values that `class_of` maps to "".

    Raises ValueError when `class_of` is no map into `classes`, or lacks the only name of a format.
    """
    index = {name: i for i, name in enumerate(dataset.classes, start=1)}
    names = _class_names(dataset)
    unknown = sorted({name for name in names.values() if name and name not in index})
    if unknown:
        raise ValueError(f"dataset.class_of maps to {unknown}, not in dataset.classes {dataset.classes}")
    return {value: index.get(name, 0) for value, name in names.items()}


def check_drawn(dataset: FieldSetSettings) -> None:
    """Raise ValueError unless the renderer can draw the classes, and as many fields of each subtype as there are."""
    drawn, known = dataset.synthetic, dataset.synthetic.smear.classes
    if dataset.classes != known:
        raise ValueError(f"dataset.classes is {dataset.classes}; these synthetic fields have {known}")
    subtypes, each = drawn.subtypes, synthetic_settings.CLASSES
    if subtypes and (len(subtypes) != len(each) or min(subtypes) < 0 or sum(subtypes) != drawn.count):
        raise ValueError(
            f"dataset.synthetic.subtypes is {subtypes} and count {drawn.count}: give the number of fields of each of "
            f"{each}, {drawn.count} in all"
        )


def dataset_problems(dataset: DatasetSettings) -> Iterator[str]:
    """Contradictions between settings that are each valid, a line for each."""
    for name, count in Counter(dataset.classes).items():
        if count > 1:
            yield f"config.dataset.classes is {dataset.classes}: {name!r} is there {count} times; name each class once"
    yield from _split_problems(dataset)
    yield from _crop_problems(dataset) if isinstance(dataset, CropSetSettings) else _field_problems(dataset)


def _field_problems(dataset: FieldSetSettings) -> Iterator[str]:
    try:
        check_drawn(dataset) if dataset.name == SYNTHETIC else class_map(dataset)
    except ValueError as error:
        yield f"config.{error}"
    try:
        reader_of(dataset)
    except ConfigError as error:
        yield str(error)
    if dataset.name == SYNTHETIC and dataset.synthetic.count < 2:
        yield (
            f"config.dataset.synthetic.count is {dataset.synthetic.count}: give the number of fields to draw, 2 or "
            "more, to train and to validate on"
        )
    if dataset.group_attribute and not has_groups(dataset):
        yield (
            f"config.dataset.group_attribute is {dataset.group_attribute!r}, which is for {' and '.join(WITH_GROUPS)} "
            f"files, and dataset.name is {dataset.name!r}: leave it out, and list the fields in dataset.split to keep "
            "a patient's on one side"
        )


def _crop_problems(dataset: CropSetSettings) -> Iterator[str]:
    split = dataset.split
    if len(dataset.classes) < 2:
        yield f"config.dataset.classes is {dataset.classes}: give the names of two class folders or more"
    if dataset.test_crops and split.tests:
        yield (
            f"config.dataset.test_crops is {dataset.test_crops!r}, and dataset.split takes crops to test on too: leave "
            "out one or the other"
        )
    if dataset.val_crops and (split.train_names or split.val_names or split.tests):
        yield (
            f"config.dataset.val_crops is {dataset.val_crops!r}, so that nothing is split, and dataset.split lists "
            "names or takes a part to test on: leave out one or the other, or set dataset.test_crops"
        )


def _split_problems(dataset: DatasetSettings) -> Iterator[str]:
    split, where = dataset.split, "config.dataset.split"
    lists: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        key, given = f"{where}.{part}_names", getattr(split, f"{part}_names")
        try:
            lists[part] = read_names(given)
        except (OSError, ValueError) as error:
            yield f"{key} is {given}: {_reason(error)}; correct the path"
            return
        for name, count in Counter(lists[part]).items():
            if count > 1:
                yield f"{key}: {name!r} is listed {count} times; list it once"
    for one, other in combinations(PARTS, 2):
        for name in sorted(set(lists[one]) & set(lists[other])):
            yield f"{where}: {name!r} is in both {one}_names and {other}_names; leave it in one"
    if split.test_fraction and any(lists.values()):
        yield f"{where}.test_fraction is {split.test_fraction:g}, and there are lists of names: list those of test too"
    if problem := split.fold_problem():
        yield f"{where}.{problem}"
    if split.test_fraction == 1:
        yield f"{where}.test_fraction is 1, which leaves nothing to train on: give a number from 0 to below 1"
    by_fraction = not lists["train"] and not lists["val"] and not getattr(dataset, "val_crops", "")
    if by_fraction and split.train_fraction in (0, 1):
        without = "validate on" if split.train_fraction else "train on"
        yield (
            f"{where}.train_fraction is {split.train_fraction:g}, which leaves nothing to {without}: give a number "
            "between 0 and 1"
        )


def _cores() -> int:
    """The number of cores that this process may use: under a batch system not all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _class_names(dataset: FieldSetSettings) -> dict[str, str]:
    """Annotated value -> class name, "" to leave it out."""
    names, classes = dict(dataset.class_of), dataset.classes
    if len(names) < len(dataset.class_of):
        raise ValueError(
            f"dataset.class_of is {dataset.class_of!r}; give a pair (annotated value, class) for each value once, such "
            'as (("blast", "L2"), ("unsure", ""))'
        )
    if dataset.name not in WITHOUT_CLASSES or dataset.semantic or CLASS_NAME in names:
        return names or {name: name for name in classes}
    if names or len(classes) != 1:
        raise ValueError(
            f"{dataset.name} annotations have no class names: every cell is a {CLASS_NAME!r}. Say in dataset.class_of "
            f"which of dataset.classes {classes} that is, as (({CLASS_NAME!r}, {classes[0]!r}),)"
        )
    return {CLASS_NAME: classes[0]}


def _reason(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
