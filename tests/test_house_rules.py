"""The rules of CONTRIBUTING.md that can be counted."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wbcjax"
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


def texts_without_encoding(path: Path) -> Iterator[str]:
    """Each call that reads or writes a file as text in the encoding of the machine, which on Windows is not UTF-8."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        as_text = name == "open" and not any("b" in one and set(one) <= set("rwxab+") for one in texts)
        is_method = isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text")
        if (as_text or is_method) and not any(one.arg == "encoding" for one in node.keywords):
            yield f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {ast.unparse(node.func)}"


def test_text_files_are_read_and_written_as_utf_8():
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *ROOT.glob("*.py")]
    found = [place for path in paths for place in texts_without_encoding(path)]
    assert [place for place in found if not place.endswith((": os.open", ": Image.open"))] == []


def test_functions_take_six_parameters_at_most():
    assert {name for path in PACKAGE.rglob("*.py") for name in long_signatures(path)} == LONGER


def test_modules_have_four_hundred_lines_at_most():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
