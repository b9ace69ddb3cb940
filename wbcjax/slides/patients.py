"""Whose slide it is, from a table."""

import csv
from collections.abc import Sequence
from pathlib import Path


def read_patients(path: Path, slides: Sequence[str]) -> dict[str, str]:
    """The patient of each slide, by its name, from a CSV file with the columns slide and patient.

    A slide stands there by its file's name, with or without the suffix. Raises ValueError, naming the file, where
    columns or a slide are missing; OSError.
    """
    lines = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    if not {"slide", "patient"} <= set(lines.fieldnames or ()):
        raise ValueError(f"{path}: has the columns {lines.fieldnames}; give a table with the columns slide,patient")
    listed = {str(line["slide"]): str(line["patient"]) for line in lines}
    found = {slide: listed.get(slide, listed.get(Path(slide).stem, "")) for slide in slides}
    if missing := [name for name, patient in found.items() if not patient]:
        raise ValueError(f"{path}: names no patient of {', '.join(missing)}; add a line for each slide")
    return found
