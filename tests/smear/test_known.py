"""The list of formats: what the command line and the README say of them follows from it."""

import re
from pathlib import Path

from wbcjax.smear.formats.known import FORMATS

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_has_a_row_for_each_format():
    rows = re.findall(r"^\| (.*) \| `(\w+)` \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(known.tools, known.name, known.content) for known in FORMATS.values()]
