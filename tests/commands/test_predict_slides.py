"""Whole slides searched by a model that finds what is painted: its files, and going on after a stop."""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from pycocotools import mask as coco_mask

from tests.predict.stubs import CLASSES, Painted
from tests.slides.make import halves, pages_pyramid
from wbcjax.commands.predict import slide_files
from wbcjax.commands.predict.slides import SlideSettings, predict_slides, slides_at
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.search import Picture
from wbcjax.slides.patients import read_patients
from wbcjax.smear.formats.qupath_objects import objects_of

SETTINGS = SlideSettings(model="painted", min_score=0.5)
HEIGHT, WIDTH = 300, 421
GROUND = (0, 128, 128)  # red 0 is no cell


def painted(seed: int = 0, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A slide whose left third is bare glass, and the number of the cell of each pixel."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    image[:, : WIDTH // 3] = (0, 0, 0)
    numbers = np.zeros((HEIGHT, WIDTH), np.int32)
    for number in range(1, count + 1):
        x, y = int(rng.integers(WIDTH // 3 + 20, WIDTH)), int(rng.integers(0, HEIGHT))
        disc = np.zeros_like(numbers, np.uint8)
        cv2.circle(disc, (x, y), int(rng.integers(4, 15)), 1, cv2.FILLED)
        if not (numbers[cv2.dilate(disc, np.ones((3, 3))) > 0] > 0).any():
            numbers[disc > 0] = number
            image[disc > 0] = (number, 1 + number % 3, 150 + number)
    return image, numbers


class Stopped(Exception):
    pass


class Stopping(Painted):
    """Fails at a picture."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def find(self, pictures: Iterable[Picture]) -> Iterator[FieldDetections]:
        for number, found in enumerate(super().find(pictures)):
            if number == self.at:
                raise Stopped("killed")
            yield found


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> tuple[Path, np.ndarray]:
    image, numbers = painted()
    return pages_pyramid(tmp_path_factory.mktemp("in") / "a.tif", halves(image, 2)), numbers


@pytest.fixture(scope="module")
def out(slide, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("found")
    outcome = predict_slides(Painted(), [slide[0]], out, SETTINGS)
    assert outcome.failed == []
    return out


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def final_files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_every_cell_is_found_once_at_its_place_and_size(slide, out):
    _, numbers = slide
    rows = table(out / "a" / "cells.csv")
    there = [number for number in np.unique(numbers) if number]
    assert len(rows) == len(there)
    assert [int(row["cell"]) for row in rows] == list(range(1, len(rows) + 1))
    for number in there:
        y, x = np.nonzero(numbers == number)
        (row,) = [row for row in rows if abs(float(row["score"]) - (150 + number) / 255) < 1e-4]
        assert row["image"] == "a.tif"
        assert row["class"] == CLASSES[number % 3]
        assert [float(row[side]) for side in ("x1", "y1", "x2", "y2")] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert int(row["area"]) == len(x)
        assert float(row["centroid_x"]) == pytest.approx(x.mean() + 0.5, abs=0.01)


def test_geojson_reads_back_as_the_same_cells(slide, out):
    """What QuPath's reader here makes of it: outlines that overlap the drawn ones, classes, and scores."""
    _, numbers = slide
    objects = objects_of(out / "a" / "geojson" / "a.geojson")
    assert len({one.feature["id"] for one in objects}) == len(objects) == len(np.unique(numbers)) - 1
    for one, row in zip(objects, table(out / "a" / "cells.csv"), strict=True):
        outline = shapely.Polygon(*one.feature["geometry"]["coordinates"])
        assert outline.is_valid
        number = round(float(row["score"]) * 255) - 150
        points = shapely.get_coordinates(outline.exterior).ravel().tolist()
        polygons: Any = [points]
        drawn = coco_mask.decode(coco_mask.frPyObjects(polygons, *numbers.shape)[0]) > 0
        both, either = (drawn & (numbers == number)).sum(), (drawn | (numbers == number)).sum()
        assert both / either > 0.95, "the outline is simplified"
        assert one.kind == "annotation"
        assert one.properties["classification"]["name"] == row["class"]
        assert one.properties["measurements"]["score"] == pytest.approx(float(row["score"]), abs=1e-4)


def test_tiles_without_tissue_are_not_shown_to_the_network(slide, out):
    tiles = table(out / "a" / "tiles.csv")
    assert [tile["left_out"] for tile in tiles if int(tile["x2"]) < WIDTH // 3] == ["empty"] * 6
    assert all(float(tile["tissue"]) > 0 and tile["sharpness"] for tile in tiles if not tile["left_out"])
    everywhere = Painted()
    predict_slides(everywhere, [slide[0]], out.parent / "all", SlideSettings("painted", 0.5, all_tiles=True))
    assert len(everywhere.shown) == len(tiles)
    assert table(out.parent / "all" / "a" / "cells.csv") == table(out / "a" / "cells.csv")


@pytest.mark.parametrize("at", [1, 7, 14])
def test_a_search_that_was_stopped_goes_on_to_the_same_bytes(slide, out, tmp_path, at):
    outcome = predict_slides(Stopping(at), [slide[0]], tmp_path, SETTINGS)
    assert "killed" in outcome.failed[0]
    done = (tmp_path / "a" / "tiles.jsonl").read_bytes().count(b"\n") - 1
    model = Painted()
    predict_slides(model, [slide[0]], tmp_path, SETTINGS)
    searched = [tile for tile in table(out / "a" / "tiles.csv") if not tile["left_out"] and int(tile["row"]) >= done]
    assert len(model.shown) == len(searched), "rows that were done are not searched again"
    assert final_files(tmp_path) == final_files(out)


@pytest.mark.parametrize("kept", [10, 0.3, 0.9])
def test_a_line_of_the_journal_that_was_cut_short_is_searched_again(slide, out, tmp_path, kept):
    whole = (out / "a" / "tiles.jsonl").read_bytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tiles.jsonl").write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
    (tmp_path / "a" / ".cells.csv.7.partial").write_text("of a process that was killed", encoding="utf-8")
    predict_slides(Painted(), [slide[0]], tmp_path, SETTINGS)
    assert final_files(tmp_path) == final_files(out)


def test_a_journal_of_another_model_is_refused_with_what_differs(slide, out):
    outcome = predict_slides(Painted(), [slide[0]], out, SlideSettings("another", 0.5))
    assert "model is 'another' and was 'painted'); choose another folder" in outcome.failed[0]


def test_a_folder_of_other_files_is_not_written_into(slide, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="not empty"):
        predict_slides(Painted(), [slide[0]], tmp_path, SETTINGS)


def test_a_second_search_into_one_folder_is_refused_and_harms_nothing(slide, out, tmp_path):
    refused = []

    class Twice(Painted):
        """Begins the same search again in the middle of it."""

        def find(self, pictures: Iterable[Picture]) -> Iterator[FieldDetections]:
            for number, found in enumerate(super().find(pictures)):
                if number == 7:
                    with pytest.raises(BlockingIOError, match="is in use: another process searches") as error:
                        predict_slides(Painted(), [slide[0]], tmp_path, SETTINGS)
                    refused.append(str(error.value))
                yield found

    assert predict_slides(Twice(), [slide[0]], tmp_path, SETTINGS).failed == []
    assert len(refused) == 1
    assert "\n" not in refused[0]
    assert final_files(tmp_path) == final_files(out)
    assert predict_slides(Painted(), [slide[0]], tmp_path, SETTINGS).failed == [], "the end of a search unlocks it"


def test_large_results_are_cut_into_files_of_so_many_cells(slide, out, tmp_path, monkeypatch):
    monkeypatch.setattr(slide_files, "CHUNK", 5)
    predict_slides(Painted(), [slide[0]], tmp_path, SETTINGS)
    (whole,) = (out / "a" / "geojson").iterdir()
    chunks = sorted((tmp_path / "a" / "geojson").iterdir())
    assert [path.name for path in chunks[:2]] == ["a_001.geojson", "a_002.geojson"]
    each = [json.loads(path.read_text(encoding="utf-8"))["features"] for path in chunks]
    assert [len(features) for features in each[:-1]] == [5] * (len(each) - 1)
    assert list(chain.from_iterable(each)) == json.loads(whole.read_text(encoding="utf-8"))["features"]


def test_counts_are_of_each_slide_each_patient_and_all(slide, tmp_path):
    second = pages_pyramid(tmp_path / "b.tif", halves(painted(seed=1)[0], 1))
    empty = pages_pyramid(tmp_path / "c.tif", [np.zeros((80, 100, 3), np.uint8)])
    slides = [slide[0], second, empty]
    (tmp_path / "patients.csv").write_text("slide,patient\na.tif,P1\nb,P1\nc,P2\n", encoding="utf-8")
    patients = read_patients(tmp_path / "patients.csv", [slide.name for slide in slides])
    outcome = predict_slides(Painted(), slides, tmp_path / "out", SlideSettings("painted", 0.5, patients=patients))
    assert outcome.failed == []
    rows = table(tmp_path / "out" / "counts.csv")
    n = {(row["image"], row["patient"]): int(row["n"]) for row in rows}
    a, b = (len(table(tmp_path / "out" / name / "cells.csv")) for name in "ab")
    assert n == {
        ("a.tif", "P1"): a,
        ("b.tif", "P1"): b,
        ("c.tif", "P2"): 0,
        ("all images of the patient", "P1"): a + b,
        ("all images of the patient", "P2"): 0,
        ("all images", ""): a + b,
    }
    assert {row["patient"] for row in table(tmp_path / "out" / "a" / "cells.csv")} == {"P1"}
    assert objects_of(tmp_path / "out" / "c" / "geojson" / "c.geojson") == []
    (tmp_path / "patients.csv").write_text("slide,patient\na.tif,P1\nb,P1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"names no patient of c\.tif"):
        read_patients(tmp_path / "patients.csv", [slide.name for slide in slides])


def test_a_slide_that_cannot_be_read_is_told_and_the_others_are_searched(slide, tmp_path):
    (tmp_path / "b.tif").write_bytes(b"II*\0broken")
    outcome = predict_slides(Painted(), [tmp_path / "b.tif", slide[0]], tmp_path / "out", SETTINGS)
    assert [one.path.name for one in outcome.searched] == ["a.tif"]
    assert "b.tif" in outcome.failed[0]


def damage(path: Path, level: int, index: int) -> None:
    """Write zeros over a tile of a file."""
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[level]
        start, length = page.dataoffsets[index], page.databytecounts[index]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def test_a_damaged_tile_is_told_and_the_rest_of_its_slide_is_searched(slide, out, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(slide[0].read_bytes())
    damage(path, level=0, index=2 * 7 + 4)  # x 256 to 320, y 128 to 192: of 7 tiles a row, 64 pixels wide
    outcome = predict_slides(Painted(), [path], tmp_path / "out", SETTINGS)
    found, whole = (table(of / "a" / "tiles.csv") for of in (tmp_path / "out", out))
    for tile, before in zip(found, whole, strict=True):
        x1, y1, x2, y2 = (int(tile[side]) for side in ("x1", "y1", "x2", "y2"))
        touched = x1 < 320 and x2 > 256 and y1 < 192 and y2 > 128
        assert tile["left_out"] == ("unreadable" if touched else before["left_out"])
    unreadable = [tile for tile in found if tile["left_out"] == "unreadable"]
    x, y = unreadable[0]["x1"], unreadable[0]["y1"]
    assert outcome.searched[0].left_out["unreadable"] == len(unreadable) > 0
    (told,) = outcome.failed
    assert f"{len(unreadable)} of {len(found)} tiles cannot be read, the first one from pixel ({x}, {y})" in told

    def apart(of: Path) -> list[dict[str, str]]:
        """The cells that no unreadable tile sees, without their stain: white is that of what can be read."""
        boxes = [[int(tile[side]) for side in ("x1", "y1", "x2", "y2")] for tile in unreadable]
        rows = [
            {name: value for name, value in row.items() if name != "cell" and not name.startswith("od_")}
            for row in table(of / "a" / "cells.csv")
        ]
        return [row for row in rows if not any(meets(box, row) for box in boxes)]

    assert 0 < len(apart(out)) < len(table(out / "a" / "cells.csv"))
    assert apart(tmp_path / "out") == apart(out)
    assert f"{len(unreadable)} unreadable" in (tmp_path / "out" / "a" / "slide.html").read_text(encoding="utf-8")


def meets(box: list[int], row: dict[str, str]) -> bool:
    x1, y1, x2, y2 = (float(row[side]) for side in ("x1", "y1", "x2", "y2"))
    return x1 <= box[2] and x2 >= box[0] and y1 <= box[3] and y2 >= box[1]


def test_the_page_has_every_class_and_loads_nothing(out):
    page = (out / "a" / "slide.html").read_text(encoding="utf-8")
    for name in CLASSES:
        assert f"{name}: the surest" in page
    assert "Tiles that were not searched are darker" in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(list((out / "a" / "regions").glob("*.png"))) == 6


def test_lower_levels_are_searched_and_told_in_full_resolution(tmp_path):
    """A model that sees slides at half scale reads the level of that scale, and places are those of the slide."""
    image, numbers = painted(seed=2, count=20)
    large = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    path = pages_pyramid(tmp_path / "a.tif", [large, image])

    class Half(Painted):
        def shown_large(self, pixel_size=0.0):
            return super().shown_large()._replace(scale=0.5)

    predict_slides(Half(), [path], tmp_path / "out", SETTINGS)
    rows = table(tmp_path / "out" / "a" / "cells.csv")
    assert len(rows) == len(np.unique(numbers)) - 1
    for row in rows:
        y, x = np.nonzero(numbers == round(float(row["score"]) * 255) - 150)
        found = [float(row[side]) for side in ("x1", "y1", "x2", "y2")]
        assert found == [2 * x.min(), 2 * y.min(), 2 * x.max() + 2, 2 * y.max() + 2]
        assert float(row["area"]) == 4 * len(x)


def test_a_folder_of_images_is_no_folder_of_slides(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    assert slides_at(tmp_path, 2**29) == []
    assert slides_at(tmp_path, 2**29, always=True) == [tmp_path / "a.png"]
    (tmp_path / "b.svs").write_bytes(b"")
    assert slides_at(tmp_path, 2**29) == [], "the image is searched, and the slide told"
    (tmp_path / "a.png").unlink()
    assert slides_at(tmp_path, 2**29) == [tmp_path / "b.svs"]
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((64, 64, 3), np.uint8), tile=(64, 64), photometric="rgb")
    assert slides_at(tmp_path / "c.tif", 2**29) == []
    assert slides_at(tmp_path / "c.tif", 64 * 64 - 1) == [tmp_path / "c.tif"]
