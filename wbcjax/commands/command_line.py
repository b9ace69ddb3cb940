"""Command lines: what changes the config is separated from the other arguments."""

import re
from collections.abc import Sequence

OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]+)(?:=(?P<value>.*))?", re.DOTALL)
FLAG = re.compile(r"^--[a-z_-]+")
NO_FLAG = re.compile(r"(?!-)|-[\d.]", re.DOTALL)  # the start of a value: of a negative number, but not of a flag


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that change the config, and the others, whose flags may be spelled with "_" for "-".

    One without "=", as in `--config.train.steps 5`, takes the next argument where that is no flag.
    """
    overrides, others, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        found = OVERRIDE.fullmatch(argument)
        if not found:
            others.append(FLAG.sub(lambda flag: flag[0].replace("_", "-"), argument))
            continue
        if found["value"] is None and not found["no"] and rest and NO_FLAG.match(rest[0]):
            argument += f"={rest.pop(0)}"
        overrides.append(argument)
    return overrides, others
