"""What runs leave behind, without a training: for tests of experiments."""

import json
from pathlib import Path

from tests.evaluate.make import annotated, detected
from wbcjax.evaluate.detections import save
from wbcjax.runs.data_note import NOTE

FIELDS = 20
CELL = (10, 10, 30, 30)


def save_detections(path: Path, share: float, names: tuple[str, ...] = (), shift: int = 0) -> None:
    """Detections of fields with a cell each, of which this share is found; `shift` changes which."""
    names = names or tuple(f"{row}.png" for row in range(FIELDS))
    found = [bool((row + shift) % len(names) < share * len(names)) for row in range(len(names))]
    annotations = [annotated([(CELL, 1)], name=name) for name in names]
    detections = [detected([(CELL, 1, 0.9)] * hit, name=name) for name, hit in zip(names, found, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, ("cell",), annotations, detections)


def write_note(workdir: Path, parts: dict[str, list[tuple[str, str | None]]]) -> None:
    """data.json of a run: names and groups of the items of each part."""
    items = {part: [[name, f"pixels of {name}", "", group] for name, group in of] for part, of in parts.items()}
    workdir.mkdir(parents=True, exist_ok=True)
    note = {"folder": str(Path.cwd()), "parts": items, "earlier": {}}
    (workdir / "data.json").write_text(json.dumps({NOTE: note}))
