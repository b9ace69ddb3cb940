"""The annotation files of a review: written anew after corrections, each whole at all times."""

import json
import logging
import threading
import time
from pathlib import Path

from wbcjax.commands.review.reviewed_set import ReviewedSet
from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.coco import write as write_coco
from wbcjax.smear.formats.geojson import geojson_data
from wbcjax.smear.formats.via import write_via
from wbcjax.system.files import write_atomically
from wbcjax.system.places import error_text

log = logging.getLogger(__name__)

VIA, COCO, GEOJSON = "via.json", "coco.json", "geojson"  # in the folder of a review
TOGETHER = 0.5  # seconds for which corrections are gathered before the files are written, at least
IDLE = 4  # times as long as the last writing took, which of a large set is longer


def write_annotations(folder: Path, fields: list[SmearField], classes: tuple[str, ...], attribute: str) -> None:
    """via.json and coco.json of these fields, each replaced at once. Raises OSError and ValueError as the writers."""
    write_via(folder / VIA, fields, classes, attribute)
    write_coco(folder / COCO, fields, classes)


def write_geojson(folder: Path, field: SmearField, classes: tuple[str, ...]) -> None:
    """NAME.geojson of a field, replaced at once. Raises ValueError for a name that leads out of the folder."""
    path = folder / f"{field.name}.geojson"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{field.name!r} leads out of the folder {folder}: rename the image")
    write_atomically(path, json.dumps(geojson_data(field, classes)).encode())


class Exporter(threading.Thread):
    """Writes via.json, coco.json and the GeoJSON files of changed fields, as soon as no other write is under way.

    failure: the last one's message; "" where all is written. The corrections are in the journal whatever happens here.
    """

    def __init__(self, reviewed: ReviewedSet) -> None:
        super().__init__(name="exports", daemon=True)
        self.reviewed = reviewed
        self.failure = ""
        self._took = 0.0  # seconds
        self._changed = set(range(len(reviewed.fields)))  # those of a review that was killed may be stale
        self._wake, self._ending = threading.Event(), threading.Event()
        self._wake.set()

    def note(self, number: int) -> None:
        """A field has changed."""
        self._changed.add(number)
        self._wake.set()

    def run(self) -> None:
        while not self._ending.is_set():
            self._wake.wait()
            self._ending.wait(max(TOGETHER, IDLE * self._took))
            self.write()

    def end(self) -> None:
        """Write what has changed, and end."""
        self._ending.set()
        self._wake.set()
        self.join()
        self.write()

    def write(self) -> None:
        """Write what has changed since the last time."""
        self._wake.clear()
        with self.reviewed.lock:
            changed, self._changed = self._changed, set()
            fields = [field.as_field() for field in self.reviewed.fields] if changed else []
        if not changed:
            return
        settings, began = self.reviewed.settings, time.monotonic()
        try:
            write_annotations(self.reviewed.folder, fields, settings.classes, settings.class_attribute)
            for number in sorted(changed):
                write_geojson(self.reviewed.folder / GEOJSON, fields[number], settings.classes)
            self.failure = ""
        except (OSError, ValueError) as error:
            self._changed |= changed
            self.failure = f"the annotation files could not be written: {error_text(error)}"
            log.warning(self.failure)
        self._took = time.monotonic() - began
