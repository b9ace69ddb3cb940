"""`wbcjax enhance`: the contrast of images."""

import argparse
import sys
from pathlib import Path

from wbcjax.commands.arguments import add_max_pixels
from wbcjax.commands.messages import exit_for_failed
from wbcjax.enhance import METHODS


def add(commands: argparse._SubParsersAction) -> None:
    enhance = commands.add_parser("enhance", help="enhance the contrast of images")
    enhance.add_argument("images", type=Path, help="an image, or a folder of images")
    enhance.add_argument("--method", choices=METHODS, default="eff", help="(default: eff)")
    enhance.add_argument("--out", type=Path, required=True, help="folder for the enhanced images")
    enhance.add_argument("--compare", action="store_true", help="also a sheet of each image under all methods")
    enhance.add_argument("--max-value", type=float, help="the value of white: 4095 for a 12-bit camera's images")
    add_max_pixels(enhance)
    enhance.set_defaults(run=_enhance)


def _enhance(options: argparse.Namespace) -> None:
    from wbcjax.commands.enhance.folder import enhance_folder

    outcome = enhance_folder(
        options.images,
        options.method,
        options.out,
        compare=options.compare,
        max_value=options.max_value,
        max_pixels=options.max_pixels,
    )
    told = f"{outcome.enhanced} images are in {options.out}"
    if outcome.unchanged and options.method != "none":
        told += f"; {options.method} left {len(outcome.unchanged)} of them as they were"
    if outcome.unchanged and options.method == "eff":
        told += ", having no under-exposed part (eff_minmax stretches the grey levels first)"
    sys.stdout.write(f"{told}\n")
    exit_for_failed(outcome.failed)
