"""Which rooms (folders of the package) know of which: a room imports from those below it alone; see architecture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wbcjax"
AT_THE_ROOT = {"__init__", "__main__", "batch", "cli"}  # modules that lie in no room; `batch` is for all
GROUND = {"batch", "settings", "system"}
BELOW = {  # from the ground up
    "settings": set(),
    "system": {"settings"},
    "ops": {"settings"},
    "enhance": set(),
    "smear": {"system"},
    "slides": {"system", "smear"},
    "models": {*GROUND, "ops"},
    "evaluate": {"system", "smear"},
    "input": {*GROUND, "enhance", "smear", "slides"},
    "weights": {*GROUND, "models"},
    "train": {*GROUND, "models"},
    "report": {"system", "enhance", "smear", "evaluate"},
    "runs": {*GROUND, "models", "input", "weights", "train"},
    "predict": {*GROUND, "ops", "enhance", "smear", "slides", "models", "evaluate", "input", "report", "runs"},
    "configs": {*GROUND, "models", "input", "train"},
    "tasks": {*GROUND, "ops", "models", "evaluate", "input", "train", "report", "runs", "predict"},
}
TOP = "commands"  # imports what it likes, and is imported by `cli` alone
WITHOUT_JAX = ("smear", "slides", "enhance", "evaluate", "report")


def imported(path: Path) -> Iterator[str]:
    """The full name of each thing that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def rooms_known(room: str) -> list[tuple[str, str]]:
    """Each file of a room with each other room, or module at the root, that it imports from."""
    named = [(path, name.split(".")) for path in files_of(room) for name in imported(path)]
    return [
        (str(path.relative_to(PACKAGE)), parts[1])
        for path, parts in named
        if parts[0] == "wbcjax" and len(parts) > 1 and parts[1] != room
    ]


def test_every_room_has_its_place():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == {*BELOW, TOP}


def test_no_module_lies_loose_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == AT_THE_ROOT


def test_the_plan_has_no_circle():
    order = list(BELOW)
    assert all(order.index(below) < order.index(room) for room in BELOW for below in BELOW[room] - {"batch"})


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_no_room_above_it(room):
    assert [(path, other) for path, other in rooms_known(room) if other not in BELOW[room]] == []


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_all_that_the_plan_allows(room):
    assert BELOW[room] - {other for _, other in rooms_known(room)} - GROUND == set()


@pytest.mark.parametrize("verb", [path.name for path in (PACKAGE / TOP).iterdir() if (path / "__init__.py").is_file()])
def test_a_verbs_folder_imports_from_no_other_verbs(verb):
    others = {path.name for path in (PACKAGE / TOP).iterdir() if path.is_dir()} - {verb}
    theirs = [name for path in files_of(f"{TOP}/{verb}") for name in imported(path)]
    assert [name for name in theirs if name.startswith("wbcjax.commands.") and name.split(".")[2] in others] == []


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_what_can_be_done_on_a_laptop_needs_no_jax(room):
    assert [path for path in files_of(room) for name in imported(path) if name.split(".")[0] in ("jax", "flax")] == []
