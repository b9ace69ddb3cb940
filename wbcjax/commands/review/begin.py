"""A review begun, or opened again: its images, classes and first cells by the arguments of the command."""

import argparse
import json
from pathlib import Path

from wbcjax.commands.image_folder import find_images, left_out, of_image
from wbcjax.commands.review.reviewed_set import SETTINGS, ImageFile, ReviewedSet, ReviewSettings, as_review_cells
from wbcjax.commands.review.training import models_of
from wbcjax.smear.field import read_image
from wbcjax.smear.read import FieldSet, read
from wbcjax.system.files import write_atomically
from wbcjax.system.places import check_writable
from wbcjax.system.progress import Bar

SIZES = "images.json"  # in the folder of a review: sizes of images, so that each is decoded once
CELL = ("cell",)  # the classes where none are given

Begun = tuple[ReviewedSet, list[str], list[str]]


def begun(options: argparse.Namespace) -> Begun:
    """The set, the places of its models, and a line for all that is left out. Raises OSError and ValueError."""
    *runs, images = options.place
    run = runs[0] if runs else None
    folder: Path = options.out
    settings, known = _settings(options, run)
    found, left = _image_files(images, folder, settings) if known is None else _annotated(known)
    if not found:
        raise ValueError("\n".join([f"{images}: none of its images can be read", *left]))
    cells = None if known is None else {field.name: as_review_cells(field) for field in known.fields}
    reviewed = ReviewedSet(folder, found, settings, cells, options.reviewer)
    if options.min_score is not None and reviewed.settings.threshold != options.min_score:
        raise ValueError(
            f"{folder} is a review that began with --min-score {reviewed.settings.threshold:g}: leave it out, or give "
            "another --out"
        )
    return reviewed, models_of(folder, run), left


def check_folder(folder: Path, images: Path) -> None:
    """Raise OSError or ValueError unless the folder is one of a review, or may become one."""
    place = images if images.is_dir() else images.parent
    if folder.resolve() == place.resolve():
        raise ValueError(f"--out leads to {folder}, where the images lie: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out leads to {folder}, which is a file: choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).exists():
        raise FileExistsError(f"--out leads to {folder}, which holds something else: choose a new or empty folder")
    check_writable(folder)


def _settings(options: argparse.Namespace, run: Path | None) -> tuple[ReviewSettings, FieldSet | None]:
    """The settings, and the annotated set where there is one. Classes are the run's, if there is a run."""
    classes, attribute, threshold = options.classes, "cell", 0.5
    if run is not None:
        from wbcjax.input.settings import FieldSetSettings
        from wbcjax.runs.folder import DETECTION, check_kind, load_config

        config = load_config(run, options.trust_parts)
        check_kind(config, DETECTION, run)
        dataset = FieldSetSettings.from_config(config.dataset)
        if classes:
            raise ValueError(f"--classes is for a review without a run; {run} has {', '.join(dataset.classes)}")
        classes, attribute = dataset.classes, dataset.class_attribute
        threshold = float(config.evaluate.score_threshold)
    known = None
    if options.annotations:
        class_of = {name: label for label, name in enumerate(classes or (), start=1)} or None
        known = read(
            options.annotations,
            options.place[-1],
            class_of,
            group_attribute=options.group_attribute,
            max_pixels=options.max_pixels,
        )
        classes = classes or known.classes
    if options.min_score is not None:
        threshold = options.min_score
    return ReviewSettings(tuple(classes or CELL), threshold, attribute, options.max_pixels), known


def _annotated(known: FieldSet) -> tuple[list[ImageFile], list[str]]:
    """The images of an annotated set, and a line for each kind of what a review does not keep."""
    images = [ImageFile(one.name, one.path, one.height, one.width, one.group) for one in known.fields if one.path]
    return images, [*known.omissions(), *(f"not kept: {count} {what}" for what, count in known.unkept.items() if count)]


def _image_files(images: Path, folder: Path, settings: ReviewSettings) -> tuple[list[ImageFile], list[str]]:
    """The images of a file or folder, each decoded once, and a line for each that cannot be read."""
    paths, failed, found = find_images(images), left_out(images), []
    known = _known_sizes(folder / SIZES)
    sizes: dict[str, list[int]] = {}
    with Bar("read", "image", len(paths)) as bar:
        for path in paths:
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            try:
                if known.get(path.name, [])[:2] == mark:
                    height, width = known[path.name][2:]
                else:
                    height, width = read_image(path, settings.max_pixels).shape[:2]
                sizes[path.name] = [*mark, height, width]
                found.append(ImageFile(path.name, path, height, width))
            except (OSError, ValueError) as error:
                failed.append(of_image(path, error))
            bar.advance()
    if sizes != known:
        write_atomically(folder / SIZES, json.dumps(sizes).encode())
    return found, failed


def _known_sizes(path: Path) -> dict[str, list[int]]:
    try:
        return {str(name): list(map(int, size)) for name, size in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or broken: they are read again
        return {}
