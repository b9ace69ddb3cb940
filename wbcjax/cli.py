"""The `wbcjax` command.

The modules of a command are imported when it runs: `inspect` and `--help` need no jax, and do not wait for it.
"""

import argparse
import difflib
import io
import re
import sys
from importlib import import_module
from typing import NoReturn

from wbcjax.commands.ending import ending


def main(arguments: list[str] | None = None, program: str = "wbcjax") -> None:
    """Run the command line given, or the process's own. Messages begin with the name of the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a Windows console, or a pipe, may lack letters that names have
        sys.stdout.reconfigure(errors="backslashreplace")
    with ending(program):
        options = _parsed(sys.argv[1:] if arguments is None else arguments, program)
        if not options.stopping_saves:
            _run(options)
    if options.stopping_saves:  # a training, which ends in its own way, and whose errors may be its authors'
        options.run(options)


def front(command: str, program: str) -> None:
    """Run the process's command line as one of a command: `train.py` is `wbcjax train`."""
    main([command, *sys.argv[1:]], program)


def _parsed(arguments: list[str], program: str) -> argparse.Namespace:
    from wbcjax import __version__, commands
    from wbcjax.commands.command_line import split_arguments

    parser = _Parser(prog=program, description="White blood cells in images of smears.")
    parser.add_argument("--version", action="version", version=f"wbcjax {__version__}")
    parser.set_defaults(program=program, stopping_saves=False)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in commands.VERBS:
        import_module(f"wbcjax.commands.{verb}").add(verbs)
        verbs.choices[verb].set_defaults(parser=verbs.choices[verb])
    if program != "wbcjax":
        verbs.choices[arguments[0]].prog = program
    overrides, given = split_arguments(arguments)
    options, others = parser.parse_known_args(given)
    if "overrides" not in options:
        others += overrides
    if others:
        options.parser.error(_unrecognized(others, options.parser, settings="overrides" in options))
    options.overrides = overrides
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line, and name the nearest choice there is."""

    def error(self, message: str) -> NoReturn:
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            near = difflib.get_close_matches(choice[1], re.findall(r"[\w-]+", choice[2]), 1)
            message = (
                message[: choice.start(2) - len(" (choose from ")] + f": did you mean {near[0]}?" if near else message
            )
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help shows what there is)\n")


def _unrecognized(others: list[str], parser: argparse.ArgumentParser, *, settings: bool) -> str:
    message = f"unrecognized arguments: {' '.join(others)}"
    near = difflib.get_close_matches(others[0].partition("=")[0], parser._option_string_actions, 1)
    if near:
        return f"{message}: did you mean {near[0]}?"
    return f"{message}; settings are given as --config.a.b=c" if settings else message


def _run(options: argparse.Namespace) -> None:
    from wbcjax.commands.messages import exit_for_error

    try:
        options.run(options)
    except (OSError, ValueError) as error:
        exit_for_error(error)
