"""What a person looks at of a searched slide: a page, and pictures of the regions with the most cells."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt8
from pycocotools import mask as coco_mask

from wbcjax.commands.predict.slide_files import SearchedIn, SlideCell
from wbcjax.evaluate.cell_counts import counts_table
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.slide_journal import SearchedTile
from wbcjax.report.overlay import draw_outlines
from wbcjax.report.run_page import Card
from wbcjax.report.set_page import jpeg_uri
from wbcjax.report.slide_page import LeftOut, SlidePage, slide_page
from wbcjax.smear.field import Cell
from wbcjax.system.files import write_atomically, write_png

SHOWN = 12  # cells of a class that are the surest, and as many that are the least sure
REGIONS = 6  # tiles with the most cells, of which there are pictures
REGION_SIDE = 1000  # pixels: the longer side of such a picture, at least
MARGIN = 0.35  # around a cell, of its longer side


def write_pages(searched: SearchedIn, tiles: Sequence[Sequence[SearchedTile]], cells: Sequence[SlideCell]) -> None:
    """Write slide.html, and regions/ROW_COLUMN.png of the tiles with the most cells, in place of those before."""
    regions = _regions(searched, cells)
    for path in (searched.folder / "regions").glob("*.png"):
        path.unlink()
    for (row, column), image, _ in regions:
        write_png(searched.folder / "regions" / f"{row}_{column}.png", image)
    size = np.array([searched.slide.width, searched.slide.height])
    centres = np.array([(cell.box[:2] + cell.box[2:]) / 2 for cell in cells]).reshape(-1, 2)
    labels = np.array([cell.label for cell in cells], np.int32)
    page = SlidePage(
        title=searched.slide.name,
        facts=_facts(searched, cells),
        counts=counts_table("Cells", labels, searched.classes),
        overview=searched.tissue.picture,
        centres=centres / size,
        labels=labels,
        left_out=[
            _left_out(searched, number, tile) for number, row in enumerate(tiles) for tile in row if tile.left_out
        ],
        galleries=[_gallery(searched, cells, label) for label in range(1, len(searched.classes) + 1)],
        regions=[
            Card(f"Row {row}, column {column}", ((f"{count} cells", jpeg_uri(image)),))
            for (row, column), image, count in regions
        ],
        classes=tuple(searched.classes),
    )
    write_atomically(searched.folder / "slide.html", slide_page(page).encode())


def _facts(searched: SearchedIn, cells: Sequence[SlideCell]) -> list[str]:
    slide, grid = searched.slide, searched.grid
    levels = f"{len(slide.levels)} level{'s' * (len(slide.levels) > 1)}"
    size = f"pixels of {searched.pixel_size:.3g} micrometres" if searched.pixel_size else "pixels of unknown size"
    return [
        f"{slide.width} x {slide.height} {size}, {levels}",
        f"{len(cells)} cells in {len(grid.tops)} rows of {len(grid.lefts)} tiles, read at scale {grid.scale:.3g} and "
        f"shown to the model at {grid.scale * grid.drawn:.3g}",
    ]


def _left_out(searched: SearchedIn, row: int, tile: SearchedTile) -> LeftOut:
    x1, y1, x2, y2 = searched.grid.view(row, tile.column)
    width, height = searched.grid.width, searched.grid.height
    return LeftOut((x1 / width, y1 / height, x2 / width, y2 / height), tile.left_out)


def _gallery(searched: SearchedIn, cells: Sequence[SlideCell], label: int) -> tuple[str, list[Card], list[Card]]:
    surest, least = _ends(cells, label)
    return searched.classes[label - 1], _cards(searched, cells, surest), _cards(searched, cells, least)


def _ends(cells: Sequence[SlideCell], label: int) -> tuple[list[int], list[int]]:
    """The surest cells of a class, and the least sure ones, the least sure first; none is in both."""
    rows = [row for row, cell in enumerate(cells) if cell.label == label]
    order = sorted(rows, key=lambda row: (-cells[row].score, row))
    return order[:SHOWN], order[SHOWN:][-SHOWN:][::-1]


def _cards(searched: SearchedIn, cells: Sequence[SlideCell], rows: Sequence[int]) -> list[Card]:
    cards = []
    for row in rows:
        second = cells[row].runner_up
        lines = (f"{cells[row].score:.2f}", *([f"or {second[0]}, {second[1]:.2f}"] if second else []))
        cards.append(Card(f"Cell {row + 1}", (("", jpeg_uri(_cut(searched, cells[row]))),), lines))
    return cards


def _cut(searched: SearchedIn, cell: SlideCell) -> UInt8[np.ndarray, "_ _ 3"]:
    """A cell with a margin, square where the slide has room; from the level that was searched."""
    x1, y1, x2, y2 = (cell.box / np.tile(searched.times, 2)).tolist()
    half = (0.5 + MARGIN) * max(x2 - x1, y2 - y1)
    grid = searched.grid
    left, right = max(int((x1 + x2) / 2 - half), 0), min(int((x1 + x2) / 2 + half) + 1, grid.width)
    top, bottom = max(int((y1 + y2) / 2 - half), 0), min(int((y1 + y2) / 2 + half) + 1, grid.height)
    return searched.slide.region(left, top, max(right - left, 1), max(bottom - top, 1), grid.scale)


def _regions(
    searched: SearchedIn, cells: Sequence[SlideCell]
) -> list[tuple[tuple[int, int], UInt8[np.ndarray, "_ _ 3"], int]]:
    """The tiles with the most cells, their pictures, and how many cells are in each."""
    grid, of_tiles = searched.grid, defaultdict[tuple[int, int], list[int]](list)
    for number, cell in enumerate(cells):
        x1, y1, x2, y2 = (cell.box / np.tile(searched.times, 2)).tolist()
        for row in _holding(grid.tops, grid.tile[0], y1, y2):
            for column in _holding(grid.lefts, grid.tile[1], x1, x2):
                of_tiles[row, column].append(number)
    most = sorted(of_tiles, key=lambda place: (-len(of_tiles[place]), place))[:REGIONS]
    return [(place, _drawn(searched, place, cells, of_tiles[place]), len(of_tiles[place])) for place in most]


def _holding(starts: Sequence[int], length: int, low: float, high: float) -> range:
    """The tiles along an axis, which begin at `starts`, that wholly hold what lies from `low` to `high`."""
    return range(bisect_left(starts, high - length), bisect_right(starts, low))


def _drawn(
    searched: SearchedIn, place: tuple[int, int], cells: Sequence[SlideCell], rows: Sequence[int]
) -> UInt8[np.ndarray, "_ _ 3"]:
    x1, y1, x2, y2 = map(int, searched.grid.view(*place))
    image = searched.slide.region(x1, y1, x2 - x1, y2 - y1, searched.grid.scale)
    shown = [cells[row] for row in rows]
    corner = np.array([x1, y1])
    outlined = [Cell(cell.label, tuple(points / searched.times - corner for points in cell.outlines)) for cell in shown]
    found = FieldDetections(
        name=searched.slide.name,
        height=y2 - y1,
        width=x2 - x1,
        boxes=np.array([cell.box for cell in shown]) / np.tile(searched.times, 2) - np.tile(corner, 2),
        labels=np.array([cell.label for cell in shown], np.int32),
        scores=np.array([cell.score for cell in shown]),
        rles=[cell.to_rle(y2 - y1, x2 - x1) for cell in outlined],
    )
    kept = _with_pixels(found)
    tags = [f"{rows[row] + 1}: {searched.classes[shown[row].label - 1]} {shown[row].score:.2f}" for row in kept]
    return draw_outlines(image, found.select(kept), tags, zoom=max(1.0, REGION_SIDE / max(image.shape)))


def _with_pixels(found: FieldDetections) -> Int[np.ndarray, " k"]:
    """The cells whose simpler outline holds a pixel's centre."""
    return np.flatnonzero([coco_mask.area(rle) > 0 for rle in found.rles])
