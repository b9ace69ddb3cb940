"""`wbcjax config`: the shipped configs, and one of them as a file to edit."""

import argparse
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    config = commands.add_parser(
        "config",
        help="list the shipped configs, or write one with all its settings, to edit",
        usage="%(prog)s [-h] [NAME[:VARIANT]] [--config.a.b=c ...] [--write FILE.py]",
    )
    config.add_argument("config", nargs="?", metavar="NAME[:VARIANT]", help="shipped, or a file; default: list them")
    config.add_argument("--write", type=Path, metavar="FILE.py", help="a new file (default: print it)")
    config.set_defaults(run=_config, overrides=[])


def _config(options: argparse.Namespace) -> None:
    from wbcjax.commands.config.written import listed, written_config
    from wbcjax.commands.config_file import load_config_file
    from wbcjax.system.files import write_new
    from wbcjax.system.terminal import show

    if options.config is None:
        show(*listed())
        return
    text = written_config(load_config_file(options.config, options.overrides), options.config, options.overrides)
    if options.write is None:
        sys.stdout.write(text)
        return
    write_new(options.write, text.encode())
    show(f"{options.write} has every setting; wbcjax train --config {options.write} --workdir runs/mine")
