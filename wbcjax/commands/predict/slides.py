"""Cells found in whole slides, tile by tile: a search that can be killed and gone on with, and its results."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from wbcjax.commands.image_folder import of_image
from wbcjax.commands.predict.slide_files import CellFiles, SearchedIn, SlideCell, described
from wbcjax.commands.predict.slide_lock import LOCK, lock_out
from wbcjax.commands.predict.slide_pages import write_pages
from wbcjax.evaluate.cell_counts import counts_csv
from wbcjax.evaluate.morphology import white_of
from wbcjax.predict.detector import Predictor
from wbcjax.predict.search import Search
from wbcjax.predict.slide_grid import grid_of
from wbcjax.predict.slide_journal import Journal, SearchedTile, each_row
from wbcjax.predict.slide_merge import slide_cells
from wbcjax.predict.slide_search import UNREADABLE, in_threads, search_rows
from wbcjax.slides.mended import Mended, undamaged
from wbcjax.slides.open import is_slide, open_slide
from wbcjax.slides.slide import Slide
from wbcjax.slides.tissue import LEAST_TISSUE, SHARP, find_tissue
from wbcjax.smear.formats.image_files import SCANNERS
from wbcjax.smear.formats.image_names import IMAGES
from wbcjax.system.files import write_atomically
from wbcjax.system.places import check_out, check_writable
from wbcjax.system.processes import gather, is_first, process_share
from wbcjax.system.progress import Bar

JOURNAL, COUNTS = "tiles.jsonl", "counts.csv"
FORMAT = 1  # of the journal
TILE_COLUMNS = ("row", "column", "x1", "y1", "x2", "y2", "tissue", "sharpness", "left_out")


@dataclass(frozen=True)
class SlideSettings:
    """Settings of a search."""

    model: str  # a digest of the weights and of how slides are looked at
    min_score: float
    pixel_size: float = 0.0  # micrometres per pixel at full resolution; 0: as each file states it
    by_files: bool = True  # whether what files state is believed
    all_tiles: bool = False  # also those that are empty or blurred
    max_pixels: int = 2**29  # of an image without tiles
    patients: dict[str, str] | None = None  # of each slide, by its name


class SearchedSlide(NamedTuple):
    """What there is of a slide."""

    path: Path
    boxes: Float[np.ndarray, "c 4"]  # x1, y1, x2, y2, pixels at full resolution
    labels: Int[np.ndarray, " c"]
    tiles: int
    left_out: dict[str, int]  # tiles by the reason
    scale: float  # canvas pixels per pixel at full resolution
    damaged: list[str]  # a sentence on its unreadable tiles, if there are any


@dataclass
class SlideOutcome:
    """What there is of all slides, and failures; of a slide with damaged tiles both."""

    searched: list[SearchedSlide] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def predict_slides(model: Search, paths: Sequence[Path], out: Path, settings: SlideSettings) -> SlideOutcome:
    """Find the cells of slides, and write into the folder `out`, for each slide into a folder of its name:

    - tiles.jsonl: what was found in each row of tiles so far. The same call goes on with it where it was stopped
    - cells.csv: a line for each cell, see `wbcjax.evaluate.cells_csv`; places in pixels at full resolution
    - geojson/NAME.geojson: the cells for QuPath; of more than 20,000 in several files
    - tiles.csv: the place of each tile, how much of it is tissue, how sharp it is, and why it was left out, if it was
    - slide.html: a page with an overview, where the cells lie, and cells of each class
    - regions/*.png: the tiles with the most cells, outlined

    and counts.csv: the cells of each class of each slide, of each patient where they are known, and of all.

    The final files depend on what was found alone: they are the same, however often the search was stopped. A slide
    that fails is left out and noted in the outcome. Of one with damaged tiles the others are searched, and these are
    noted in the outcome, and in tiles.csv as unreadable. Several processes share the slides; the outcome is that of
    all.

    Raises ValueError for slides of one name, as `check_out` does for a folder of other results, and as `lock_out` does
    where another search writes into it.
    """
    with ExitStack() as held:
        if is_first():
            _check(paths, out)
            held.enter_context(lock_out(out))
        gather([])  # none writes before the folder is checked
        outcome = _predict_each(model, paths, out, settings)
        gather([])  # none ends before all is written
    return outcome


def _predict_each(model: Search, paths: Sequence[Path], out: Path, settings: SlideSettings) -> SlideOutcome:
    outcome = SlideOutcome()
    for number in process_share(len(paths)):
        path = paths[number]
        try:
            with open_slide(path, settings.max_pixels) as slide:
                outcome.searched.append(_predict(model, slide, path, out, settings))
            outcome.failed += outcome.searched[-1].damaged
        except Exception as error:  # any error leaves out this slide only
            outcome.failed.append(of_image(path, error))
    outcome = SlideOutcome(gather(outcome.searched), gather(outcome.failed))
    if is_first() and outcome.searched:
        counted = [(slide.path.name, slide.labels) for slide in outcome.searched]
        of, searched = settings.patients, outcome.searched
        patients = None if of is None else [of[slide.path.name] for slide in searched]
        write_atomically(out / COUNTS, counts_csv(counted, model.classes, patients))
    return outcome


def slides_at(place: Path, max_pixels: int, always: bool = False) -> list[Path]:
    """The slides at a place: a file, or those of a folder that holds no image of a camera's size; [] where none is.

    always: whether images of any size are searched as slides.
    """
    if place.is_file():
        return [place] if always or is_slide(place, max_pixels) else []
    files = [path for path in sorted(place.glob("*")) if path.is_file() and not path.name.startswith(".")]
    readable = [path for path in files if SCANNERS.fullmatch(path.suffix) or path.suffix.lower() in IMAGES]
    slides = readable if always else [path for path in readable if is_slide(path, max_pixels)]
    return slides if len(slides) == len(readable) else []


def digest_of(members: Sequence[Predictor], tta: bool) -> str:
    """A digest of the weights of models and of how they look at images."""
    told = hashlib.sha256(json.dumps([tta, *(member.enhance.identity for member in members)]).encode())
    for member in members:
        for leaf in jax.tree.leaves(member.network.variables):
            told.update(np.ascontiguousarray(leaf).tobytes())
    return told.hexdigest()[:16]


def _check(paths: Sequence[Path], out: Path) -> None:
    stems = [path.stem for path in paths]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise ValueError(f"slides that differ in suffix only would have one folder: {sorted(twice)}; rename one")
    ours = {COUNTS, LOCK, *(stem for stem in stems if (out / stem / JOURNAL).is_file())}
    if out.is_dir() and {path.name for path in out.iterdir()} <= ours:  # it is gone on with
        check_writable(out)
    else:
        check_out(out, paths)


def _predict(model: Search, slide: Slide, path: Path, out: Path, settings: SlideSettings) -> SearchedSlide:
    pixel_size = settings.pixel_size or (slide.pixel_size if settings.by_files else 0.0)
    mended = Mended(slide)
    grid, tissue = grid_of(slide, model, pixel_size), find_tissue(mended)
    searched = SearchedIn(out / path.stem, mended, grid, tissue, model.classes, pixel_size)
    journal = Journal(searched.folder / JOURNAL, _search(searched, path, settings))
    left = (len(grid.tops) - journal.rows) * len(grid.lefts)
    with Bar(slide.name, "tile", left, active=is_first()) as bar:
        where = None if settings.all_tiles else tissue
        for row in search_rows(model, slide, grid, where, pixel_size, journal.rows):
            journal.add(row)
            for _ in row:
                bar.advance()
    cells = _write_cells(searched, settings)
    tiles = [[tile._replace(found=None) for tile in row] for row in each_row(searched.folder / JOURNAL, slide.name)]
    write_atomically(searched.folder / "tiles.csv", _tiles_csv(searched, tiles))
    write_pages(searched, tiles, cells)
    reasons = [tile.left_out for row in tiles for tile in row]
    return SearchedSlide(
        path=path,
        boxes=np.array([cell.box for cell in cells]).reshape(-1, 4),
        labels=np.array([cell.label for cell in cells], np.int32),
        tiles=len(reasons),
        left_out={reason: reasons.count(reason) for reason in sorted(set(reasons)) if reason},
        scale=grid.scale * grid.drawn,
        damaged=_damaged(searched, path, tiles),
    )


def _search(searched: SearchedIn, path: Path, settings: SlideSettings) -> dict[str, Any]:
    """All that what is found in a tile depends on."""
    grid, everywhere = searched.grid, settings.all_tiles
    return {
        "format": FORMAT,
        "slide": searched.slide.name,
        "bytes": path.stat().st_size,
        "levels": searched.slide.levels,
        "model": settings.model,
        "classes": searched.classes,
        "scale": grid.scale,
        "tile": grid.tile,
        "drawn": grid.drawn,
        "pixel_size": searched.pixel_size,
        "left out": None if everywhere else [searched.tissue.threshold, LEAST_TISSUE, SHARP],
    }


def _write_cells(searched: SearchedIn, settings: SlideSettings) -> list[SlideCell]:
    """Write the cells as they become final; what the pages show of them is kept."""
    name, path, kept = searched.slide.name, searched.folder / JOURNAL, []
    said = next((list(tile.found.said) for row in each_row(path, name) for tile in row if tile.found), [])
    rows = ([(tile.column, tile.found) for tile in row if tile.found] for row in each_row(path, name))
    final = slide_cells(rows, searched.grid, searched.classes, settings.min_score, name)
    patient = settings.patients[name] if settings.patients else None
    describe = partial(described, searched, white_of(undamaged(searched.tissue.picture)))
    with (
        CellFiles(searched, patient).writing(said) as files,
        closing(in_threads(describe, chain.from_iterable(final))) as of,
    ):
        for cells in of:
            files.add(cells)
            kept += [replace(cell, row={}) for cell in cells]
    return kept


def _damaged(searched: SearchedIn, path: Path, tiles: Sequence[Sequence[SearchedTile]]) -> list[str]:
    """A sentence on the tiles that are unreadable, if there are any."""
    views = [
        searched.grid.view(row, tile.column)
        for row, of_row in enumerate(tiles)
        for tile in of_row
        if tile.left_out == UNREADABLE
    ]
    if not views:
        return []
    x, y = (round(side) for side in np.array(views[0][:2]) * searched.times)
    return [
        f"{path}: {len(views)} of {sum(map(len, tiles))} tiles cannot be read, the first one from pixel ({x}, {y}) of "
        "the slide on; the others were searched. Replace the file, and search it into another folder"
    ]


def _tiles_csv(searched: SearchedIn, tiles: Sequence[Sequence[SearchedTile]]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(TILE_COLUMNS)
    for number, row in enumerate(tiles):
        for tile in row:
            place = np.array(searched.grid.view(number, tile.column)) * np.tile(searched.times, 2)
            sharp = "" if tile.sharpness is None else f"{tile.sharpness:.6g}"
            corners = [f"{side:.0f}" for side in place]
            writer.writerow([number, tile.column, *corners, f"{tile.tissue:.6g}", sharp, tile.left_out])
    return table.getvalue().encode()
