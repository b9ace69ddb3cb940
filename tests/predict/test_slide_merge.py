"""Cells of a slide, merged row by row: the same as merging all tiles of an image at once, with little waiting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.predict.stubs import box_of, rle
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.evaluate.nuclei_of_cells import tie_nuclei
from wbcjax.evaluate.reported_cells import ReportedCells, reported_cells
from wbcjax.predict import slide_merge
from wbcjax.predict.slide_grid import Grid
from wbcjax.predict.slide_merge import CellGroup, slide_cells
from wbcjax.predict.tiles import merge
from wbcjax.smear.rle import cut_outs

CLASSES = ("L1", "L2", "nucleus")
TILE = (40, 48)


def discs(rng: np.random.Generator, height: int, width: int, count: int, radii: tuple[int, int]) -> list[np.ndarray]:
    """Masks of discs that may overlap, each with its class and score."""
    y, x = np.mgrid[:height, :width]
    masks = []
    for _ in range(count):
        centre, radius = rng.uniform(0, (height, width)), rng.uniform(*radii)
        mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        masks += [mask] if mask.any() else []
    return masks


def seen_in(masks: list[np.ndarray], view: tuple, rng: np.random.Generator) -> FieldDetections:
    """What a fickle network finds in a tile, in pixels of the field: cells cut to it, of any class, some twice."""
    x1, y1, x2, y2 = map(int, view)
    found = []
    for mask in masks:
        cut = np.zeros_like(mask)
        cut[y1:y2, x1:x2] = mask[y1:y2, x1:x2]
        if cut.any() and rng.random() < 0.9:
            for label in rng.permutation([1, 2, 3])[: rng.integers(1, 3)]:
                found.append((cut, int(label), float(rng.uniform(0.1, 1.0))))
    height, width = masks[0].shape if masks else (0, 0)
    return FieldDetections(
        name="slide",
        height=height,
        width=width,
        boxes=np.array([box_of(cut) for cut, _, _ in found], np.float64).reshape(-1, 4),
        labels=np.array([label for _, label, _ in found], np.int32),
        scores=np.array([score for *_, score in found], np.float64),
        rles=[rle(cut) for cut, _, _ in found],
        said={"age": np.array([score / 2 for *_, score in found])},
    )


def in_tile(found: FieldDetections, view: tuple) -> FieldDetections:
    """The same in pixels of the tile."""
    x1, y1, x2, y2 = map(int, view)
    masks = [np.zeros((found.height, found.width), np.uint8) for _ in found.rles]
    for mask, part in zip(masks, cut_outs(found.rles), strict=True):
        mask[part.top :, part.left :][: part.mask.shape[0], : part.mask.shape[1]] = part.mask
    return FieldDetections(
        name=found.name,
        height=y2 - y1,
        width=x2 - x1,
        boxes=found.boxes - [x1, y1, x1, y1],
        labels=found.labels,
        scores=found.scores,
        rles=[rle(mask[y1:y2, x1:x2]) for mask in masks],
        said=found.said,
    )


def described(cells: ReportedCells, left: int = 0, top: int = 0) -> set[tuple]:
    """Everything of each cell."""
    found = set()
    for row, part in enumerate(cut_outs(cells.rles)):
        x, y = np.nonzero(part.mask.T)
        pixels = (x + part.left + left).tobytes() + (y + part.top + top).tobytes()
        box = tuple(np.round(cells.boxes[row] + [left, top, left, top], 3).tolist())
        second = int(cells.runner_up[row]), float(cells.runner_up_scores[row])
        found.add((int(cells.labels[row]), float(cells.scores[row]), box, second, cells.said["age"][row], pixels))
    return found


@given(st.integers(0, 10**6), st.integers(20, 150), st.integers(20, 150), st.integers(0, 30), st.booleans())
def test_row_by_row_gives_the_cells_of_merging_all_at_once(seed, height, width, count, large):
    rng = np.random.default_rng(seed)
    grid = Grid(1.0, width, height, TILE, drawn=2.0)
    masks = discs(rng, height, width, count, (15, 40) if large else (2, 9))
    views = [grid.view(*place) for place in places_of(grid)]
    every = [seen_in(masks, view, rng) for view in views]
    if not masks:
        return
    at_once = reported_cells(merge(every, views, grid.margin, nucleus=3), 0.5, CLASSES)
    groups = [group for final in slide_cells(in_rows(grid, every), grid, CLASSES, 0.5, "slide") for group in final]
    streamed = [described(group.cells, group.frame.left, group.frame.top) for group in groups]
    assert sum(map(len, streamed)) == len(set().union(*streamed)), "no cell twice"
    assert set().union(*streamed) == described(at_once)
    assert nuclear(groups) == sorted(len(of.rows) for of in tie_nuclei(at_once, CLASSES).values() if of.rows)


def places_of(grid: Grid) -> list[tuple[int, int]]:
    return [(row, column) for row in range(len(grid.tops)) for column in range(len(grid.lefts))]


def in_rows(grid: Grid, every: list[FieldDetections]) -> list[list[tuple[int, FieldDetections]]]:
    """What was found in each tile, in pixels of the field, as the rows of a journal."""
    rows: list[list[tuple[int, FieldDetections]]] = [[] for _ in grid.tops]
    for (row, column), found in zip(places_of(grid), every, strict=True):
        rows[row].append((column, in_tile(found, grid.view(row, column))))
    return rows


@given(st.integers(0, 10**6), st.integers(2, 40), st.booleans())
def test_no_two_reported_cells_share_more_than_half(seed, count, large):
    """By whole masks in NumPy, whatever tiles they are from. A nucleus lies in its cell: only nuclei are its like."""
    rng = np.random.default_rng(seed)
    grid = Grid(1.0, 140, 120, TILE, drawn=2.0)
    masks = discs(rng, grid.height, grid.width, count, (15, 40) if large else (2, 9))
    if not masks:
        return
    every = [seen_in(masks, grid.view(*place), rng) for place in places_of(grid)]
    groups = [group for final in slide_cells(in_rows(grid, every), grid, CLASSES, 0.5) for group in final]
    labels = np.array([label for group in groups for label in group.cells.labels])
    whole = np.zeros((len(labels), grid.height, grid.width), np.int64)
    parts = [(group.frame, part) for group in groups for part in cut_outs(group.cells.rles)]
    for mask, (frame, part) in zip(whole, parts, strict=True):
        mask[frame.top + part.top :, frame.left + part.left :][: part.mask.shape[0], : part.mask.shape[1]] = part.mask
    flat = whole.reshape(len(labels), grid.height * grid.width)
    shared, area = flat @ flat.T, flat.sum(axis=1)
    twice = 2 * shared > area[:, None] + area - shared
    alike = (labels == 3)[:, None] == (labels == 3)
    assert not (twice & alike & ~np.eye(len(labels), dtype=bool)).any()


def nuclear(groups: list[CellGroup]) -> list[int]:
    """How many nuclei each cell has that has any."""
    tied = [tie_nuclei(group.cells, CLASSES).values() for group in groups]
    return sorted(len(of.rows) for cells in tied for of in cells if of.rows)


def test_cells_are_final_as_soon_as_no_later_row_sees_them(monkeypatch):
    """A tall slide full of cells: what waits is what the next row may see, however many rows there were."""
    height, width = 1200, 48
    grid = Grid(1.0, width, height, TILE, drawn=2.0)
    most, ready = [], slide_merge._ready

    def watched(waiting, links, unseen):
        most.append(len(waiting))
        return ready(waiting, links, unseen)

    monkeypatch.setattr(slide_merge, "_ready", watched)
    masks = [np.zeros((height, width), bool) for _ in range(height // 12 * 4)]
    for number, mask in enumerate(masks):
        top, left = number // 4 * 12, number % 4 * 12
        mask[top + 1 : top + 11, left + 1 : left + 11] = True
    rows = []
    for row in range(len(grid.tops)):
        view = grid.view(row, 0)
        inside = [mask[int(view[1]) : int(view[3])] for mask in masks]
        inside = [mask for mask in inside if mask.any()]
        rows.append([(0, told(inside, view))])
    finals = list(slide_cells(rows, grid, CLASSES, 0.5))
    assert sum(len(group.cells.rles) for final in finals for group in final) == len(masks)
    assert all(finals[:-1]), "each row makes some final"
    assert max(most) < 40, "of 400"


def told(masks: list[np.ndarray], view: tuple) -> FieldDetections:
    return FieldDetections(
        name="slide",
        height=masks[0].shape[0],
        width=masks[0].shape[1],
        boxes=np.array([box_of(mask) for mask in masks], np.float64),
        labels=np.ones(len(masks), np.int32),
        scores=np.full(len(masks), 0.9),
        rles=[rle(mask) for mask in masks],
    )


def test_an_empty_slide_has_no_cell_in_any_row():
    grid = Grid(1.0, 100, 90, TILE, drawn=2.0)
    assert list(slide_cells([[] for _ in grid.tops], grid, CLASSES, 0.5)) == [[] for _ in grid.tops]


@pytest.mark.parametrize(("row", "seen"), [(0, 25), (1, 50), (2, 90)])
def test_rows_of_pixels_are_unseen_from_the_next_rows_top_on(row, seen):
    grid = Grid(1.0, 100, 90, TILE, drawn=2.0)
    assert grid.tops == [0, 25, 50]
    assert grid.seen_after(row) == seen
    assert grid.margin == 2.0
