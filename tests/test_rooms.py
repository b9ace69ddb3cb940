"""Which rooms (folders of the package) know of which: a room imports from those below it alone, none the top floor."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wbcjax"
GROUND = {"files", "places", "batch", "checked"}  # modules for all rooms
BELOW = {
    "smear": set(),
    "enhance": set(),
    "ops": set(),
    "models": {"ops"},
    "weights": {"models"},
    "input": {"smear", "enhance"},
    "train": {"models", "weights", "input"},
    "evaluate": {"smear"},
    "report": {"smear", "enhance", "evaluate"},
}
TOP = {"commands"}  # a room of the top floor, which imports what it likes
WITHOUT_JAX = ("smear", "enhance", "evaluate", "report")


def imported(room: str) -> Iterator[tuple[str, str]]:
    """Each file of a room with the full name of each thing that it imports."""
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((str(path.relative_to(PACKAGE)), module) for module in modules)


def test_every_room_has_its_place():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(BELOW) | TOP


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_from_no_room_above_it_nor_from_the_top_floor(room):
    known = {room, *BELOW[room], *GROUND}
    ours = [(path, module.split(".")) for path, module in imported(room) if module.split(".")[0] == "wbcjax"]
    assert [(path, ".".join(parts)) for path, parts in ours if parts[1] not in known] == []


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_what_can_be_done_on_a_laptop_needs_no_jax(room):
    assert [path for path, module in imported(room) if module.split(".")[0] in ("jax", "flax", "optax")] == []
