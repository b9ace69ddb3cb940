"""Cells looked for in images, by one trained network or by several looks at each image that are joined."""

import contextlib
import copy
import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grain
import numpy as np
from jaxtyping import UInt8

from wbcjax.enhance import AS_THEY_ARE, Enhancement
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.evaluate.temperature import scaled_scores
from wbcjax.input.cell_sizes import CellSides
from wbcjax.input.field_set import Source
from wbcjax.input.settings import InputSettings
from wbcjax.predict.found_cells import FoundCells
from wbcjax.predict.join import join
from wbcjax.predict.views import UPRIGHT, VIEWS, View, turned, turned_back
from wbcjax.smear.field import as_rgb, read_image
from wbcjax.smear.pixel_size import stated_pixel_size

AHEAD = 2  # images of a folder that are read and enhanced before they are needed

Item = TypeVar("Item")


class Picture(NamedTuple):
    """An image to search. A pair of name and image will do in its place."""

    name: str
    image: UInt8[np.ndarray, "_ _ 3"]  # RGB
    pixel_size: float = 0.0  # micrometres; 0: not known, and taken to be the training's
    zoom: float = 1.0  # times the scale at which it would be shown to the network


class Layout(NamedTuple):
    """How an image is laid out for the network."""

    scale: float  # canvas pixels per image pixel
    tiles: list[tuple[int, int]]  # top and left of each tile on the scaled image; one where the image fits the canvas


class ShownLarge(NamedTuple):
    """How a network is shown images that are larger than its canvas."""

    scale: float  # canvas pixels per image pixel
    canvas: tuple[int, int]  # height, width in pixels


class Search(ABC):
    """What finds cells in images: a `Predictor`, or an `Ensemble`.

    classes: names of label 1, 2, ...
    enhance: how images are enhanced before they are searched.
    min_score: of a cell, where `predict` is not told another.
    max_pixels: of an image file; a larger one is refused before it is decoded.
    pixel_size, cell_sides: of the training, see `Predictor`.
    temperature: by which scores are calibrated, see `wbcjax.evaluate.temperature`; 1: they are the network's.
    """

    classes: tuple[str, ...]
    enhance: Enhancement
    min_score: float
    max_pixels: int
    pixel_size: float
    cell_sides: CellSides | None
    temperature: float

    def predict(
        self,
        image: UInt8[np.ndarray, "h w 3"] | str | Path,
        *,
        min_score: float | None = None,
        name: str = "",
        pixel_size: float = 0.0,
        tta: bool = False,
    ) -> FoundCells:
        """The cells of an RGB image, or of an image file of any kind, each once; `FoundCells` has what is made of them.

        min_score: of a cell, 0 to 1; by default the run's. name: by default the file's, or "image". pixel_size: in
        micrometres; by default as the file states it, if it does: see `Predictor`. tta: whether the image is looked at
        in all `wbcjax.predict.views.VIEWS`, which takes many times as long.

        Raises ValueError for any other array or file, or score; OSError for a file that cannot be read.
        """
        least = self.min_score if min_score is None else min_score
        if not 0 <= least <= 1:
            raise ValueError(f"min_score is {min_score}: give a number from 0 to 1")
        if isinstance(image, str | Path):
            path = Path(image)
            image, name = _read(path, self.max_pixels), name or path.name
            pixel_size = pixel_size or stated_pixel_size(path)
        model = self.with_tta() if tta else self
        found = model.detect(image, name or "image", pixel_size)
        return FoundCells(image, self.classes, least, reported_cells(found, least, self.classes), found)

    def detect(
        self, image: UInt8[np.ndarray, "h w 3"], name: str = "image", pixel_size: float = 0.0
    ) -> FieldDetections:
        """All detections in an RGB image, of any score, with boxes and masks in its own pixels; `predict` gives cells.

        Raises ValueError for anything else.
        """
        (found,) = self._calibrated([self._as_trained_on((name, image, pixel_size))])
        return found

    def detect_each(
        self,
        images: Iterable[Picture | tuple[str, UInt8[np.ndarray, "_ _ 3"]]],
    ) -> Generator[FieldDetections, None, None]:
        """All detections in each of many RGB images, given as `Picture` has them; in their order.

        Images are taken from `images`, and enhanced, ahead in a thread. The devices process one image while the caller
        works on the detections of the one before. Raises ValueError, naming it, for an image of another format.
        """
        with contextlib.closing(ahead(map(self._as_trained_on, images))) as enhanced:
            yield from self._calibrated(enhanced)

    def detect_source(self, source: Source, numbers: Sequence[int] | None = None) -> Iterator[FieldDetections]:
        """All detections in the fields of a built set with these numbers, by default in all; in their order.

        The set's images were enhanced when it was built.
        """
        chosen = grain.MapDataset.source(range(len(source)) if numbers is None else numbers)
        fields = iter(chosen.map(source.field).to_iter_dataset(InputSettings().read_options()))
        with contextlib.closing(fields):
            yield from self._calibrated(Picture(field.name, field.image()) for field in fields)

    @abstractmethod
    def with_tta(self) -> "Ensemble":
        """The same, looking at every image in all `VIEWS`."""

    @abstractmethod
    def layout(self, height: int, width: int, pixel_size: float = 0.0, zoom: float = 1.0) -> Layout:
        """The layout of an image of this size. Raises ValueError when it is too large at its scale."""

    @abstractmethod
    def shown_large(self, pixel_size: float = 0.0) -> ShownLarge:
        """How an image is shown that is larger than the canvas, as a slide is.

        Raises ValueError for a model that does not know the scale of its training.
        """

    @abstractmethod
    def find(self, pictures: Iterable[Picture]) -> Generator[FieldDetections, None, None]:
        """All detections in each picture, enhanced as this one's `enhance` says; their scores are not calibrated."""

    def find_in_views(
        self, pictures: Iterable[Picture], views: Sequence[View]
    ) -> Generator[list[FieldDetections], None, None]:
        """What `find` finds in each view of each picture, which is not enhanced yet; turned back, a list a picture."""
        shown = (
            enhanced._replace(image=turned(enhanced.image, view), zoom=enhanced.zoom * view.zoom)
            for enhanced in map(self._enhanced, pictures)
            for view in views
        )
        with contextlib.closing(self.find(shown)) as each:
            while looks := list(islice(each, len(views))):
                yield [turned_back(found, view) for found, view in zip(looks, views, strict=True)]

    def calibrated(self, found: FieldDetections) -> FieldDetections:
        """The same detections with calibrated scores, in the same order."""
        if self.temperature == 1:
            return found
        return replace(found, scores=scaled_scores(found.scores, self.temperature))

    def _calibrated(self, pictures: Iterable[Picture]) -> Generator[FieldDetections, None, None]:
        with contextlib.closing(self.find(pictures)) as each:
            yield from map(self.calibrated, each)

    def _as_trained_on(self, named: tuple) -> Picture:
        """A picture, enhanced as those of the training were."""
        if not (isinstance(named, tuple) and 2 <= len(named) <= len(Picture._fields)):
            raise ValueError(f"detect_each needs pairs of a name and an image, got {type(named).__name__}")
        picture = Picture(*named)
        return self._enhanced(picture._replace(image=as_rgb(picture.image, picture.name)))

    def _enhanced(self, picture: Picture) -> Picture:
        return picture._replace(image=self.enhance(picture.image))


@dataclass(eq=False)
class Ensemble(Search):
    """Several trained models that look at each image in the same views; what they find is joined, see `join`.

    Each enhances and scales images as it was trained on; all else that `Search` has is the first one's.

    members: of the same classes, see `ensemble_of`.
    views: how each of them is shown every image.
    temperature: for the joined scores.
    """

    members: tuple[Search, ...]
    views: tuple[View, ...] = (UPRIGHT,)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        first = self.members[0]
        self.classes, self.min_score, self.max_pixels = first.classes, first.min_score, first.max_pixels
        self.pixel_size, self.cell_sides, self.enhance = first.pixel_size, first.cell_sides, AS_THEY_ARE

    def with_tta(self) -> "Ensemble":
        return replace(self, views=VIEWS)

    def layout(self, height: int, width: int, pixel_size: float = 0.0, zoom: float = 1.0) -> Layout:
        return self.members[0].layout(height, width, pixel_size, zoom)

    def shown_large(self, pixel_size: float = 0.0) -> ShownLarge:
        return self.members[0].shown_large(pixel_size)

    def detect_source(self, source: Source, numbers: Sequence[int] | None = None) -> Iterator[FieldDetections]:
        as_built = replace(self, members=tuple(_without_enhancement(member) for member in self.members))
        return Search.detect_source(as_built, source, numbers)

    def find(self, pictures: Iterable[Picture]) -> Generator[FieldDetections, None, None]:
        with contextlib.ExitStack() as open_searches:
            each = [
                open_searches.enter_context(contextlib.closing(member.find_in_views(of_member, self.views)))
                for member, of_member in zip(self.members, tee(pictures, len(self.members)), strict=True)
            ]
            for looks in zip(*each, strict=True):
                yield join([found for of_member in looks for found in of_member])


Model = TypeVar("Model", bound=Search)


def ensemble_of(members: Sequence[Model], places: Sequence[str | Path]) -> Model | Ensemble:
    """One model as it is, several as an `Ensemble`; raises as `check_together` does."""
    check_together([member.classes for member in members], places)
    return members[0] if len(members) == 1 else Ensemble(tuple(members))


def check_together(classes: Sequence[tuple[str, ...]], places: Sequence[str | Path]) -> None:
    """Raise ValueError, naming the run of these `places`, where one is given twice, or has other classes."""
    first, resolved = classes[0], [Path(place).resolve() for place in places]
    for number, (of_run, place) in enumerate(zip(classes, places, strict=True)):
        if resolved[number] in resolved[:number]:
            raise ValueError(f"{place} is given twice: give each run once, or it counts for two")
        if of_run != first:
            raise ValueError(
                f"{place} has the classes {', '.join(of_run)}, and {places[0]} {', '.join(first)}: runs that are asked "
                "together need the same, in the same order; leave one out"
            )


def ahead(items: Iterable[Item], most: int = AHEAD) -> Generator[Item, None, None]:
    """The items, in their order, made in a thread, at most `most` of them ahead."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[Any]] = deque(thread.submit(next, iterator, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield item


def _without_enhancement(member: Search) -> Search:
    plain = copy.copy(member)
    plain.enhance = AS_THEY_ARE
    return plain


def _read(path: Path, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "it is a folder: give one image of it at a time, or the folder to `wbcjax predict`", str(path)
        )
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such image: correct the path", str(path))
    return read_image(path, max_pixels)
