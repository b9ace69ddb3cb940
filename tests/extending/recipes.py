"""The recipes of docs/extending.md: files of this folder, that somebody has in a working folder."""

import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL)


def write(file: str, folder: Path) -> None:
    """Put a recipe into the folder of somebody who works there."""
    shutil.copy(HERE / file, folder)


def example(containing: str) -> str:
    """The printed example that holds a text."""
    return next(block for block in BLOCKS if containing in block)


def printed() -> dict[str, str]:
    """The text of each recipe that is printed whole, by the name of its file."""
    named = (re.match(r"# (\w+\.py)\n", block) for block in BLOCKS)
    return {found[1]: block[found.end() :] for found, block in zip(named, BLOCKS, strict=True) if found}
