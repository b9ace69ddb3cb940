"""A config as a file that says every setting, each with the comment of its source."""

import ast
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from wbcjax import __version__
from wbcjax.commands.config_file import shipped
from wbcjax.commands.literal import literal
from wbcjax.settings.comments import comment_at
from wbcjax.settings.fields import field_at, fields
from wbcjax.system.terminal import Block, Table
from wbcjax.tasks.choose import experiment_class

WIDTH = 120  # of a line


def listed() -> list[Block]:
    """The shipped configs with the first line that each says of itself, and what to do with one."""
    said = {name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for name, path in shipped().items()}
    rows = tuple((name, (text or "").partition("\n")[0]) for name, text in said.items())
    hint = "wbcjax config NAME --write mine.py   gives one with all its settings, to edit"
    return [Table("Shipped configs, for --config", (), rows), hint]


def written_config(config: ConfigDict, name: str, overrides: Sequence[str] = ()) -> str:
    """The text of a config file that gives `config`, which is complete and is `name` with the `overrides`."""
    origin = " ".join([name, *overrides])
    head = f'"""{origin}, with every setting, as wbcjax {__version__} has them."""'.replace("\\", "\\\\")
    lines = list(_lines(config.to_dict(), (), experiment_class(config).Settings, config))
    body = textwrap.indent("\n".join(lines), "    ", lambda line: bool(line.strip()))
    return (
        f"{head}\n\nfrom ml_collections import ConfigDict\n\n\ndef get_config() -> ConfigDict:\n"
        f"    config = ConfigDict()\n{body}\n    return config\n"
    )


def _lines(values: dict[str, Any], path: tuple[str, ...], kind: Any, config: ConfigDict) -> Iterator[str]:
    """A line for each setting of a group, in the order of its class: its own settings first, and then its groups."""
    group = field_at(kind, path, config)
    order = list(fields(group.kind, values)) if group else []
    for name, value in sorted(values.items(), key=lambda item: (isinstance(item[1], dict), _place(item[0], order))):
        key = ".".join(("config", *path, name))
        comment = comment_at(kind, (*path, name), config)
        if isinstance(value, dict):
            yield ""
            yield from _commented(f"{key} = ConfigDict()", comment)
            yield from _lines(value, (*path, name), kind, config)
        else:
            yield from _commented(f"{key} = {literal(value)}", comment)


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _commented(line: str, comment: str) -> Iterator[str]:
    """The line with its comment beside it, or above it where that is too long."""
    if len(line) + len(comment) + 8 <= WIDTH:
        yield f"{line}  # {comment}" if comment else line
    else:
        yield from textwrap.wrap(comment, WIDTH - 8, initial_indent="# ", subsequent_indent="# ")
        yield line
