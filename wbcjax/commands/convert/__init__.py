"""`wbcjax convert`: an annotated set written in another format."""

import argparse
from pathlib import Path

from wbcjax.commands.arguments import add_set, reading_of
from wbcjax.commands.messages import count
from wbcjax.smear.formats.known import FORMATS
from wbcjax.system.terminal import Attention, show

WRITTEN = tuple(name for name, known in FORMATS.items() if known.write is not None)


def add(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser("convert", help="write an annotated set in another format")
    add_set(convert)
    convert.add_argument("out", type=Path, help="a new file, or a new folder where the format is one")
    convert.add_argument("--to", choices=WRITTEN, required=True, help="the format to write")
    convert.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="whether problems in the annotations make the command fail, or are left out (default: raise)",
    )
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from wbcjax.commands.convert.annotations import check_place, write_as
    from wbcjax.smear.problem_list import first_of_each_kind
    from wbcjax.smear.read import read

    check_place(options.out, options.to, options.images)  # before the set is read
    found = read(options.annotations, options.images, on_error=options.on_error, **reading_of(options))
    lost = write_as(found, options.out, options.to, options.leave_out)
    cells = sum(len(field.cells) for field in found.fields)
    lines = [
        f"{options.out} has {count(len(found.fields), 'field')} and {count(cells, 'cell')} as {options.to}",
        *(Attention(f"lost: {sentence}") for sentence in lost),
        *found.omissions(),
        *(f"  {problem}" for problem in first_of_each_kind(found.problems, "; wbcjax inspect --out lists all")),
        *(f"worth a look: {suspect}" for suspect in first_of_each_kind(found.suspects, "")),
    ]
    show(lines)
