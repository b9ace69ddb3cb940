"""`wbcjax crop`: cells cut out of annotated fields."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from wbcjax.commands.arguments import add_set, add_trust, margin, reading_of, seed, size, trained_model
from wbcjax.commands.messages import count, exit_for_failed
from wbcjax.system.terminal import show

if TYPE_CHECKING:
    from wbcjax.commands.crop.folder import Outcome


def add(commands: argparse._SubParsersAction) -> None:
    crop = commands.add_parser("crop", help="cut cells out of annotated fields, as class folders for a classifier")
    add_set(crop)
    crop.add_argument("--out", type=Path, required=True, help="folder for the crops and crops.csv; new or empty")
    crop.add_argument("--margin", type=margin, default=0.1, help="around a cell, of its box's length (default: 0.1)")
    crop.add_argument("--size", type=size, help="pixels of a crop's side (default: as large as it is in the field)")
    crop.add_argument("--mask-background", action="store_true", help="black outside the cell's outline")
    crop.add_argument("--negatives", metavar="CLASS", help="also a class of nuclei and background without a cell")
    crop.add_argument("--balance", action="store_true", help="no more negatives of a field than it has annotated cells")
    crop.add_argument(
        "--run",
        dest="runs",
        metavar="RUN",
        type=trained_model,
        nargs="+",
        default=[],
        help="also cut out what these detectors find: cells by their outlines, and false alarms as the negatives",
    )
    add_trust(crop)
    crop.add_argument("--seed", type=seed, default=0, help="of the choice of negatives (default: 0)")
    crop.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="whether problems in the annotations make the command fail, or are left out (default: raise)",
    )
    crop.set_defaults(run=_crop)


def _crop(options: argparse.Namespace) -> None:
    from wbcjax.commands.crop.folder import crop_folder, without_classes
    from wbcjax.commands.crop.pieces import CropSettings
    from wbcjax.smear.formats.image_files import unread_images
    from wbcjax.smear.problem_list import first_of_each_kind
    from wbcjax.smear.read import read

    found = read(options.annotations, options.images, on_error=options.on_error, **reading_of(options))
    settings = CropSettings(
        margin=options.margin,
        size=options.size,
        mask_background=options.mask_background,
        negatives=options.negatives,
        balance=options.balance,
        seed=options.seed,
        runs=tuple(map(str, options.runs)),
    )
    detectors = None
    if options.runs:
        from wbcjax.commands.crop.detected import load_detectors
        from wbcjax.system import heap, runtime

        heap.tune_malloc()
        runtime.use_compilation_cache()
        detectors = load_detectors(options.runs, options.trust_parts)
    outcome = crop_folder(without_classes(found, options.leave_out), options.out, settings, detectors)
    lines = [
        *_crop_lines(outcome),
        *found.omissions(),
        *(f"  {line}" for line in first_of_each_kind(found.problems, "")),
    ]
    if unread := unread_images(options.images):
        lines.append(f"{count(len(unread), 'image')} beside them not read: {', '.join(path.name for path in unread)}")
    if outcome.crops:
        lines.append(f"{options.out} has the crops, crops.csv and crops.json")
    show(lines)
    exit_for_failed(outcome.failed)


def _crop_lines(outcome: "Outcome") -> list[str]:
    lines = []
    for label, border in outcome.at_border.items():
        rules = {rule: count for (name, rule), count in outcome.crops.items() if name == label}
        of_rules = ", ".join(f"{count} {rule}" for rule, count in rules.items())
        lines.append(f"{label}: {count(sum(rules.values()), 'crop')} ({of_rules}; {border} at the border)")
    if outcome.short:
        lines.append(f"{count(outcome.short, 'negative')} fewer than wanted: their fields have no more room")
    if outcome.untrusted:
        lines.append(f"no negatives from {count(len(outcome.untrusted), 'field')} that have cells left out")
    return lines
