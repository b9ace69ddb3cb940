"""The model at work while a person reviews: it searches the fields in turn, and anew at a place that is asked for."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from wbcjax.commands.review.candidates import Candidate, candidates_of
from wbcjax.commands.review.reviewed_set import ReviewedSet
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.at_place import detect_at
from wbcjax.predict.search import Picture, Search
from wbcjax.smear.field import read_image
from wbcjax.smear.pixel_size import stated_pixel_size
from wbcjax.system.places import error_text

log = logging.getLogger(__name__)


class Searching(threading.Thread):
    """Searches the fields that the `number`th model of the review has not searched, and are not done.

    The one that was opened last comes first, then they come in the order of the queue.

    failed: the error of each field that could not be searched, by its number.
    """

    def __init__(self, reviewed: ReviewedSet, model: Search, number: int) -> None:
        super().__init__(name="search", daemon=True)
        self.reviewed, self.model, self.number = reviewed, model, number
        self.failed: dict[int, str] = {}
        self._opened: int | None = None
        self._given: set[int] = set()  # to the model
        self._ending = threading.Event()

    def prefer(self, number: int) -> None:
        """A field is looked at: it comes next."""
        self._opened = number

    def end(self) -> None:
        """End after the field under way."""
        self._ending.set()

    def waiting(self) -> list[int]:
        """The fields that are not searched yet, in their order."""
        with self.reviewed.lock:
            fields = self.reviewed.fields
            open_ones = [number for number in self.reviewed.queue() if not fields[number].review.done]
            left = [number for number in open_ones if fields[number].kept.candidates.model < self.number]
        left = [number for number in left if number not in self.failed]
        return sorted(left, key=lambda number: number != self._opened)

    def run(self) -> None:
        while not self._ending.is_set() and self.waiting():
            self._given = set()
            try:
                with contextlib.closing(self.model.detect_each(self._pictures())) as each:
                    for found in each:
                        self._keep(found)
            except Exception:  # of one of those that were given: each is tried alone
                for number in sorted(self._given):
                    self._search_alone(number)

    def at(self, number: int, place: tuple[float, float]) -> Candidate | None:
        """The cell that the model takes a place of a field for, None where it sees none there."""
        found = detect_at(self.model, self._picture(number), place)
        candidates = candidates_of(found, self.model.classes, self.number).found
        return candidates[0] if candidates else None

    def _pictures(self) -> Iterator[Picture]:
        while not self._ending.is_set():
            number = next((number for number in self.waiting() if number not in self._given), None)
            if number is None:
                return
            try:
                picture = self._picture(number)
            except (OSError, ValueError) as error:
                self._fail(number, error)
                continue
            self._given.add(number)
            yield picture

    def _picture(self, number: int) -> Picture:
        """A field's image, with its pixel size where the model knows that of its training too."""
        path = self.reviewed.fields[number].image.path
        pixels = read_image(path, self.reviewed.settings.max_pixels)
        return Picture(str(number), pixels, stated_pixel_size(path) if self.model.pixel_size else 0.0)

    def _search_alone(self, number: int) -> None:
        try:
            picture = self._picture(number)
            self._keep(self.model.detect(picture.image, picture.name, picture.pixel_size))
        except Exception as error:  # any error leaves out this image only
            self._fail(number, error)

    def _keep(self, found: FieldDetections) -> None:
        number = int(found.name)
        self.reviewed.searched(number, candidates_of(found, self.model.classes, self.number))
        self._given.discard(number)

    def _fail(self, number: int, error: Exception) -> None:
        name = self.reviewed.fields[number].image.name
        self.failed[number] = error_text(error)
        log.warning("%s: it could not be searched: %s", name, self.failed[number])
