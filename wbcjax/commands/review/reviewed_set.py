"""A set of images under review: their cells as they stand, corrected one entry of the journal at a time."""

import getpass
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from wbcjax.commands.review.actions import Asked, Entry, entry_of
from wbcjax.commands.review.candidates import Candidate, CandidateFiles, Candidates, Kept
from wbcjax.commands.review.cells import Change, FieldReview, ReviewCell
from wbcjax.commands.review.journal import Journal
from wbcjax.smear.field import SmearField
from wbcjax.smear.formats.outline import outline_mask
from wbcjax.smear.image_header import MAX_PIXELS
from wbcjax.system.files import write_atomically

SETTINGS, JOURNAL, CANDIDATES = "review.json", "journal.jsonl", "candidates"  # in the folder of a review
NOT_SEARCHED = -1  # the model of a field that no model has searched


@dataclass(frozen=True)
class ReviewSettings:
    """What all fields of a review have in common. It stays as it was when the review began."""

    classes: tuple[str, ...]  # names of label 1, 2, ...
    threshold: float = 0.5  # the score from which on a candidate is a cell without being asked
    class_attribute: str = "cell"  # in VIA files
    max_pixels: int = MAX_PIXELS  # of an image


@dataclass(frozen=True)
class ImageFile:
    """An image of the set: its name, its file and its size, upright."""

    name: str
    path: Path
    height: int
    width: int
    group: str | None = None  # such as the patient, as annotations say it


class Stale(Exception):
    """A request that was made of a field as it no longer is."""


class ReviewedField:
    """A field with its candidates and its review."""

    def __init__(self, image: ImageFile, settings: ReviewSettings, kept: Kept | None) -> None:
        self.image = image
        self.settings = settings
        self._keep(kept or Kept(Candidates(NOT_SEARCHED, ())))
        self.review = FieldReview(self._begin())

    def _keep(self, kept: Kept) -> None:
        self.kept = kept
        self.doubt = kept.candidates.doubt(self.settings.threshold)

    def _begin(self) -> Sequence[ReviewCell]:
        if self.kept.begun_with is not None:
            return self.kept.begun_with
        return self.kept.candidates.begin_with(self.settings.threshold)

    @property
    def revision(self) -> str:
        """Another one after every change of the field."""
        return f"{self.kept.candidates.model}.{self.review.entries}"

    @property
    def ghosts(self) -> list[tuple[int, Candidate]]:
        """The candidates that are offered, by their place among all: those that the review did not begin with."""
        every = enumerate(self.kept.candidates.found)
        own = self.kept.begun_with is None
        return [(place, one) for place, one in every if not own or one.score < self.settings.threshold]

    @property
    def labels(self) -> Int[np.ndarray, " c"]:
        """The classes of its counted cells."""
        return np.array([cell.label for cell in self.review.cells.values() if not cell.crowd], np.int32)

    def searched(self, candidates: Candidates) -> Kept:
        """What is to be kept after a model has searched it anew. Cells that a person has touched stay."""
        stays = self.review.entries > 0 or self.kept.begun_with is not None
        return Kept(candidates, tuple(self._begin()) if stays else None)

    def accept(self, kept: Kept) -> None:
        self._keep(kept)
        if self.review.entries == 0:
            self.review = FieldReview(self._begin())

    def as_field(self) -> SmearField:
        """The field as annotation files have it."""
        cells = tuple(cell.as_cell() for cell in self.review.cells.values())
        image = self.image
        return SmearField(image.name, image.height, image.width, cells, path=image.path, group=image.group)


class ReviewedSet:
    """All fields of a review in its `folder`, each change of which is on the disk before a method returns.

    fields: in the order of the images.
    missing: names of corrected fields whose image is no longer there; their corrections stay in the journal.
    version: another one after every change.
    changed: called after every change, with the number of the field.

    Raises ValueError for a folder of a review with other classes, and for broken files.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[ImageFile],
        settings: ReviewSettings,
        annotated: Mapping[str, Sequence[ReviewCell]] | None = None,
        reviewer: str | None = None,
    ) -> None:
        self.folder, self.reviewer = folder, reviewer or _user()
        self.settings = _kept_settings(folder, settings)
        self.lock = threading.RLock()
        self.version = 0
        self.changed: Callable[[int], None] = lambda number: None
        self._files = CandidateFiles(folder / CANDIDATES)
        self.fields = [self._open(image, annotated) for image in images]
        self._journal = Journal(folder / JOURNAL)
        self.missing = self._replay(self._journal.entries)

    def _open(self, image: ImageFile, annotated: Mapping[str, Sequence[ReviewCell]] | None) -> ReviewedField:
        kept = self._files.read(image.name)
        if kept is None and annotated is not None:
            kept = Kept(Candidates(NOT_SEARCHED, ()), tuple(annotated.get(image.name, ())))
            self._files.write(image.name, kept)
        return ReviewedField(image, self.settings, kept)

    def _replay(self, entries: Sequence[Entry]) -> list[str]:
        by_name = {field.image.name: field for field in self.fields}
        for number, entry in enumerate(entries, start=1):
            if entry["field"] in by_name:
                try:
                    by_name[entry["field"]].review.apply(entry)
                except (LookupError, ValueError, TypeError) as error:
                    raise ValueError(
                        f"{self.folder / JOURNAL}, line {number}: does not fit the field {entry['field']} ({error!r}): "
                        f"restore the folder {self.folder} as a whole"
                    ) from error
        return sorted({entry["field"] for entry in entries} - by_name.keys())

    def act(self, number: int, values: Mapping[str, Any]) -> Change:
        """Do what the page asks of a field. Raises Stale, Refused, and OSError when it cannot be kept."""
        with self.lock:
            field = self.fields[number]
            self._check(field, values.get("revision"))
            size = field.image.height, field.image.width
            asked = Asked(values, len(self.settings.classes), size)
            return self._enter(number, entry_of(asked, field.review, field.kept.candidates.found))

    def add(self, number: int, revision: Any, entry_for: Callable[[FieldReview], Entry]) -> Change:
        """Make an entry of a field that is still at a revision. Raises as `act`."""
        with self.lock:
            field = self.fields[number]
            self._check(field, revision)
            return self._enter(number, entry_for(field.review))

    def searched(self, number: int, candidates: Candidates) -> None:
        """Keep what a model has found in a field, unless a later one has searched it meanwhile. Raises OSError."""
        with self.lock:
            field = self.fields[number]
            if candidates.model < field.kept.candidates.model:
                return
            kept = field.searched(candidates)
            self._files.write(field.image.name, kept)
            field.accept(kept)
            self._note(number)

    def queue(self) -> list[int]:
        """The numbers of all fields: the open ones first, of these the most doubtful."""
        with self.lock:
            key = {number: (field.review.done, -field.doubt) for number, field in enumerate(self.fields)}
        return sorted(key, key=lambda number: (*key[number], number))

    def _check(self, field: ReviewedField, revision: Any) -> None:
        if revision != field.revision:
            raise Stale

    def _enter(self, number: int, entry: Entry) -> Change:
        field = self.fields[number]
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._journal.append({"at": now, "who": self.reviewer, "field": field.image.name, **entry})
        change = field.review.apply(entry)
        self._note(number)
        return change

    def _note(self, number: int) -> None:
        self.version += 1
        self.changed(number)


def as_review_cells(field: SmearField) -> list[ReviewCell]:
    """The cells of an annotated field."""
    cells = []
    for number, cell in enumerate(field.cells, start=1):
        polygons = cell.polygons
        if cell.rle is not None:
            polygons = tuple(outline_mask(cell.mask(field.height, field.width)))
        if cell.box is not None:
            left, top, right, bottom = cell.box
            polygons = (np.array([[left, top], [right, top], [right, bottom], [left, bottom]]),)
        outlines = tuple(tuple((float(x), float(y)) for x, y in points.tolist()) for points in polygons)
        cells.append(ReviewCell(number, cell.label, outlines, crowd=cell.crowd, box=cell.box is not None))
    return cells


def _kept_settings(folder: Path, settings: ReviewSettings) -> ReviewSettings:
    """The settings that the review of a folder began with, these where it begins now."""
    path = folder / SETTINGS
    if not path.exists():
        write_atomically(path, json.dumps(asdict(settings), indent=2).encode())
        return settings
    try:
        content = json.loads(path.read_bytes())
        kept = ReviewSettings(**content | {"classes": tuple(content["classes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no settings of a review ({error}); restore the file") from error
    if kept.classes != settings.classes:
        raise ValueError(
            f"{folder} is a review of the classes {', '.join(kept.classes)}, and these are "
            f"{', '.join(settings.classes)}: give another --out, or a run of the same classes"
        )
    return kept


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a number without a name, as in a container
        return "unknown"
