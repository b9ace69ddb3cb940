"""The `wbcjax` command.

What a command runs on is imported when it runs: `inspect` and `--help` need no jax, and do not wait for it.
"""

import argparse
import sys

from wbcjax.ending import ending


def main(arguments: list[str] | None = None) -> None:
    """Run the command line given, or the process's own."""
    with ending("wbcjax"):
        _run(arguments)


def _run(arguments: list[str] | None) -> None:
    from wbcjax.commands import crop, enhance, experiment, export, inspect, plan, predict, weights
    from wbcjax.places import told
    from wbcjax.report.tables import printable

    parser = argparse.ArgumentParser(prog="wbcjax", description="White blood cells in images of smears.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (predict, inspect, enhance, crop, weights, export, experiment, plan):
        command.add(commands)
    options, others = parser.parse_known_args(arguments)
    if others and "overrides" not in options:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    options.overrides = others
    try:
        options.run(options)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        sys.exit("\n".join(map(printable, f"wbcjax: {told(error)}".splitlines())))
