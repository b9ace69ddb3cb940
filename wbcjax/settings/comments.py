"""What the source says of each setting: the comment beside its field, or above it."""

import ast
import functools
import inspect
import io
import tokenize
from collections.abc import Callable, Sequence
from typing import Any

from wbcjax.settings.fields import Field, field_at, group_of, plain_of
from wbcjax.settings.parts import rule_of


def comment_at(kind: Any, path: Sequence[str], values: Any) -> str:
    """The comment on the setting at `path` of `kind`, "" for none; `values`, the config, names the parts on the way."""
    owner = kind if len(path) == 1 else _class_of(field_at(kind, path[:-1], values), path[:-1], values)
    return "" if owner is None else comments(owner).get(path[-1], "")


@functools.cache
def comments(owner: Callable) -> dict[str, str]:
    """The comments on the fields of a class, by name, each in one line; none of a function or of a foreign class."""
    if not isinstance(owner, type) or not owner.__module__.startswith("wbcjax."):
        return {}
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("wbcjax."):
            found |= _of_source(inspect.getsource(base))
    return found


def _of_source(source: str) -> dict[str, str]:
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    beside, alone = _comments_by_line(source)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above, line = [], node.lineno - 1
            while line in alone:
                above.insert(0, alone[line])
                line -= 1
            said = [*above, *(beside[at] for at in range(node.lineno, (node.end_lineno or 0) + 1) if at in beside)]
            found[node.target.id] = " ".join(said)
    return found


def _comments_by_line(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """The comments beside code and those that stand alone, by their lines; without what is for the linters."""
    beside, alone = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.removeprefix("#").partition("  # noqa")[0].strip()
        if token.type == tokenize.COMMENT and not text.startswith(("noqa", "pyright", "type:")):
            is_alone = not token.line[: token.start[1]].strip()
            (alone if is_alone else beside)[token.start[0]] = text
    return beside, alone


def _class_of(group: Field | None, path: Sequence[str], values: Any) -> Any:
    """The class of a group of settings or of a part; None where it has none."""
    if group is None:
        return None
    if rule := rule_of(group.kind):
        for name in path:
            values = values[name]
        return rule.target(values["part"]) if "part" in values else None
    plain, _ = plain_of(group_of(group.kind))
    return plain if isinstance(plain, type) else None
