"""`wbcjax inspect`: an annotated set, looked over."""

import argparse
import sys
from pathlib import Path

from wbcjax.commands.arguments import add_set, reading_of
from wbcjax.commands.messages import count, exit_for_failed


def add(commands: argparse._SubParsersAction) -> None:
    inspect = commands.add_parser("inspect", help="look an annotated set over, and propose settings for it")
    add_set(inspect)
    inspect.add_argument("--out", type=Path, help="folder for a page, index.html, contact_sheet.png and problems.csv")
    inspect.add_argument(
        "--write", type=Path, metavar="FILE.py", help="a new file for the proposed config: train with it as it stands"
    )
    inspect.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="whether problems make the command fail, after it has shown all else (default: raise)",
    )
    inspect.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from wbcjax.commands.inspect import annotated_set
    from wbcjax.commands.inspect.annotated_set import inspect, inspection_blocks, proposed_file
    from wbcjax.smear.field import AnnotationError
    from wbcjax.system.files import check_new, write_new
    from wbcjax.system.places import check_out
    from wbcjax.system.terminal import show

    if options.write is not None:
        check_new(options.write)  # before the set is looked over

    if options.out is not None:
        check_out(options.out, [options.images / "*"])  # before the set is looked over
    try:
        inspection = inspect(options.annotations, options.images, leave_out=options.leave_out, **reading_of(options))
    except AnnotationError as error:  # there is no field to show, and all problems are of use
        if options.out is not None:
            annotated_set.write_problems(options.out, error.problems)
        raise
    if options.out is not None:  # first: the command ends when the reader of its text does
        annotated_set.write_inspection(inspection, options.out)
    hints = []
    if options.write is not None:
        write_new(options.write, proposed_file(inspection).encode())
        hints.append(f"wbcjax train --config {options.write} --workdir runs/mine   trains with what is proposed")
    if options.out is not None:
        hints.append(f"{options.out} has the page, index.html, contact_sheet.png and problems.csv")
    show(*inspection_blocks(inspection), hints)
    if inspection.found.problems and options.on_error == "raise":
        problems = count(len(inspection.found.problems), "problem")
        sys.exit(f"wbcjax: {problems}, listed above; --on-error=skip leaves out cells and fields with problems")
    exit_for_failed(list(inspection.failed))
