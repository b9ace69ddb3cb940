"""The cells of a slide from the detections in its tiles, row by row: each final as soon as no later row sees it.

The rules are those of images, `tiles.merge` and `reported_cells`. Both decide within groups of detections that are
linked, of one cell or of cells that overlap, and do not look beyond. So a group can be decided alone, once all of it is
known: when it lies above the first row of pixels that is still to be seen. What waits is about a row of tiles.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.nuclei_of_cells import HELD, nucleus_label
from wbcjax.evaluate.reported_cells import ONE_CELL, ReportedCells, reported_cells
from wbcjax.predict.sights import Frame, Sight, frame_of, groups, overlap, sights, touching
from wbcjax.predict.slide_grid import Grid
from wbcjax.predict.tiles import Links, View, cut_by, linked, merged

TileRow = Sequence[tuple[int, FieldDetections]]  # the columns that were searched, and what was found in each


@dataclass(frozen=True, eq=False)
class CellGroup:
    """Cells that overlap, mostly one alone, in pixels of a part of the slide."""

    frame: Frame
    cells: ReportedCells


class _InTile(NamedTuple):
    """A detection and the tile that it is from."""

    sight: Sight
    tile: tuple[int, int]  # row, column
    view: View
    cut: bool


Waiting = TypeVar("Waiting", _InTile, Sight)


def slide_cells(
    rows: Iterable[TileRow], grid: Grid, classes: Sequence[str], min_score: float, name: str = ""
) -> Iterator[list[CellGroup]]:
    """The cells that become final with each row of tiles: together those that `tiles.merge` and `reported_cells` give.

    They come from the top down, by the first row of pixels of a group, and then from the left.
    """
    nucleus = nucleus_label(classes)
    in_tiles: list[_InTile] = []
    whole: list[Sight] = []
    for number, row in enumerate(rows):
        in_tiles += [one for column, found in row for one in _in_tile(found, grid, (number, column))]
        ready, in_tiles = _ready(in_tiles, _of_one_cell(in_tiles, nucleus), grid.seen_after(number))
        whole += [cell for group in ready for cell in _merged(group, nucleus)]
        unseen = min([grid.seen_after(number), *(one.sight.top for one in in_tiles)])
        done, whole = _ready(whole, _of_one_place(whole, nucleus), unseen)
        final = [_reported(group, classes, min_score, name) for group in done]
        yield sorted(
            (group for group in final if group.cells.rles), key=lambda group: (group.frame.top, group.frame.left)
        )


def _in_tile(found: FieldDetections, grid: Grid, tile: tuple[int, int]) -> Iterator[_InTile]:
    view = grid.view(*tile)
    left, top = int(view[0]), int(view[1])
    for one in sights(found, left, top):
        cut = cut_by(np.array([one.box]), view, grid.margin, (grid.height, grid.width))
        yield _InTile(one, tile, view, bool(cut[0]))


def _ready(
    waiting: list[Waiting], links: Iterable[tuple[int, int]], unseen: int
) -> tuple[list[list[Waiting]], list[Waiting]]:
    """The groups that end above the first row of pixels that is still to be seen; and what waits on, in its order."""
    ready, rest = [], []
    for group in groups(len(waiting), links):
        bottom = max(_sight(waiting[position]).bottom for position in group)
        if bottom <= unseen:
            ready.append([waiting[position] for position in group])
        else:
            rest += group
    return ready, [waiting[position] for position in sorted(rest)]


def _sight(one: _InTile | Sight) -> Sight:
    return one if isinstance(one, Sight) else one.sight


def _of_one_cell(seen: Sequence[_InTile], nucleus: int) -> Iterator[tuple[int, int]]:
    """The pairs of detections in different tiles of which one has a say in the other."""
    pairs = touching([one.sight for one in seen]).T.tolist()
    apart = [(one, other) for one, other in pairs if seen[one].tile != seen[other].tile]
    for group in groups(len(seen), apart):
        if len(group) > 1:
            for links in _linked([seen[position] for position in group], nucleus):
                yield from ((group[one], group[other]) for one, others in enumerate(links) for other in others)


def _linked(seen: Sequence[_InTile], nucleus: int) -> Links:
    frame = frame_of([one.sight for one in seen])
    every = frame.holding([one.sight for one in seen])
    tile_of = {tile: number for number, tile in enumerate(sorted({one.tile for one in seen}))}
    views = [_within(view, frame) for view in {one.tile: one.view for one in sorted(seen, key=_tile)}.values()]
    tile = np.array([tile_of[one.tile] for one in seen])
    return linked(every, tile, np.array([one.cut for one in seen]), views, every.labels == nucleus)


def _tile(one: _InTile) -> tuple[int, int]:
    return one.tile


def _within(view: View, frame: Frame) -> View:
    """What a tile sees of a frame, in its pixels."""
    x1, x2 = (min(max(x - frame.left, 0.0), float(frame.width)) for x in view[::2])
    y1, y2 = (min(max(y - frame.top, 0.0), float(frame.height)) for y in view[1::2])
    return x1, y1, x2, y2


def _merged(seen: Sequence[_InTile], nucleus: int) -> list[Sight]:
    if len(seen) == 1:
        return [seen[0].sight]
    frame = frame_of([one.sight for one in seen])
    every = frame.holding([one.sight for one in seen])
    cut = np.array([one.cut for one in seen])
    return sights(merged(every, cut, _linked(seen, nucleus)), frame.left, frame.top)


def _of_one_place(cells: Sequence[Sight], nucleus: int) -> Iterator[tuple[int, int]]:
    """The pairs that `reported_cells` takes for one cell, and those of a nucleus and its cell."""
    for one, other in touching(cells).T.tolist():
        shared, area, others = overlap(cells[one], cells[other])
        nuclear = [cells[position].label == nucleus for position in (one, other)]
        held = shared >= HELD * (area if nuclear[0] else others) if nuclear[0] != nuclear[1] else False
        if held or shared > ONE_CELL * (area + others - shared):
            yield one, other


def _reported(cells: Sequence[Sight], classes: Sequence[str], min_score: float, name: str) -> CellGroup:
    frame = frame_of(cells)
    return CellGroup(frame, reported_cells(frame.holding(cells, name), min_score, classes))
