"""Arguments that commands share, and the numbers that they take."""

import argparse
import math
from pathlib import Path
from typing import Any

from wbcjax.runs.located import located
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.image_header import MAX_PIXELS

CONFIG_USAGE = "--config FILE.py [--config.a.b=c ...]"


def add_set(parser: argparse.ArgumentParser) -> None:
    """The arguments for the place of an annotated set and how to read it."""
    parser.add_argument("annotations", type=Path, help="a VIA or COCO file, or a folder of annotation files")
    parser.add_argument("images", type=Path, help="the folder that image names are relative to")
    parser.add_argument("--format", choices=FORMATS, help="of the annotations (default: recognised)")
    parser.add_argument("--class-attribute", default="cell", help="VIA: region attribute of the class (default: cell)")
    parser.add_argument("--group-attribute", help="file attribute (a patient, say) whose fields belong together")
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="CLASS", help="a class to leave out; may be given again"
    )
    parser.add_argument(
        "--crowd-as-cells", action="store_true", help="take crowd regions (COCO, VIA: iscrowd) for cells"
    )
    parser.add_argument(
        "--rectangles-as-boxes", action="store_true", help="take outlines that are rectangles for boxes"
    )
    parser.add_argument(
        "--semantic",
        action=argparse.BooleanOptionalAction,
        help="label images: their values are classes, and each connected part is a cell; or each value is one cell "
        "(default: that, unless it looks wrong)",
    )
    add_max_pixels(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """The argument for the experiment; `options.overrides` then has the arguments that change it."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME or FILE.py",
        help="the experiment, shipped or your own; a variant after ':'",
    )
    parser.set_defaults(overrides=[])


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `wbcjax.smear.read.read` that those of `add_set` give, beside the places."""
    return {
        "file_format": options.format,
        "class_attribute": options.class_attribute,
        "group_attribute": options.group_attribute,
        "max_pixels": options.max_pixels,
        "crowd_as_cells": options.crowd_as_cells,
        "rectangles_as_boxes": options.rectangles_as_boxes,
        "semantic": options.semantic,
    }


def add_max_pixels(parser: argparse.ArgumentParser, default: int | None = MAX_PIXELS) -> None:
    """The argument for the largest size of images."""
    shown = "the run's" if default is None else str(default)
    parser.add_argument(
        "--max-pixels",
        type=max_pixels,
        default=default,
        help=f"of an image; larger ones are refused (default: {shown})",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The argument that allows to run code that a run's config names."""
    parser.add_argument(
        "--trust-parts",
        action="store_true",
        help="run the code from outside of wbcjax that the model's config names; only if you trust its source",
    )


def add_tta(parser: argparse.ArgumentParser) -> None:
    """The argument for test-time augmentation."""
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: look at every image flipped, turned and at other scales too, and join what is "
        "found; takes many times as long",
    )


def add_joining(parser: argparse.ArgumentParser) -> None:
    """The arguments by which several processes share the work: see `wbcjax.system.processes.join`."""
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="process 0, where several share the images")
    parser.add_argument("--process-id", type=int, help="of this process, from 0")
    parser.add_argument("--num-processes", type=int, help="the number of processes")
    parser.add_argument("--distributed", action="store_true", help="one of several processes that JAX finds")


def trained_model(text: str) -> Path:
    """The place of a trained model: a run, an exported or a packed one, the starter, or one of the hub."""
    try:
        return located(text)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def max_pixels(text: str) -> int:
    if not text.isdecimal() or len(text) > 10 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels; give a whole number above 0")
    return int(text)


def scale(text: str) -> float:
    scale = number(text)
    if not (0 < scale < math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no scale; give a number above 0")
    return scale


def score(text: str) -> float:
    score = number(text)
    if not (0 <= score <= 1):
        raise argparse.ArgumentTypeError(f"{text} is no score; give a number from 0 to 1")
    return score


def pixel_size(text: str) -> float:
    pixel_size = number(text)
    if not (0 < pixel_size < math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no pixel size; give micrometres per pixel, a number above 0")
    return pixel_size


def margin(text: str) -> float:
    margin = number(text)
    if not (0 <= margin <= 10):
        raise argparse.ArgumentTypeError(f"{text} is no margin; give a number from 0 to 10")
    return margin


def size(text: str) -> int:
    size = number(text)
    if not (1 <= size <= 4096 and size == int(size)):
        raise argparse.ArgumentTypeError(f"{text} is no size; give a whole number of pixels from 1 to 4096")
    return int(size)


def seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no seed; give a whole number from 0 up")
    return int(text)


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which no range holds
