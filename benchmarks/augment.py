"""What each augmentation of a field costs, and what it looks like: `python benchmarks/augment.py [--sheet PATH]`.

Drawn fields of 512 x 512 pixels with 20 outlined cells and others that nobody annotated, kept in memory, on a canvas of
their size. The table has milliseconds of one core for a whole sample, image, masks and all, by the median of rounds in
which all take turns, and the difference to a field that is only flipped. `--sheet` writes a picture instead: one field
under each augmentation, with the outlines of its cells as the masks have them.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it sees its own folder alone

from benchmarks.timing import WARM_UP, in_turns, timed
from wbcjax.batch import Batch
from wbcjax.input.augment import Augment, CopyPaste, Elastic
from wbcjax.input.field_set import source
from wbcjax.input.pipeline import train_samples
from wbcjax.input.settings import FieldSetSettings, SyntheticSettings
from wbcjax.input.split import SplitSettings
from wbcjax.report.draw import write
from wbcjax.smear.synthetic import CLASSES

SIDE, CELLS, FIELDS = 512, 20, 16
ROUNDS, SAMPLES = 9, 32  # samples a round
FLIPS = Augment(flip_horizontal=True, flip_vertical=True, rotate=True)
ONE_BY_ONE = {
    "flips and right angles": FLIPS,
    "scale 0.5 to 2, shift": replace(FLIPS, scale=(0.5, 2.0), shift=True),
    "turn by any angle": replace(FLIPS, turn=180.0),
    "elastic": replace(FLIPS, elastic=Elastic(10.0, 64.0)),
    "turn and elastic, at once": replace(FLIPS, turn=180.0, elastic=Elastic(10.0, 64.0)),
    "paste, up to 8 cells": replace(FLIPS, paste=CopyPaste(8)),
    "stain": replace(FLIPS, stain=0.1),
    "defocus": replace(FLIPS, defocus=2.0),
    "shot and read noise": replace(FLIPS, shot_noise=8.0, read_noise=4.0),
    "jpeg": replace(FLIPS, jpeg=40),
}
COLOURS = replace(FLIPS, brightness=0.15, contrast=0.15, saturation=0.15, hue=8.0)
ALL = replace(
    COLOURS,
    scale=(0.5, 2.0),
    shift=True,
    turn=180.0,
    elastic=Elastic(10.0, 64.0),
    paste=CopyPaste(8),
    stain=0.1,
    defocus=2.0,
    shot_noise=8.0,
    read_noise=4.0,
    jpeg=40,
)
DATASET = FieldSetSettings(
    name="synthetic",
    classes=CLASSES,
    synthetic=SyntheticSettings(count=FIELDS + 1, height=SIDE, width=SIDE, cells=(CELLS, CELLS), others=(3, 6)),
    split=SplitSettings(train_fraction=FIELDS / (FIELDS + 1)),
    canvas=(SIDE, SIDE),
    max_cells=2 * CELLS,
)
PANEL, COLUMNS, CAPTION, SHEET_CELLS = 300, 4, 26, 7  # pixels, panels a row, pixels, cells of the field that is shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, metavar="PATH", help="write a picture, and measure nothing")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.sheet:
        cv2.imwrite(str(options.sheet), cv2.cvtColor(sheet(), cv2.COLOR_RGB2BGR))
        return
    fields = source(DATASET, "train")

    def samples(augment: Augment) -> Callable[[], None]:
        stream, place = train_samples(fields, DATASET, augment, seed=0), count()

        def draw() -> None:
            for _ in range(SAMPLES):
                stream[next(place)]

        return draw

    runs = {name: partial(timed, samples(augment)) for name, augment in {**ONE_BY_ONE, "all of them": ALL}.items()}
    times = in_turns(runs, ROUNDS)
    each = {name: 1e3 * statistics.median(one.cpu for one in of[WARM_UP:]) / SAMPLES for name, of in times.items()}
    print("| augmentation | ms a field | more than flips |\n|---|---|---|")
    for name, of in each.items():
        print(f"| {name} | {of:.1f} | {of - each['flips and right angles']:.1f} |")


def sheet() -> np.ndarray:
    """One drawn field under each augmentation, the outlines of its cells as the masks have them."""
    look = {"height": PANEL, "width": PANEL, "cells": (SHEET_CELLS, SHEET_CELLS), "others": (1, 1)}
    dataset = replace(
        DATASET,
        synthetic=replace(DATASET.synthetic, count=3, **look),
        canvas=(320, 320),
        split=SplitSettings(train_fraction=2 / 3),
    )
    fields = source(dataset, "train").select([0])
    shown = {"as it is": Augment(), **ONE_BY_ONE, "all of them": ALL}
    drawn: dict[str, Any] = {
        name: train_samples(fields, dataset, augment, seed=5)[0] for name, augment in shown.items()
    }
    panels = [_panel(name, batch) for name, batch in drawn.items()]
    rows = [np.hstack(panels[row : row + COLUMNS]) for row in range(0, len(panels), COLUMNS)]
    return np.vstack(rows)


def _panel(name: str, batch: Batch) -> np.ndarray:
    """A sample with its cells outlined, ignored ones in grey, and its name above."""
    image = batch.image[0].copy()
    for k in np.flatnonzero(batch.outlined[0]):
        x, y = batch.corners[0, k].tolist()
        outlines, _ = cv2.findContours(batch.masks[0, k], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        colour = (140, 140, 140) if batch.crowd[0, k] else (0, 150, 60)
        cv2.drawContours(image, outlines, -1, colour, 1, offset=(x, y))
    panel = np.full((image.shape[0] + CAPTION + 6, image.shape[1] + 6, 3), 255, np.uint8)
    panel[CAPTION:-6, 3:-3] = image
    write(panel, name, 4, 6, 0.45, (25, 20, 30))
    return panel


if __name__ == "__main__":
    main()
