"""Label images whose values are classes, not cells: how they are recognised, and read by connected parts."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Integer
from skimage import measure

from wbcjax.smear.formats import mask_files
from wbcjax.smear.formats.checks import Fault

FEW = 8  # values: of a set that may be classes
CLASSES = 64  # at most, of a set that is said to have classes
ALIKE = 0.8  # share of the fields whose values are among those of most fields
APART = 0.25  # share of values in parts that do not touch, from which on 1, 2, ... are taken for classes
NEAR = 16  # grey values that a lossy format moves a pixel by, away from its cell's border
NEAR_SHARE = 0.98  # of a lossy mask's pixels, at the least
LOSSLESSLY = "export it as PNG or TIFF"


class Tally(NamedTuple):
    """What a label image holds."""

    values: frozenset[int]  # without 0; of more than FEW the first ones
    apart: int  # how many of them are in parts that do not touch


def tally(values: Iterable[int], apart: Collection[int]) -> Tally:
    return Tally(frozenset(list(values)[: FEW + 1]), len(apart))


def check_cells(tallies: Sequence[Tally]) -> None:
    """Fault: the same few values are in nearly every field, so that they are classes and not cells.

    Values other than 1, 2, ... are no numbers of cells where three fields have the same, or a part lies apart. The
    values 1, 2, ... are taken for classes where many lie in parts.
    """
    filled = [tally for tally in tallies if tally.values]
    if not filled:
        return
    common, count = Counter(tally.values for tally in filled).most_common(1)[0]
    alike = [tally for tally in filled if tally.values <= common]
    if len(common) > FEW or count < len(filled) / 2 or len(alike) < ALIKE * len(filled):
        return
    apart, values = sum(tally.apart for tally in alike), sum(len(tally.values) for tally in alike)
    if common == set(range(1, len(common) + 1)):
        classes = apart >= APART * values
    else:
        classes = apart > 0 or (len(filled) >= 3 and len(common) > 1)
    if classes:
        named = ", ".join(map(str, sorted(common)))
        raise Fault(
            f"the value{'s' * (len(common) > 1)} {named} alone {'are' if len(common) > 1 else 'is'} in {len(alike)} of "
            f"{len(filled)} label images, and {apart} of {values} in parts that do not touch: classes, it seems, not "
            "cells",
            "read the parts as cells with --semantic (config.dataset.semantic = True; config.dataset.class_of names "
            f"the classes, as ({str(min(common))!r}, 'L1')); --no-semantic takes each value of an image for one cell",
        )


def class_values(images: Iterable[Integer[np.ndarray, "h w"]]) -> list[int]:
    """The values of a set's classes, the ground's 0 among them: all of the images that have few.

    Where every image was compressed with loss, those around which the others gather. Fault: there are too many.
    """
    clean, pixels = set[int](), Counter[int]()
    for image in images:
        values, counts = np.unique(image, return_counts=True)
        if len(values) <= FEW + 1:
            clean.update(values.tolist())
        else:
            pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    found = clean or _peaks(pixels)
    if len(found) > CLASSES:
        raise Fault(f"the label images hold {len(found)} values, too many for classes", "read them without --semantic")
    return sorted(found | {0})


def _peaks(pixels: Counter[int]) -> set[int]:
    """The values around which a histogram's pixels gather."""
    total, found = sum(pixels.values()), set[int]()
    for value, _ in pixels.most_common(256):
        around = sum(pixels[near] for near in range(value - NEAR // 2, value + NEAR // 2 + 1))
        if around > (1 - NEAR_SHARE) / 4 * total and all(abs(value - other) > 2 * NEAR for other in found):
            found.add(value)
    return found


def without_loss(
    labels: Integer[np.ndarray, "h w"], values: Sequence[int], what: str
) -> tuple[Integer[np.ndarray, "h w"], int]:
    """Labels with each pixel taken to the nearest of the classes' values, and the number of pixels that this changed.

    Borders that a lossy format has blurred are smoothed. Fault: too many pixels are far from all values.
    """
    known: Any = np.array(values)
    if np.isin(labels, known).all():
        return labels, 0
    above = np.searchsorted(known, labels).clip(1, len(known) - 1)
    lower, upper = known[above - 1], known[above]
    nearest = np.where(labels - lower <= upper - labels, lower, upper)
    near = float((abs(labels.astype(np.int64) - nearest) <= NEAR).mean())
    if near < NEAR_SHARE or known.max() > 255:
        found = f"{what} holds values between those of the classes ({', '.join(map(str, values))})"
        raise Fault(found, LOSSLESSLY)
    changed = int((nearest != labels).sum())
    return cv2.medianBlur(nearest.astype(np.uint8), 5), changed


def parts(labels: Integer[np.ndarray, "h w"]) -> tuple[Integer[np.ndarray, "h w"], dict[int, int], int]:
    """The connected parts of each value, numbered from 1 on; the value of each; and how many specks are left out."""
    numbered: Any = measure.label(labels, background=0, connectivity=2)  # (h, w)
    pixels = np.bincount(numbered.ravel())
    pixels[0] = mask_files.PART_PIXELS
    specks = np.flatnonzero(pixels < mask_files.PART_PIXELS)
    if len(specks):
        numbered = np.where(np.isin(numbered, specks), 0, numbered)
    places = np.unique(numbered, return_index=True)
    value_of = {int(number): int(labels.ravel()[place]) for number, place in zip(*places, strict=True) if number}
    return numbered, value_of, len(specks)
