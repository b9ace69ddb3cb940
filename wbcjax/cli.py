"""The `wbcjax` command.

What a command runs on is imported when it runs: `inspect` and `--help` need no jax, and do not wait for it.
"""

import argparse
import math
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wbcjax.enhance import METHODS
from wbcjax.report.tables import printable
from wbcjax.smear.read import FORMATS

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from wbcjax import crop_folder
    from wbcjax.predict_folder import Outcome


def main(arguments: list[str] | None = None) -> None:
    """Run the command line given, or the process's own."""
    parser = argparse.ArgumentParser(prog="wbcjax", description="White blood cells in images of smears.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_inspect(commands)
    _add_enhance(commands)
    _add_crop(commands)
    _add_experiment(commands)
    options, others = parser.parse_known_args(arguments)
    if others and "overrides" not in options:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.overrides = others
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        sys.exit("\n".join(map(printable, f"wbcjax: {error}".splitlines())))
    except KeyboardInterrupt:
        sys.stderr.write("wbcjax: interrupted; the files written so far are whole\n")
        sys.exit(128 + signal.SIGINT)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser("predict", help="find cells in images with a trained model")
    predict.add_argument("workdir", type=Path, help="folder of a training run, such as runs/demo")
    predict.add_argument("images", type=Path, help="an image, or a folder of images")
    predict.add_argument("--out", type=Path, required=True, help="folder for pictures, cells.csv, VIA and COCO files")
    predict.add_argument(
        "--classifier", type=Path, help="folder of a training run on crops, to name each cell that is found by its crop"
    )
    predict.add_argument("--checkpoint", choices=("best", "latest"), default="best")
    predict.add_argument(
        "--min-score", type=_score, help="of a cell, from 0 to 1; predictions.json has all (default: the run's)"
    )
    predict.add_argument(
        "--scale",
        type=_scale,
        help="canvas pixels per image pixel, for images of another magnification (default: as the run was trained)",
    )
    predict.add_argument(
        "--pixel-size",
        type=_pixel_size,
        help="micrometres per pixel of the images, for sizes in micrometres too (default: the run's, unless --scale "
        "says that the magnification is another)",
    )
    predict.set_defaults(run=_predict)


def _scale(text: str) -> float:
    scale = _number(text)
    if not (0 < scale < math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no scale; give a number above 0")
    return scale


def _score(text: str) -> float:
    score = _number(text)
    if not (0 <= score <= 1):
        raise argparse.ArgumentTypeError(f"{text} is no score; give a number from 0 to 1")
    return score


def _pixel_size(text: str) -> float:
    pixel_size = _number(text)
    if not (0 < pixel_size < math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no pixel size; give micrometres per pixel, a number above 0")
    return pixel_size


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which no range holds


def _predict(options: argparse.Namespace) -> None:
    from wbcjax import runtime
    from wbcjax.classify import load_classifier
    from wbcjax.predict import load
    from wbcjax.predict_folder import predict_folder
    from wbcjax.run import load_config

    runtime.use_compilation_cache()
    config = load_config(options.workdir)
    model = load(options.workdir, options.checkpoint)
    if options.scale is not None:
        model.scales = (options.scale, options.scale)
    min_score = config.evaluate.score_threshold if options.min_score is None else options.min_score
    outcome = predict_folder(
        model,
        options.images,
        options.out,
        min_score,
        config.dataset.class_attribute,
        _pixel_size_of(options, config),
        load_classifier(options.classifier, options.checkpoint) if options.classifier else None,
    )
    if outcome.searched:
        sys.stdout.write(f"{_summary(outcome)}\n{options.out} has pictures, label images, a table and annotations\n")
    _exit_for_failed(outcome.failed)


def _pixel_size_of(options: argparse.Namespace, config: "ConfigDict") -> float:
    """Micrometres per pixel of the images to be searched; 0: not known."""
    if options.pixel_size is not None:
        return options.pixel_size
    return 0.0 if options.scale is not None else config.dataset.get("pixel_size", 0.0)


def _summary(outcome: "Outcome") -> str:
    cells = sum(len(image.cells.rles) for image in outcome.searched)
    tiled = sum(len(image.layout.tiles) > 1 for image in outcome.searched)
    scales = sorted({f"{image.layout.scale:.3g}" for image in outcome.searched}, key=float)
    at = f" at scale {scales[0]}" + (f" to {scales[-1]}" if scales[1:] else "") if scales else ""
    told = f"{_count(cells, 'cell')} in {_count(len(outcome.searched), 'image')}{at}"
    if tiled:
        told += f", {tiled} of them in tiles. Where these show cells larger than in training, give a smaller --scale"
    return told


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser("inspect", help="look an annotated set over, and propose settings for it")
    inspect.add_argument("annotations", type=Path, help="a VIA or COCO file, or a folder of annotation files")
    inspect.add_argument("images", type=Path, help="the folder that image names are relative to")
    inspect.add_argument("--out", type=Path, help="folder for a page, index.html, and contact_sheet.png")
    inspect.add_argument("--format", choices=FORMATS, help="of the annotations (default: recognised)")
    inspect.add_argument("--class-attribute", default="cell", help="VIA: region attribute of the class (default: cell)")
    inspect.add_argument("--group-attribute", help="file attribute (a patient, say) whose fields belong together")
    inspect.add_argument(
        "--leave-out", action="append", default=[], metavar="CLASS", help="a class to leave out; may be given again"
    )
    inspect.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="whether problems make the command fail, after it has shown all else (default: raise)",
    )
    inspect.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from wbcjax.inspect_set import inspect, inspection_text, write_inspection

    inspection = inspect(
        options.annotations,
        options.images,
        file_format=options.format,
        class_attribute=options.class_attribute,
        group_attribute=options.group_attribute,
        leave_out=options.leave_out,
    )
    sys.stdout.write(inspection_text(inspection))
    if options.out is not None:
        write_inspection(inspection, options.out)
        sys.stdout.write(f"\n{options.out} has the page, index.html, and contact_sheet.png\n")
    if inspection.found.problems and options.on_error == "raise":
        told = _count(len(inspection.found.problems), "problem")
        sys.exit(f"wbcjax: {told}, listed above; --on-error=skip leaves out what has any")


def _add_enhance(commands: argparse._SubParsersAction) -> None:
    enhance = commands.add_parser("enhance", help="enhance the contrast of images")
    enhance.add_argument("images", type=Path, help="an image, or a folder of images")
    enhance.add_argument("--method", choices=METHODS, default="eff", help="(default: eff)")
    enhance.add_argument("--out", type=Path, required=True, help="folder for the enhanced images")
    enhance.add_argument("--compare", action="store_true", help="also a sheet of each image under all methods")
    enhance.add_argument("--max-value", type=float, help="the value of white: 4095 for a 12-bit camera's images")
    enhance.set_defaults(run=_enhance)


def _enhance(options: argparse.Namespace) -> None:
    from wbcjax.enhance_folder import enhance_folder

    outcome = enhance_folder(
        options.images, options.method, options.out, compare=options.compare, max_value=options.max_value
    )
    told = f"{outcome.enhanced} images are in {options.out}"
    if outcome.unchanged and options.method != "none":
        told += f"; {options.method} left {len(outcome.unchanged)} of them as they were"
    if outcome.unchanged and options.method == "eff":
        told += ", having no under-exposed part (eff_minmax stretches the grey levels first)"
    sys.stdout.write(f"{told}\n")
    _exit_for_failed(outcome.failed)


def _add_crop(commands: argparse._SubParsersAction) -> None:
    crop = commands.add_parser("crop", help="cut cells out of annotated fields, as class folders for a classifier")
    crop.add_argument("annotations", type=Path, help="a VIA or COCO file, or a folder of annotation files")
    crop.add_argument("images", type=Path, help="the folder that image names are relative to")
    crop.add_argument("--out", type=Path, required=True, help="folder for the crops and crops.csv; new or empty")
    crop.add_argument("--margin", type=_margin, default=0.1, help="around a cell, of its box's length (default: 0.1)")
    crop.add_argument("--size", type=_size, help="pixels of a crop's side (default: as large as it is in the field)")
    crop.add_argument("--mask-background", action="store_true", help="black outside the cell's outline")
    crop.add_argument("--negatives", metavar="CLASS", help="also a class of nuclei and background that are no cell's")
    crop.add_argument("--balance", action="store_true", help="no more negatives of a field than it has annotated cells")
    crop.add_argument("--seed", type=_seed, default=0, help="of the choice of negatives (default: 0)")
    crop.add_argument("--format", choices=FORMATS, help="of the annotations (default: recognised)")
    crop.add_argument("--class-attribute", default="cell", help="VIA: region attribute of the class (default: cell)")
    crop.add_argument("--group-attribute", help="file attribute (a patient, say) whose fields belong together")
    crop.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="whether problems in the annotations make the command fail, or are left out (default: raise)",
    )
    crop.set_defaults(run=_crop)


def _margin(text: str) -> float:
    margin = _number(text)
    if not (0 <= margin <= 10):
        raise argparse.ArgumentTypeError(f"{text} is no margin; give a number from 0 to 10")
    return margin


def _size(text: str) -> int:
    size = _number(text)
    if not (1 <= size <= 4096 and size == int(size)):
        raise argparse.ArgumentTypeError(f"{text} is no size; give a whole number of pixels from 1 to 4096")
    return int(size)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no seed; give a whole number from 0 up")
    return int(text)


def _crop(options: argparse.Namespace) -> None:
    from wbcjax.crop_folder import crop_folder
    from wbcjax.smear.read import read

    found = read(
        options.annotations,
        options.images,
        file_format=options.format,
        class_attribute=options.class_attribute,
        group_attribute=options.group_attribute,
        on_error=options.on_error,
    )
    outcome = crop_folder(
        found,
        options.out,
        margin=options.margin,
        size=options.size,
        mask_background=options.mask_background,
        negatives=options.negatives,
        balance=options.balance,
        seed=options.seed,
    )
    lines = [*_crop_lines(outcome), *found.omissions(), *(f"  {problem}" for problem in found.problems)]
    sys.stdout.write("\n".join([*map(printable, lines), f"{options.out} has the crops, and crops.csv\n"]))


def _crop_lines(outcome: "crop_folder.Outcome") -> list[str]:
    lines = []
    for label, border in outcome.at_border.items():
        rules = {rule: count for (name, rule), count in outcome.crops.items() if name == label}
        of_rules = ", ".join(f"{count} {rule}" for rule, count in rules.items())
        lines.append(f"{label}: {_count(sum(rules.values()), 'crop')} ({of_rules}; {border} at the border)")
    if outcome.short:
        lines.append(f"{_count(outcome.short, 'negative')} fewer than wanted: their fields have no more room")
    if outcome.untrusted:
        lines.append(f"no negatives from {_count(len(outcome.untrusted), 'field')} that have cells left out")
    return lines


def _add_experiment(commands: argparse._SubParsersAction) -> None:
    experiment = commands.add_parser("experiment", help="train and evaluate what a paper's tables compare")
    experiments = experiment.add_subparsers(required=True, metavar="EXPERIMENT")
    contrast = experiments.add_parser(
        "contrast",
        help="once for each contrast enhancement: Tables 1 and 2 of Revanda et al.",
        usage="%(prog)s [-h] --config FILE.py [--config.a.b=c ...] --workdir DIR [--methods METHOD ...] "
        "[--protocol {default,paper}]",
        epilog="The same command goes on from where it stopped.",
    )
    contrast.add_argument("--config", required=True, metavar="FILE.py", help="the experiment; --config.a.b=c overrides")
    contrast.add_argument("--workdir", type=Path, required=True, help="folder of the runs, a folder each, and tables")
    contrast.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="METHOD",
        help=f"of {', '.join(METHODS)} (default: the paper's five, for EFF eff_minmax)",
    )
    contrast.add_argument(
        "--protocol",
        choices=("default", "paper"),
        default="default",
        help="default: the config's split; paper: trained on flips of 20 fields of each subtype and tested on all "
        "fields, also on those that the flips are of",
    )
    contrast.set_defaults(run=_contrast, overrides=[])


def _contrast(options: argparse.Namespace) -> None:
    from wbcjax import runtime
    from wbcjax.config_file import load_config_file
    from wbcjax.contrast_experiment import PAPER_METHODS, contrast, tables_path
    from wbcjax.train.loop import NonFiniteLoss

    runtime.quiet_libraries()
    runtime.tune_malloc()
    runtime.use_compilation_cache()
    config = load_config_file(options.config, options.overrides)
    try:
        stopped_by = contrast(config, options.workdir, options.methods or PAPER_METHODS, options.protocol)
    except NonFiniteLoss as error:
        sys.exit(f"wbcjax: {error}")
    if stopped_by:
        sys.exit(128 + stopped_by)
    sys.stdout.write(f"{tables_path(options.workdir).read_text()}\n{options.workdir} has tables.txt, results.json\n")


def _exit_for_failed(failed: list[str]) -> None:
    """End the program with the images that could not be read, if there are any."""
    if failed:
        told = f"wbcjax: {_count(len(failed), 'image')} could not be read:"
        sys.exit("\n  ".join([told, *map(printable, failed)]))


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'s' * (number != 1)}"
