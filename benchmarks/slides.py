"""A drawn slide of 100,000 x 80,000 pixels searched by `wbcjax predict`: memory, speed, seams, a kill in the middle.

`python -m benchmarks.slides runs/smear_demo --fields 120` draws fields of cells, which the run should be trained on,
and puts them at random places of a slide that is bare glass elsewhere. Then it prints

- the peak memory of the search, and how long it took
- AP of the fields' cells as they are found on the slide, and as they are found in each field as an image of its own:
  one tile, which has it in its middle
- pairs of reported cells that overlap by an IoU of 0.5 or more, as the outlines of the GeoJSON files do: cells that
  were found twice
- whether a search that is killed in the middle and gone on with writes the same bytes
- tiles a second of a slide full of cells, over those of the same tiles as images in memory
"""

import argparse
import filecmp
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import shapely
import tifffile
from shapely.geometry import shape

import wbcjax
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, annotate
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.evaluate.scores import detection_scores
from wbcjax.predict.detector import Predictor
from wbcjax.predict.search import Picture
from wbcjax.predict.sights import Frame, Sight, sights
from wbcjax.predict.slide_grid import Grid, grid_of
from wbcjax.predict.slide_journal import each_row
from wbcjax.predict.slide_merge import slide_cells
from wbcjax.predict.slide_search import search_rows
from wbcjax.slides.open import open_slide
from wbcjax.smear import synthetic
from wbcjax.smear.field import SmearField
from wbcjax.smear.synthetic_settings import SyntheticSmear
from wbcjax.system import runtime

SIDE = 1024  # pixels of a tile of the file
SHRINK = 4  # from a level to the next
LEVELS = 4
GLASS = (232, 226, 232)
SEED = 5_000_000  # of the first field, far from those of trainings
SHIFT = 32  # pixels by which fields are off a grid, at most
AROUND = 64  # pixels of glass around a field, at least
DENSE = 10  # fields along each side of the slide that is full of cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path, help="of a run on drawn fields")
    parser.add_argument("--width", type=int, default=100_000)
    parser.add_argument("--height", type=int, default=80_000)
    parser.add_argument("--fields", type=int, default=120)
    parser.add_argument("--scale", type=float, help="of slide and fields, for a run of several (default: its lowest)")
    parser.add_argument("--out", type=Path, help="a folder to keep the slide and the results in")
    options = parser.parse_args()
    runtime.quiet_libraries()
    runtime.use_compilation_cache()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        fields = [synthetic.render(SyntheticSmear(), SEED + i) for i in range(options.fields)]
        places = random_places(options.width, options.height, fields)
        slide = out / "slide.tif"
        write_slide(slide, options.width, options.height, places, fields)
        print(f"{slide}: {options.width} x {options.height} pixels, {slide.stat().st_size / 1e6:.0f} MB")
        model = wbcjax.load(options.workdir)
        scale = options.scale or (model.scales or (1.0,))[0]
        model.scales = (scale, scale)
        command = [sys.executable, "-m", "wbcjax", "predict", str(options.workdir), str(slide)]
        command += ["--slide", f"--scale={scale}", "--out"]
        search(command, out / "whole")
        compare(model, slide, out / "whole" / "slide" / "tiles.jsonl", places, fields)
        count_twice(out / "whole" / "slide" / "geojson")
        kill_and_go_on(command, out)
        measure_rate(model, out / "dense.tif")


def random_places(width: int, height: int, fields: Sequence[SmearField]) -> list[tuple[int, int]]:
    """Left and top of each field, with glass around it."""
    rng = np.random.default_rng(0)
    high, wide = (side + 2 * AROUND + SHIFT for side in (fields[0].height, fields[0].width))
    cells = rng.choice((height // high) * (width // wide), len(fields), replace=False).tolist()
    corners = [(cell % (width // wide) * wide + AROUND, cell // (width // wide) * high + AROUND) for cell in cells]
    return [(x + int(rng.integers(SHIFT)), y + int(rng.integers(SHIFT))) for x, y in corners]


def write_slide(
    path: Path, width: int, height: int, places: Sequence[tuple[int, int]], fields: Sequence[SmearField]
) -> None:
    """A tiled pyramid of the fields on bare glass; of tiles without a field one is compressed, and repeated."""
    images = [field.image() for field in fields]
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in range(LEVELS):
            times = SHRINK**level
            shape = -(-height // times), -(-width // times), 3
            tiff.write(
                tiles_of(shape, times, places, images),
                shape=shape,
                dtype=np.uint8,
                tile=(SIDE, SIDE),
                photometric="rgb",
                compression="zlib",
                subfiletype=int(level > 0),
                metadata=None,
            )


def tiles_of(
    shape: tuple[int, int, int], times: int, places: Sequence[tuple[int, int]], images: Sequence[np.ndarray]
) -> Iterator[bytes]:
    """The tiles of a level, row by row, compressed."""
    empty = np.full((SIDE, SIDE, 3), GLASS, np.uint8)
    compressed = zlib.compress(empty.tobytes())
    for top in range(0, shape[0], SIDE):
        for left in range(0, shape[1], SIDE):
            x1, y1, side = left * times, top * times, SIDE * times
            inside = [
                (x - x1, y - y1, image)
                for (x, y), image in zip(places, images, strict=True)
                if x < x1 + side and y < y1 + side and x + image.shape[1] > x1 and y + image.shape[0] > y1
            ]
            if not inside:
                yield compressed
                continue
            tile = empty.copy()
            for x, y, image in inside:
                paste(tile, image, x, y, times)
            yield zlib.compress(tile.tobytes())


def paste(tile: np.ndarray, image: np.ndarray, x: int, y: int, times: int) -> None:
    """Put an image at (x, y), pixels of full resolution, into a tile of a level."""
    if times > 1:  # on the grid of the level, with glass around
        before = x % times, y % times
        after = -(before[0] + image.shape[1]) % times, -(before[1] + image.shape[0]) % times
        padded = cv2.copyMakeBorder(image, before[1], after[1], before[0], after[0], cv2.BORDER_CONSTANT, value=GLASS)
        size = padded.shape[1] // times, padded.shape[0] // times
        image, x, y = cv2.resize(padded, size, interpolation=cv2.INTER_AREA), x // times, y // times
    left, top = max(-x, 0), max(-y, 0)
    part = image[top : SIDE - y, left : SIDE - x]
    tile[max(y, 0) : max(y, 0) + part.shape[0], max(x, 0) : max(x, 0) + part.shape[1]] = part


def search(command: Sequence[str], out: Path) -> None:
    """Search in a process of its own; prints its peak memory."""
    start = time.perf_counter()
    subprocess.run([*command, out], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"searched in {time.perf_counter() - start:.0f} s, with at most {peak:.2f} GB of memory")


def compare(
    model: Predictor, slide: Path, journal: Path, places: Sequence[tuple[int, int]], fields: Sequence[SmearField]
) -> None:
    """AP of the cells of each field, found on the slide and in the field alone."""
    annotated = [annotate(field.name, field.height, field.width, field.cells) for field in fields]
    if len(model.classes) == 1:
        annotated = [replace(field, labels=np.ones_like(field.labels)) for field in annotated]
    with open_slide(slide) as opened:
        grid = grid_of(opened, model)
        corners = [corner_of(place, field, grid) for place, field in zip(places, fields, strict=True)]
        pictures = [Picture("", opened.region(x, y, *grid.tile[::-1])) for x, y in corners]
    alone = []
    for found, corner, place, field in zip(model.detect_each(pictures), corners, places, fields, strict=True):
        cells = reported_cells(found, 0.0, model.classes)
        alone.append(in_field(sights(cells, *corner), place, field))
    every = list(on_slide(journal, grid, model))
    on_fields = [in_field(every, place, field) for place, field in zip(places, fields, strict=True)]
    inside = sum(len(found.rles) for found in on_fields)
    print(
        f"{len(every)} detections on the slide, {inside} of them in fields; {sum(len(f.cells) for f in fields)} drawn"
    )
    for name, found in (("alone", alone), ("on the slide", on_fields)):
        print(f"{name:14}" + scored(annotated, found, model))


def corner_of(place: tuple[int, int], field: SmearField, grid: Grid) -> tuple[int, int]:
    """Left and top of the tile that has a field in its middle."""
    return place[0] - (grid.tile[1] - field.width) // 2, place[1] - (grid.tile[0] - field.height) // 2


def on_slide(journal: Path, grid: Grid, model: Predictor) -> Iterator[Sight]:
    rows = ([(tile.column, tile.found) for tile in row if tile.found] for row in each_row(journal, "slide"))
    for final in slide_cells(rows, grid, model.classes, 0.0):
        for group in final:
            yield from sights(group.cells, group.frame.left, group.frame.top)


def in_field(every: Sequence[Sight], place: tuple[int, int], field: SmearField) -> FieldDetections:
    """The detections whose boxes have their centres in a field, in its own pixels; masks end where it does."""
    x, y = place
    found = []
    for one in every:
        across, down = (one.box[0] + one.box[2]) / 2 - x, (one.box[1] + one.box[3]) / 2 - y
        if 0 <= across < field.width and 0 <= down < field.height:
            left, top = max(x - one.left, 0), max(y - one.top, 0)
            mask = one.mask[top : y + field.height - one.top, left : x + field.width - one.left]
            found.append(Sight(one.box, one.label, one.score, one.said, mask, one.left + left, one.top + top))
    found.sort(key=lambda one: -one.score)
    return Frame(x, y, field.width, field.height).holding(found, field.name)


def scored(annotated: Sequence[FieldAnnotations], found: Sequence[FieldDetections], model: Predictor) -> str:
    scores = detection_scores(annotated, found, model.classes, model.min_score)
    shown = (("mask", "AP"), ("mask", "AP50"), ("box", "AP"))
    return "".join(f"  {kind} {name} {100 * scores[kind][name]:.2f}" for kind, name in shown)


def count_twice(folder: Path) -> None:
    """The cells that the GeoJSON files of a slide hold twice, by what is written alone."""
    read = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.geojson"))]
    outlines = np.array([shape(one["geometry"]) for data in read for one in data["features"]], object)
    one, other = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    first, second = outlines[one[one < other]], outlines[other[one < other]]
    shared = shapely.area(shapely.intersection(first, second))
    twice = np.count_nonzero(2 * shared >= shapely.area(first) + shapely.area(second) - shared)
    print(f"{len(outlines)} cells reported, {twice} pairs of them overlap by an IoU of 0.5 or more")


def kill_and_go_on(command: Sequence[str], out: Path) -> None:
    """Kill a search with signal 9 in the middle, go on, and compare all files with those of `whole`."""
    journal, whole = out / "killed" / "slide" / "tiles.jsonl", out / "whole"
    half = (whole / "slide" / "tiles.jsonl").stat().st_size // 2
    searching = subprocess.Popen([*command, out / "killed"])
    while searching.poll() is None and not (journal.exists() and journal.stat().st_size > half):
        time.sleep(0.2)
    os.kill(searching.pid, signal.SIGKILL)
    searching.wait()
    done = journal.read_bytes().count(b"\n") - 1
    subprocess.run([*command, out / "killed"], check=True)
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    _, other, missing = filecmp.cmpfiles(whole, out / "killed", names, shallow=False)
    print(f"killed after {done} rows: {len(names)} files, {len(other)} differ, {len(missing)} missing")


def measure_rate(model: Predictor, path: Path) -> None:
    """Tiles a second of a slide that is full of cells, and of the same tiles as images in memory."""
    fields = [synthetic.render(SyntheticSmear(), SEED + i) for i in range(DENSE**2)]
    high, wide = fields[0].height, fields[0].width
    places = [(i % DENSE * wide, i // DENSE * high) for i in range(len(fields))]
    write_slide(path, DENSE * wide, DENSE * high, places, fields)
    rates: dict[str, list[float]] = {"slide": [], "images": []}
    for _ in range(4):  # the first one compiles
        with open_slide(path) as slide:
            grid = grid_of(slide, model)
            start = time.perf_counter()
            count = sum(len(row) for row in search_rows(model, slide, grid, None, 0.0))
            rates["slide"].append(count / (time.perf_counter() - start))
            views = [grid.view(row, column) for row in range(len(grid.tops)) for column in range(len(grid.lefts))]
            corners = [(int(x1), int(y1), int(x2 - x1), int(y2 - y1)) for x1, y1, x2, y2 in views]
            images = [Picture("tile", slide.region(*corner, grid.scale), 0.0, 1.0) for corner in corners]
        start = time.perf_counter()
        count = sum(1 for _ in model.detect_each(images))
        rates["images"].append(count / (time.perf_counter() - start))
    slide_rate, image_rate = (float(np.median(rates[name][1:])) for name in ("slide", "images"))
    print(f"{slide_rate:.2f} tiles/s of a slide, {image_rate:.2f} as images: {slide_rate / image_rate:.2f}")


if __name__ == "__main__":
    main()
