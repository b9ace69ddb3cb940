"""`wbcjax enhance`: the contrast and the stain of images."""

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path

from wbcjax.commands.arguments import add_max_pixels
from wbcjax.commands.messages import exit_for_failed
from wbcjax.enhance import DRAWN, METHODS, TO_A_STAIN, Enhancement, Stain
from wbcjax.system.terminal import Verbatim, show


def add(commands: argparse._SubParsersAction) -> None:
    enhance = commands.add_parser("enhance", help="enhance the contrast of images, or normalise their stain")
    enhance.add_argument("images", type=Path, help="an image, or a folder of images")
    enhance.add_argument("--method", choices=METHODS, default="eff", help="(default: eff)")
    enhance.add_argument("--out", type=Path, required=True, help="folder for the enhanced images")
    enhance.add_argument("--compare", action="store_true", help="also a sheet of each image under all methods")
    enhance.add_argument("--max-value", type=float, help="the value of white: 4095 for a 12-bit camera's images")
    enhance.add_argument(
        "--reference",
        type=Path,
        metavar="PATH",
        help="an image, or a folder of images, that reinhard and macenko bring the stain to (default: drawn smears)",
    )
    add_max_pixels(enhance)
    enhance.set_defaults(run=_enhance)


def _enhance(options: argparse.Namespace) -> None:
    from wbcjax.commands.enhance.folder import enhance_folder, stain_of

    if options.reference and options.method not in TO_A_STAIN and not options.compare:
        raise ValueError(f"--reference is for --method {' and '.join(TO_A_STAIN)}, and for --compare: leave it out")
    limits = {"max_value": options.max_value, "max_pixels": options.max_pixels}
    stain = stain_of(options.reference, **limits) if options.reference else DRAWN
    outcome = enhance_folder(
        options.images,
        Enhancement(options.method, stain),
        options.out,
        compare=options.compare,
        **limits,
    )
    told = f"{outcome.enhanced} images are in {options.out}"
    if outcome.unchanged and options.method != "none":
        told += f"; {options.method} left {len(outcome.unchanged)} of them as they were"
    if outcome.unchanged and options.method == "eff":
        told += ", having no under-exposed part (eff_minmax stretches the grey levels first)"
    lines = [told]
    if options.reference:
        lines.append(Verbatim(f"to train and predict with the stain of {options.reference}: \\"))
        lines += _flags(stain)
    show(lines)
    exit_for_failed(outcome.failed)


def _flags(stain: Stain) -> list[Verbatim]:
    """The flags of a training by which its config keeps a stain, to copy."""
    flags = [f"--config.dataset.stain.{name}={shlex.quote(str(of))}" for name, of in asdict(stain).items()]
    return [Verbatim(f"    {flag}" + " \\" * (flag != flags[-1])) for flag in flags]
