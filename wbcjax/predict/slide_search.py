"""Tiles of a slide read ahead, measured, and searched by a network on all devices, row by row."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.search import Picture, Search
from wbcjax.predict.slide_grid import Grid
from wbcjax.predict.slide_journal import SearchedTile
from wbcjax.slides.slide import DamagedTile, Slide
from wbcjax.slides.tissue import LEAST_TISSUE, SHARP, Tissue, sharpness

EMPTY, BLURRED, UNREADABLE = "empty", "blurred", "unreadable"  # why a tile is left out
THREADS = 4  # that read tiles, at most; each has one read ahead beside the one at work

Item = TypeVar("Item")
Made = TypeVar("Made")


class _ReadTile(NamedTuple):
    measured: SearchedTile
    image: UInt8[np.ndarray, "h w 3"] | None  # None where it is left out


def search_rows(
    model: Search, slide: Slide, grid: Grid, tissue: Tissue | None, pixel_size: float, first: int = 0
) -> Iterator[list[SearchedTile]]:
    """What is found in each row of tiles of a slide, from row `first` on.

    tissue: where tiles are searched; None: everywhere, whether they are sharp or not.
    pixel_size: of the slide at full resolution, in micrometres; 0: not known.
    """
    waiting: deque[_ReadTile] = deque()  # read, in their order
    places = [(row, column) for row in range(first, len(grid.tops)) for column in range(len(grid.lefts))]

    def read(place: tuple[int, int]) -> _ReadTile:
        return _read(slide, grid, tissue, *place)

    def pictures() -> Iterator[Picture]:
        base = model.layout(*grid.tile, pixel_size).scale
        with contextlib.closing(in_threads(read, places)) as each:
            for tile in each:
                waiting.append(tile._replace(image=None) if tile.image is not None else tile)
                if tile.image is not None:
                    yield Picture(slide.name, tile.image, pixel_size, grid.drawn / base)

    row: list[SearchedTile] = []
    for tile in _with_found(waiting, model.detect_each(pictures())):
        row.append(tile)
        if len(row) == len(grid.lefts):
            yield row
            row = []


def _with_found(waiting: deque[_ReadTile], each: Generator[FieldDetections, None, None]) -> Iterator[SearchedTile]:
    """The tiles in their order, each that was searched with what was found in it."""
    with contextlib.closing(each):
        for found in each:
            while waiting[0].measured.left_out:
                yield waiting.popleft().measured
            yield waiting.popleft().measured._replace(found=found)
    while waiting:
        yield waiting.popleft().measured


def _read(slide: Slide, grid: Grid, tissue: Tissue | None, row: int, column: int) -> _ReadTile:
    x1, y1, x2, y2 = grid.view(row, column)
    share = tissue.share((x1 / grid.width, y1 / grid.height, x2 / grid.width, y2 / grid.height)) if tissue else 1.0
    if share < LEAST_TISSUE:
        return _ReadTile(SearchedTile(column, share, None, EMPTY, None), None)
    try:
        image = slide.region(int(x1), int(y1), int(x2 - x1), int(y2 - y1), grid.scale)
    except DamagedTile:
        return _ReadTile(SearchedTile(column, share, None, UNREADABLE, None), None)
    sharp = sharpness(cv2.resize(image, None, fx=grid.drawn, fy=grid.drawn, interpolation=cv2.INTER_AREA))
    if tissue is not None and sharp < SHARP:
        return _ReadTile(SearchedTile(column, share, sharp, BLURRED, None), None)
    return _ReadTile(SearchedTile(column, share, sharp, "", None), image)


def in_threads(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """What is made of each item, in their order, ahead in threads."""
    threads = min(THREADS, os.cpu_count() or 1)
    iterator = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque(pool.submit(make, item) for item in islice(iterator, 2 * threads))
        try:
            while waiting:
                made = waiting.popleft().result()
                waiting.extend(pool.submit(make, item) for item in islice(iterator, 1))
                yield made
        finally:
            for future in waiting:
                future.cancel()
