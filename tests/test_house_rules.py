"""The rules of CONTRIBUTING.md that can be counted."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "wbcjax"
MOST_PARAMETERS, MOST_LINES = 6, 400
# Each of these has one independent choice after another, by keyword, or is an equation with so many symbols.
LONGER = {
    "commands/inspect/annotated_set.py:inspect",
    "commands/inspect/proposed_config.py:config_lines",
    "ops/assign.py:match",
    "ops/batch_norm.py:normalize",
    "ops/roi_align.py:roi_align",
    "smear/read.py:read",
}


def long_signatures(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if len([one for one in given if one.arg not in ("self", "cls")]) > MOST_PARAMETERS:
                yield f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"


def test_functions_take_six_parameters_at_most():
    assert {name for path in PACKAGE.rglob("*.py") for name in long_signatures(path)} == LONGER


def test_modules_have_four_hundred_lines_at_most():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
