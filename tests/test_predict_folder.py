"""What `wbcjax predict` writes of a folder of images, by a model that finds what it is told to."""

import csv
import dataclasses
import errno
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict
from pycocotools import mask as coco_mask

from tests.oracle import CLASSES, oracle, paint
from wbcjax import cli, heap, predict, runtime
from wbcjax.cells_table import cell_rows
from wbcjax.classify import CropClassifier
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.files import write_png
from wbcjax.models.mask_rcnn import Detections
from wbcjax.predict import Predictor
from wbcjax.predict_folder import Outcome, predict_folder
from wbcjax.smear.field import read_image, text_rle
from wbcjax.smear.read import read

HEIGHT, WIDTH = 60, 80
Found = tuple[tuple[int, int, int, int], int, float]  # rectangle, label, score
ONE = ((10, 10, 30, 40), 2, 0.9)


class Teller(Predictor):
    """Finds in each image the rectangles that it was told of under the image's name."""

    def __init__(self, told: dict[str, list[Found]], classes: tuple[str, ...] = CLASSES, enhance: str = "none") -> None:
        super().__init__(_no_network, "detectron2", (64, 96), classes, enhance=enhance)
        self.told = told
        self.shown: dict[str, np.ndarray] = {}

    def predict_each(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[FieldDetections]:
        for name, image in images:
            yield self.predict(image, name)

    def predict(self, image: np.ndarray, name: str = "image") -> FieldDetections:
        self.shown[name] = image
        height, width = image.shape[:2]
        rles = []
        for (x1, y1, x2, y2), _, _ in self.told.get(name, []):
            mask = np.zeros((height, width), np.uint8, order="F")
            mask[y1:y2, x1:x2] = 1
            rles.append(text_rle(coco_mask.encode(mask)))
        boxes, labels, scores = zip(*self.told[name], strict=True) if self.told.get(name) else ([], [], [])
        return FieldDetections(
            name,
            height,
            width,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(labels, np.int32),
            np.array(scores, np.float32),
            rles,
        )


def _no_network(*_: object) -> Detections:
    raise AssertionError("what is told needs no network")


def image_folder(folder: Path, *names: str) -> Path:
    """A folder of pink images."""
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), (205, 180, 225), np.uint8))
    return folder


def search(tmp_path: Path, told: dict[str, list[Found]], min_score: float = 0.5) -> tuple[Outcome, Path]:
    images = image_folder(tmp_path / "images", *told)
    return predict_folder(Teller(told), images, tmp_path / "out", min_score), tmp_path / "out"


def labels_in(out: Path, name: str) -> np.ndarray:
    labels = cv2.imread(str(out / "labels" / name), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert labels.dtype == np.uint16
    return labels


def table_in(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "cells.csv").read_text().splitlines()))


def test_each_image_has_its_pictures_and_the_folder_its_lists(tmp_path):
    _, out = search(tmp_path, {"a.png": [ONE], "b.png": []})
    pictures = {f"{folder}/{name}.png" for folder in ("outlines", "splash", "labels") for name in "ab"}
    lists = {"cells.csv", "via.json", "coco.json", "predictions.json"}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == pictures | lists


def test_the_table_names_place_class_and_size_of_each_cell_the_surest_first(tmp_path):
    _, out = search(tmp_path, {"a.png": [((40, 5, 50, 9), 1, 0.6), ONE], "b.png": [], "c.png": [((0, 0, 1, 1), 3, 1)]})
    first, second, third = table_in(out)
    assert (
        first.items()
        >= {
            "image": "a.png",
            "cell": "1",
            "class": "L2",
            "score": "0.9000",
            "runner_up": "",
            "x1": "10",
            "y1": "10",
            "x2": "30",
            "y2": "40",
            "area": "600",
            "centroid_x": "20",
            "centroid_y": "25",
        }.items()
    )
    assert (second["image"], second["cell"], second["class"], second["area"]) == ("a.png", "2", "L1", "40")
    assert (third["image"], third["cell"], third["centroid_x"]) == ("c.png", "1", "0.5")


def test_the_table_describes_shape_and_stain_and_sizes_in_micrometres_where_the_pixels_is_known(tmp_path):
    images, thin = image_folder(tmp_path / "images", "a.png"), ((0, 0, 1, 1), 1, 0.6)
    for pixel_size, extra in ((0.0, []), (0.5, ["area_um2", "perimeter_um"])):
        predict_folder(Teller({"a.png": [ONE, thin]}), images, tmp_path / str(pixel_size), 0.5, pixel_size=pixel_size)
        cell, dot = table_in(tmp_path / str(pixel_size))
        shape = ["perimeter", "circularity", "eccentricity", "solidity", "od_red", "od_green", "od_blue"]
        assert list(cell)[11:] == ["runner_up", "runner_up_score", *shape, *extra]
        assert float(cell["eccentricity"]) == pytest.approx(math.sqrt(1 - 399 / 899), abs=1e-3)  # moments of 20 x 30
        assert (cell["solidity"], cell["od_red"], cell["od_green"], cell["od_blue"]) == ("1", "0", "0", "0")
        assert dot["area"] == "1"
        assert all(math.isfinite(float(dot[name])) for name in shape + extra)
    assert (cell["area_um2"], dot["area_um2"]) == ("150", "0.25")
    assert float(cell["perimeter_um"]) == pytest.approx(float(cell["perimeter"]) / 2, rel=1e-5)


def test_the_stain_is_that_of_the_image_as_it_was_taken(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.full((HEIGHT, WIDTH, 3), 199, np.uint8)
    image[10:40, 10:30] = 19, 199, 99
    write_png(tmp_path / "images/a.png", image)
    predict_folder(Teller({"a.png": [ONE]}, enhance="he"), tmp_path / "images", tmp_path / "out", 0.5)
    (cell,) = table_in(tmp_path / "out")
    assert (cell["od_red"], cell["od_green"], cell["od_blue"]) == ("1", "0", "0.30103")


def test_an_impossible_pixel_size_is_refused_before_any_work(tmp_path):
    model, images = Teller({}), image_folder(tmp_path / "images", "a.png")
    for pixel_size in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"the pixel size is .*; give micrometres per pixel"):
            predict_folder(model, images, tmp_path / "out", 0.5, pixel_size=pixel_size)
    assert not model.shown


@pytest.mark.parametrize(
    ("of_run", "options", "expected"),
    [
        ({"pixel_size": 0.2}, [], 0.2),
        ({"pixel_size": 0.2}, ["--pixel-size=0.1"], 0.1),
        ({"pixel_size": 0.2}, ["--scale=2"], None),
        ({"pixel_size": 0.2}, ["--scale=2", "--pixel-size=0.1"], 0.1),
        ({"pixel_size": 0.0}, [], None),
        ({}, [], None),  # a run from before there was such a setting
    ],
)
def test_the_pixel_size_is_the_commands_or_the_runs_for_images_of_its_magnification(
    tmp_path, monkeypatch, of_run, options, expected
):
    config = ConfigDict({"dataset": {"class_attribute": "cell"} | of_run, "evaluate": {"score_threshold": 0.5}})
    monkeypatch.setattr(heap, "tune_malloc", lambda: None)
    monkeypatch.setattr(runtime, "use_compilation_cache", lambda: None)
    monkeypatch.setattr("wbcjax.run.load_config", lambda workdir: config)
    monkeypatch.setattr(predict, "load", lambda workdir, checkpoint: Teller({"a.png": [ONE]}))
    images = image_folder(tmp_path / "images", "a.png")
    cli.main(["predict", str(tmp_path), str(images), f"--out={tmp_path / 'out'}", *options])
    (cell,) = table_in(tmp_path / "out")
    assert cell.get("area_um2") == (None if expected is None else f"{600 * expected**2:.6g}")


@pytest.mark.parametrize("value", ["0", "-1", "inf", "0,1"])
def test_a_pixel_size_that_is_none_is_refused_by_the_command(tmp_path, capsys, value):
    with pytest.raises(SystemExit):
        cli.main(["predict", str(tmp_path), str(tmp_path), f"--out={tmp_path}", f"--pixel-size={value}"])
    assert f"{value} is no pixel size; give micrometres per pixel" in capsys.readouterr().err


def test_nuclei_are_tied_to_their_cells_and_on_top_of_them(tmp_path):
    cell, nucleus, lone = ((10, 10, 30, 40), 1, 0.9), ((15, 15, 25, 25), 2, 0.8), ((40, 40, 50, 50), 2, 0.7)
    empty = ((50, 5, 60, 15), 1, 0.6)
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    model = Teller({"a.png": [cell, nucleus, lone, empty]}, classes=("blast", "nucleus"))
    predict_folder(model, images, tmp_path / "out", 0.5)
    nuclear = ("class", "in_cell", "nuclei", "nc_ratio", "nucleus_share")
    assert [tuple(row[name] for name in nuclear) for row in table_in(tmp_path / "out")] == [
        ("blast", "", "1", "0.2", "0.166667"),
        ("nucleus", "1", "", "", ""),
        ("nucleus", "", "", "", ""),
        ("blast", "", "0", "", ""),
    ]
    labels = labels_in(tmp_path / "out", "a.png")
    assert (labels[15:25, 15:25] == 2).all()
    assert (labels == 1).sum() == 600 - 100


def test_a_cell_found_as_two_classes_is_one_in_every_file_with_the_second_beside_it(tmp_path):
    twice = ((10, 10, 30, 39), 1, 0.67)
    outcome, out = search(tmp_path, {"a.png": [twice, ONE, ((40, 40, 50, 50), 3, 0.8)]})
    assert [row["class"] for row in table_in(out)] == ["L2", "L3"]
    assert [(row["runner_up"], row["runner_up_score"]) for row in table_in(out)] == [("L1", "0.6700"), ("", "")]
    assert np.unique(labels_in(out, "a.png")).tolist() == [0, 1, 2]
    regions = next(iter(json.loads((out / "via.json").read_text())["_via_img_metadata"].values()))["regions"]
    assert [region["region_attributes"] for region in regions] == [
        {"cell": "L2", "score": "0.9000", "runner_up": "L1", "runner_up_score": "0.6700"},
        {"cell": "L3", "score": "0.8000"},
    ]
    first, second = json.loads((out / "coco.json").read_text())["annotations"]
    assert (first["runner_up"], first["runner_up_score"]) == ("L1", pytest.approx(0.67))
    assert "runner_up" not in second
    assert len(json.loads((out / "predictions.json").read_text())["detections"]) == 3
    assert len(outcome.searched[0].cells.rles) == 2
    for name in ("via.json", "coco.json"):
        assert len(read(out / name, tmp_path / "images", {"L2": 1, "L3": 2}).fields[0].cells) == 2


def test_a_classifier_names_a_cell_found_as_two_classes_once(tmp_path):
    class Namer(CropClassifier):
        def __init__(self) -> None:
            self.classes = ("a", "b")

        def cut_settings(self) -> dict:
            return {}

        def name(self, image: np.ndarray, cells: FieldDetections) -> FieldDetections:
            return dataclasses.replace(cells, labels=np.full_like(cells.labels, 2))

    images = image_folder(tmp_path / "images", "a.png")
    model = Teller({"a.png": [ONE, ((10, 10, 30, 39), 1, 0.67)]})
    predict_folder(model, images, tmp_path / "out", 0.5, classifier=Namer())
    assert [(row["class"], row["named"]) for row in table_in(tmp_path / "out")] == [("L2", "b")]
    (image,) = json.loads((tmp_path / "out/named_via.json").read_text())["_via_img_metadata"].values()
    assert len(image["regions"]) == 1


def test_a_label_image_holds_the_tables_numbers_surer_cells_on_top(tmp_path):
    unsure, sure = ((5, 5, 25, 25), 1, 0.6), ((15, 15, 35, 35), 1, 0.8)
    _, out = search(tmp_path, {"a.png": [unsure, sure], "b.png": []})
    expected = np.zeros((HEIGHT, WIDTH), np.uint16)
    expected[5:25, 5:25] = 2
    expected[15:35, 15:35] = 1
    np.testing.assert_array_equal(labels_in(out, "a.png"), expected)
    assert not labels_in(out, "b.png").any()


def test_the_splash_keeps_the_colours_of_cells_alone(tmp_path):
    _, out = search(tmp_path, {"a.png": [ONE]})
    splash, inside = read_image(out / "splash/a.png"), labels_in(out, "a.png") > 0
    assert (splash[inside] == (225, 180, 205)).all()
    assert (splash[~inside] == splash[~inside][:, :1]).all()


def test_what_scores_too_little_or_has_no_pixel_is_in_the_predictions_alone(tmp_path):
    unsure, empty = ((40, 40, 50, 50), 1, 0.49), ((50, 20, 50, 20), 1, 0.99)
    outcome, out = search(tmp_path, {"a.png": [unsure, ONE, empty]})
    assert len(json.loads((out / "predictions.json").read_text())["detections"]) == 3
    assert len((out / "cells.csv").read_text().splitlines()) == 1 + 1
    assert np.unique(labels_in(out, "a.png")).tolist() == [0, 1]
    assert len(json.loads((out / "coco.json").read_text())["annotations"]) == 1
    assert [len(image.cells.rles) for image in outcome.searched] == [1]


@pytest.mark.parametrize("name", ["via.json", "coco.json"])
def test_what_was_found_can_be_read_as_annotations_again(tmp_path, name):
    told = {"a.png": [ONE, ((40, 5, 60, 30), 1, 0.8)], "b.png": []}
    _, out = search(tmp_path, told)
    class_of = {label: number for number, label in enumerate(CLASSES, start=1)}
    fields = read(out / name, tmp_path / "images", class_of).fields
    assert [field.name for field in fields] == ["a.png", "b.png"]
    for field in fields:
        assert [cell.label for cell in field.cells] == [label for _, label, _ in told[field.name]]
        for cell, ((x1, y1, x2, y2), _, _) in zip(field.cells, told[field.name], strict=True):
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[y1:y2, x1:x2] = True
            drawn = cell.mask(HEIGHT, WIDTH).astype(bool)
            assert (mask & drawn).sum() / (mask | drawn).sum() > 0.95


def test_the_class_attribute_of_the_run_is_the_via_files(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    predict_folder(Teller({"a.png": [ONE]}), images, tmp_path / "out", 0.5, class_attribute="type")
    (field,) = read(tmp_path / "out/via.json", images, {"L2": 1}, class_attribute="type").fields
    assert [cell.label for cell in field.cells] == [1]


def test_images_that_cannot_be_read_are_named_and_stop_nothing(tmp_path):
    images = image_folder(tmp_path / "images", "b.png", "d.png")
    (images / "a.png").write_bytes(b"no picture")
    (images / "c.png").write_bytes(b"")
    outcome = predict_folder(Teller({"b.png": [ONE], "d.png": []}), images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["b.png", "d.png"]
    assert len(outcome.failed) == 2
    for line, name in zip(outcome.failed, ("a.png", "c.png"), strict=True):
        assert line.count(str(images / name)) == 1
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["b.png", "d.png"]


def test_every_image_that_annotations_may_name_is_searched_and_hidden_files_are_not(tmp_path):
    images = image_folder(tmp_path / "images", "a.webp", "b.jp2", "C.PNG")
    (images / "._a.webp").write_bytes(b"left there by macOS")
    outcome = predict_folder(Teller({}), images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["C.PNG", "a.webp", "b.jp2"]
    assert not outcome.failed


def test_a_link_to_an_image_that_is_gone_is_named(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    (images / "b.png").symlink_to(tmp_path / "gone.png")
    (line,) = predict_folder(Teller({}), images, tmp_path / "out", 0.5).failed
    assert str(images / "b.png") in line
    assert "No such file" in line


def test_nothing_is_written_where_no_image_could_be_read(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert len(predict_folder(Teller({}), broken, tmp_path / "out", 0.5).failed) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_a_folder_to_write_to_is_told_before_any_work(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    (tmp_path / "out").write_text("precious")
    model = Teller({})
    with pytest.raises(NotADirectoryError, match="out, which is a file: choose another folder"):
        predict_folder(model, images, tmp_path / "out", 0.5)
    assert not model.shown


def test_an_image_too_large_to_be_shown_is_named_and_stops_nothing(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    cv2.imwrite(str(images / "long.png"), np.zeros((2, 33000, 3), np.uint8))
    model = Teller({})
    model.scales = (1.0, 1.0)
    outcome = predict_folder(model, images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["a.png"]
    (line,) = outcome.failed
    assert line.startswith(f"{images / 'long.png'}: the image is 33000 x 2 pixels")


def test_grey_transparent_and_16_bit_images_are_shown_as_rgb(tmp_path):
    images = image_folder(tmp_path / "images", "rgb.jpg")
    grey = np.full((20, 30), 7, np.uint8)
    cv2.imwrite(str(images / "grey.bmp"), grey)
    cv2.imwrite(str(images / "rgba.png"), np.dstack([grey, grey + 1, grey + 2, grey * 0]))
    cv2.imwrite(str(images / "deep.TIFF"), np.full((20, 30, 3), 40000, np.uint16))
    model = Teller({})
    outcome = predict_folder(model, images, tmp_path / "out", 0.5)
    assert not outcome.failed
    assert set(model.shown) == {"rgb.jpg", "grey.bmp", "rgba.png", "deep.TIFF"}
    assert {image.dtype.name for image in model.shown.values()} == {"uint8"}
    assert model.shown["grey.bmp"][0, 0].tolist() == [7, 7, 7]
    assert model.shown["rgba.png"][0, 0].tolist() == [9, 8, 7]
    assert model.shown["deep.TIFF"][0, 0].tolist() == [156, 156, 156]


def test_what_was_found_before_an_interruption_is_written(tmp_path):
    class Interrupted(Teller):
        def predict(self, image: np.ndarray, name: str = "image") -> FieldDetections:
            if name == "b.png":
                raise KeyboardInterrupt
            return super().predict(image, name)

    images = image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    with pytest.raises(KeyboardInterrupt):
        predict_folder(Interrupted({"a.png": [ONE]}), images, tmp_path / "out", 0.5)
    assert len((tmp_path / "out/cells.csv").read_text().splitlines()) == 1 + 1
    for name in ("predictions.json", "coco.json"):
        written = json.loads((tmp_path / "out" / name).read_text())
        assert [image["file_name"] for image in written["images"]] == ["a.png"]


@pytest.mark.parametrize("step", ["enhance", "network", "describe"])
def test_an_error_that_nobody_foresaw_leaves_out_its_image_and_no_other(tmp_path, monkeypatch, step):
    (tmp_path / "images").mkdir()
    boxes = {f"{i}.png": (5 * i, 4, 5 * i + 12, 30) for i in range(8)}
    for name, box in boxes.items():
        write_png(tmp_path / "images" / name, paint(65 if name == "3.png" else 64, 96, {box: 1}))
    model = oracle((64, 96), (1.0, 1.0))

    def breaking(true):
        def run(image, *others, **named):
            if len(image) == 65:
                raise ZeroDivisionError("nobody foresaw it")
            return true(image, *others, **named)

        return run

    if step == "enhance":
        monkeypatch.setitem(predict.METHODS, "none", breaking(lambda image: image))
    elif step == "network":
        monkeypatch.setattr(predict, "fit", breaking(predict.fit))
    else:
        monkeypatch.setattr("wbcjax.predict_folder.cell_rows", breaking(cell_rows))
    outcome = predict_folder(model, tmp_path / "images", tmp_path / "out", 0.5)
    assert outcome.failed == [f"{tmp_path}/images/3.png: ZeroDivisionError: nobody foresaw it"]
    others = [name for name in boxes if name != "3.png"]
    assert [image.path.name for image in outcome.searched] == others
    for image in outcome.searched:
        np.testing.assert_allclose(image.found.boxes, [boxes[image.path.name]], atol=1)
    assert [row["image"] for row in table_in(tmp_path / "out")] == others
    assert sorted(path.name for path in (tmp_path / "out/outlines").iterdir()) == others


def test_an_error_of_no_image_ends_the_call(tmp_path):
    class Broken(Teller):
        def predict_each(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[FieldDetections]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        predict_folder(Broken({}), image_folder(tmp_path / "images", "a.png"), tmp_path / "out", 0.5)


def test_more_cells_than_a_label_image_numbers_are_refused_with_the_remedy(tmp_path, monkeypatch):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    cells = [((x, y, x + 1, y + 1), 1, 0.9) for x in range(20) for y in range(20)]
    monkeypatch.setattr(np, "iinfo", lambda dtype: SimpleNamespace(max=399))  # of 65,535 the test would take minutes
    outcome = predict_folder(Teller({"a.png": cells, "b.png": cells[:399]}), images, tmp_path / "out", 0.5)
    (line,) = outcome.failed
    assert line.startswith(f"{images}/a.png: 400 cells, more than the 399 that a label image can number: raise")
    assert not (tmp_path / "out/outlines/a.png").exists()
    assert labels_in(tmp_path / "out", "b.png").max() == 399


def test_an_error_in_writing_is_not_taken_for_an_image_that_cannot_be_read(tmp_path, monkeypatch):
    images = image_folder(tmp_path / "images", "a.png", "b.png")

    def full(path: Path, image: np.ndarray):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("wbcjax.predict_folder.write_png", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.png'"):
        predict_folder(Teller({}), images, tmp_path / "out", 0.5)


def test_one_image_may_be_given_instead_of_a_folder(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    outcome = predict_folder(Teller({}), images / "b.png", tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["b.png"]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("nothing here")
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=r"no image there; give one, or a folder with \.bmp"):
            predict_folder(Teller({}), place, tmp_path / "out", 0.5)


def test_images_whose_pictures_would_be_one_file_are_refused(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "a.jpg", "b.png")
    with pytest.raises(ValueError, match=r"differ in suffix only would be drawn into one file: \['a'\]"):
        predict_folder(Teller({}), images, tmp_path / "out", 0.5)


@pytest.mark.parametrize("place", ["", "outlines", "splash", "labels"])
def test_no_picture_replaces_an_image_that_is_read(tmp_path, place):
    (tmp_path / "out").mkdir()
    images = image_folder(tmp_path / "out/outlines", "a.png") if place else image_folder(tmp_path / "own", "a.png")
    if place:
        images = images.rename(tmp_path / "out" / place)
    before = (images / "a.png").read_bytes()
    with pytest.raises((ValueError, FileExistsError), match=r"choose a(nother| new) folder"):
        predict_folder(Teller({}), images, tmp_path / "out" if place else images, 0.5)
    assert (images / "a.png").read_bytes() == before


def test_cells_on_the_seams_of_tiles_are_written_once_and_whole(tmp_path):
    cells = {(80, 20, 110, 50): 2, (10, 70, 60, 90): 1, (30, 55, 200, 62): 1}
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images/a.png", paint(120, 230, cells))
    outcome = predict_folder(oracle((64, 96), (1.0, 1.0)), tmp_path / "images", tmp_path / "out", 0.5)
    assert len(outcome.searched[0].layout.tiles) == 9
    labels = labels_in(tmp_path / "out", "a.png")
    numbers = [row["cell"] for row in table_in(tmp_path / "out")]
    assert numbers == ["1", "2", "3"]
    for number, (x1, y1, x2, y2) in enumerate(cells, start=1):
        rows, columns = np.nonzero(labels == number)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)


def test_results_of_an_earlier_run_are_neither_replaced_nor_added_to(tmp_path):
    _, out = search(tmp_path, {"a.png": [ONE]})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    write_png(tmp_path / "others/b.png", paint(64, 96, {(5, 4, 17, 30): 1}))
    with pytest.raises(FileExistsError, match=r"out, which is not empty: choose a new folder, or remove"):
        predict_folder(Teller({"b.png": [ONE]}), tmp_path / "others", out, 0.5)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_images_of_a_folder_are_found_with_their_own_cells_whatever_is_read_ahead(tmp_path):
    (tmp_path / "images").mkdir()
    boxes = {f"{i}.png": (5 * i, 4, 5 * i + 12, 30) for i in range(8)}
    for name, box in boxes.items():
        write_png(tmp_path / "images" / name, paint(64, 96, {box: 1 + int(name[0]) % 3}))
    (tmp_path / "images/3a.png").write_bytes(b"no picture")
    outcome = predict_folder(oracle((64, 96), (1.0, 1.0)), tmp_path / "images", tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == list(boxes)
    assert len(outcome.failed) == 1
    for image in outcome.searched:
        assert image.found.name == image.path.name
        np.testing.assert_allclose(image.found.boxes, [boxes[image.path.name]], atol=1)
        assert image.found.labels.tolist() == [1 + int(image.path.name[0]) % 3]


@pytest.mark.parametrize("most", [1, 2, 9])
def test_what_is_made_ahead_comes_in_order_and_its_error_where_it_happened(most):
    made = []

    def items():
        for i in range(5):
            made.append(i)
            yield i
        raise ValueError("the sixth")

    taken = predict.ahead(items(), most)
    first = next(taken)
    assert first == 0
    assert [first, *(next(taken) for _ in range(4))] == [0, 1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the sixth"):
        next(taken)
