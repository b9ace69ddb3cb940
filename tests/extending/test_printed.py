"""docs/extending.md prints the very files that the tests of this folder run."""

from tests.extending.recipes import HERE, printed

TESTED = {path.name for path in HERE.glob("*.py") if not path.name.startswith(("test_", "recipes", "__init__"))}


def test_every_recipe_is_printed_as_it_is_tested():
    assert printed() == {name: (HERE / name).read_text() for name in TESTED}
