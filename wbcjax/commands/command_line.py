"""Command lines of the programs that take a config: overrides of it and flags are separated, and none is ignored."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]+)(?:=(?P<value>.*))?", re.DOTALL)
NO_FLAG = re.compile(r"(?!-)|-[\d.]", re.DOTALL)  # the start of a value: of a negative number, but not of a flag


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that change the config, and the others.

    One without "=", as in `--config.train.steps 5`, takes the next argument where that is no flag.
    """
    overrides, others, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        found = OVERRIDE.fullmatch(argument)
        if not found:
            others.append(argument)
            continue
        if found["value"] is None and not found["no"] and rest and NO_FLAG.match(rest[0]):
            argument += f"={rest.pop(0)}"
        overrides.append(argument)
    return overrides, others


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parse absl's flags of a whole command line; for `app.run(main, flags_parser=parse_flags)`.

    Returns the arguments that change the config, where the program has a flag `config`. Any argument that is no flag
    ends the program with one line.
    """
    program = Path(arguments[0]).name
    try:
        given = flags.FLAGS.read_flags_from_files(list(arguments[1:]), force_gnu=False)
        overrides, given = split_arguments(given) if "config" in flags.FLAGS else ([], given)
        others = flags.FLAGS([arguments[0], *given])[1:]
    except flags.Error as error:
        sys.exit(f"{program}: {' '.join(str(error).split())}")
    if others:
        sys.exit(f"{program}: unrecognized arguments: {' '.join(others)}; flags begin with --, as --workdir=runs/X")
    return overrides
