"""The `wbcjax` command.

The modules of a command are imported when it runs: `inspect` and `--help` need no jax, and do not wait for it.
"""

import argparse
import sys

from wbcjax.commands.ending import ending


def main(arguments: list[str] | None = None) -> None:
    """Run the command line given, or the process's own."""
    with ending("wbcjax"):
        _run(arguments)


def _run(arguments: list[str] | None) -> None:
    from wbcjax.commands import crop, enhance, experiment, export, inspect, plan, predict, weights
    from wbcjax.commands.command_line import split_arguments
    from wbcjax.commands.messages import exit_for_error

    parser = argparse.ArgumentParser(prog="wbcjax", description="White blood cells in images of smears.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (predict, inspect, enhance, crop, weights, export, experiment, plan):
        command.add(commands)
    overrides, given = split_arguments(sys.argv[1:] if arguments is None else arguments)
    options, others = parser.parse_known_args(given)
    if "overrides" not in options and (others or overrides):
        parser.error(f"unrecognized arguments: {' '.join(others + overrides)}")
    if others:
        sys.exit(f"wbcjax: unrecognized arguments: {' '.join(others)}; settings are given as --config.a.b=c")
    options.overrides = overrides
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        exit_for_error(error)
