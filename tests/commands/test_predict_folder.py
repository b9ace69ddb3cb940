"""The files that `wbcjax predict` writes for a folder of images, by a model with given detections."""

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from tests.commands.told_folder import HEIGHT, ONE, WIDTH, Teller, image_folder, labels_in, search, table_in
from tests.oracle import CLASSES, oracle, paint
from wbcjax import cli
from wbcjax.commands.predict.folder import ImageSettings, predict_folder
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.input.cell_sizes import CellSides
from wbcjax.predict import detector as predict
from wbcjax.predict.classifier import CropClassifier
from wbcjax.predict.detector import Predictor
from wbcjax.smear.field import read_image
from wbcjax.smear.read import read
from wbcjax.system import heap, runtime
from wbcjax.system.files import write_png


def test_each_image_has_its_pictures_and_the_folder_its_lists(tmp_path):
    _, out = search(tmp_path, {"a.png": [ONE], "b.png": []})
    pictures = {f"{folder}/{name}.png" for folder in ("outlines", "splash", "labels") for name in "ab"}
    lists = {
        "cells.csv",
        "counts.csv",
        "via.json",
        "coco.json",
        "predictions.json",
        "geojson/a.png.geojson",
        "geojson/b.png.geojson",
    }
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


def test_micrometres_stand_where_the_pixel_size_is_known(tmp_path):
    """The table describes shape and stain and sizes in micrometres where the pixels is known."""
    images, thin = image_folder(tmp_path / "images", "a.png"), ((0, 0, 1, 1), 1, 0.6)
    for pixel_size, extra in ((0.0, []), (0.5, ["area_um2", "perimeter_um"])):
        predict_folder(
            Teller({"a.png": [ONE, thin]}),
            images,
            tmp_path / str(pixel_size),
            0.5,
            ImageSettings(pixel_size=pixel_size),
        )
        cell, dot = table_in(tmp_path / str(pixel_size))
        shape = ["perimeter", "circularity", "eccentricity", "solidity", "od_red", "od_green", "od_blue"]
        assert list(cell)[11:] == ["runner_up", "runner_up_score", *shape, *extra]
        assert float(cell["eccentricity"]) == pytest.approx(math.sqrt(1 - 399 / 899), abs=1e-3)  # moments of 20 x 30
        assert (cell["solidity"], cell["od_red"], cell["od_green"], cell["od_blue"]) == ("1", "0", "0", "0")
        assert dot["area"] == "1"
        assert all(math.isfinite(float(dot[name])) for name in shape + extra)
    assert (cell["area_um2"], dot["area_um2"]) == ("150", "0.25")
    assert float(cell["perimeter_um"]) == pytest.approx(float(cell["perimeter"]) / 2, rel=1e-5)


def test_each_image_is_scaled_and_measured_by_the_pixel_size_that_its_file_states(tmp_path):
    (tmp_path / "images").mkdir()
    for name, dpi in (("a.png", 101600), ("b.png", 72)):
        Image.fromarray(paint(60, 80, {(10, 10, 30, 40): 2})).save(tmp_path / "images" / name, dpi=(dpi, dpi))
    model = oracle((64, 96), (1.0, 1.0))
    model.pixel_size = 0.5
    outcome = predict_folder(
        model, tmp_path / "images", tmp_path / "out", 0.5, ImageSettings(else_pixel_size=model.pixel_size)
    )
    assert [image.layout.scale for image in outcome.searched] == [pytest.approx(0.5, rel=1e-4), 1.0]
    assert [row["area_um2"] for row in table_in(tmp_path / "out")] == ["37.5", "150"]
    predict_folder(model, tmp_path / "images", tmp_path / "given", 0.5, ImageSettings(pixel_size=0.25))
    assert [row["area_um2"] for row in table_in(tmp_path / "given")] == ["37.5", "37.5"]
    outcome = predict_folder(model, tmp_path / "images", tmp_path / "unknown", 0.5)
    assert [row["area_um2"] for row in table_in(tmp_path / "unknown")] == ["37.5", ""]


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
            predict_folder(model, images, tmp_path / "out", 0.5, ImageSettings(pixel_size=pixel_size))
    assert not model.shown


@pytest.mark.parametrize(
    ("noted", "options", "area"), [(0.5, [], "37.5"), (0.0, [], "150"), (0.0, ["--scale=1"], None)]
)
def test_files_are_not_believed_where_the_run_does_not_know_that_they_are_right(
    tmp_path, monkeypatch, noted, options, area
):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "images/a.png", dpi=(101600, 101600))
    model = Teller({"a.png": [ONE]})
    model.pixel_size = noted
    command_loads(model, monkeypatch, pixel_size=0.5)
    cli.main(["predict", str(tmp_path), str(tmp_path / "images"), f"--out={tmp_path / 'out'}", *options])
    assert [row.get("area_um2") for row in table_in(tmp_path / "out")] == [area]


def command_loads(model: Predictor | dict, monkeypatch: pytest.MonkeyPatch, **dataset: float) -> None:
    """`wbcjax predict` finds this model in any workdir, or one by the workdir's name, of a run with these settings."""

    def load(workdir: Path, which: str, trust_parts: bool) -> Predictor:
        return model[workdir.name] if isinstance(model, dict) else model

    config = ConfigDict({"dataset": {"class_attribute": "cell"} | dataset, "evaluate": {"score_threshold": 0.5}})
    monkeypatch.setattr(heap, "tune_malloc", lambda: None)
    monkeypatch.setattr(runtime, "use_compilation_cache", lambda: None)
    monkeypatch.setattr("wbcjax.runs.folder.load_config", lambda workdir, trusted: config)
    monkeypatch.setattr(predict, "load", load)


def test_several_runs_are_asked_together_and_the_last_argument_is_the_images(tmp_path, monkeypatch, capsys):
    other = ((40, 5, 50, 25), 1, 0.9)
    models = {"a": Teller({"a.png": [ONE, other]}), "b": Teller({"a.png": [ONE]}), "c": Teller({"a.png": [ONE]})}
    command_loads(models, monkeypatch)
    images, runs = image_folder(tmp_path / "images", "a.png"), [str(tmp_path / name) for name in "abc"]
    cli.main(["predict", *runs, str(images), f"--out={tmp_path / 'out'}"])
    assert [(row["class"], row["score"]) for row in table_in(tmp_path / "out")] == [("L2", "0.9000")]
    found = json.loads((tmp_path / "out/predictions.json").read_text())["detections"]
    assert [round(of["score"], 4) for of in found] == [0.9, 0.3]
    assert "1 cell in 1 image at scale " in capsys.readouterr().out
    cli.main(["predict", *runs, str(images), f"--out={tmp_path / 'halved'}", "--scale=0.5"])
    assert [model.scales for model in models.values()] == 3 * [(0.5, 0.5)]


def test_runs_of_other_classes_are_refused_by_the_command_naming_them(tmp_path, monkeypatch, capsys):
    command_loads({"a": Teller({}), "b": Teller({}, ("blast", "other"))}, monkeypatch)
    images = image_folder(tmp_path / "images", "a.png")
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", str(tmp_path / "a"), str(tmp_path / "b"), str(images), f"--out={tmp_path / 'out'}"])
    assert f"{tmp_path}/b has the classes blast, other, and {tmp_path}/a L1, L2, L3" in str(ended.value)
    assert not (tmp_path / "out").exists()


def test_the_command_joins_what_is_found_in_all_views(tmp_path, monkeypatch):
    write_png(tmp_path / "images/a.png", paint(60, 90, {(10, 10, 30, 40): 2, (30, 10, 50, 40): 1}))
    model = oracle((64, 96), (1.0, 1.0))
    command_loads(model, monkeypatch)
    shown = []
    layout = model.layout
    monkeypatch.setattr(model, "layout", lambda *of: shown.append((*of, 1.0)[3]) or layout(*of))
    for name, options in (("plain", []), ("tta", ["--tta"])):
        cli.main(["predict", str(tmp_path), str(tmp_path / "images"), f"--out={tmp_path / name}", *options])
    plain, tta = (table_in(tmp_path / name) for name in ("plain", "tta"))
    assert [(row["class"], row["x1"], row["area"]) for row in plain] == [("L2", "10", "600"), ("L1", "30", "600")]
    assert [row["class"] for row in tta] == ["L2", "L1"]
    for one, other in zip(plain, tta, strict=True):
        assert float(other["score"]) == pytest.approx(float(one["score"]), abs=1e-4)
        assert float(other["area"]) == pytest.approx(600, rel=0.1)
    assert [zoom for zoom in shown if zoom != 1] == [0.8, 1.25]


def test_the_command_says_when_cells_look_larger_than_in_training(tmp_path, monkeypatch, capsys):
    model = Teller({"a.png": [((10, 3 * i, 40, 3 * i + 2), 1, 0.9) for i in range(20)]})
    model.cell_sides = CellSides(8.0, 10.0, 12.0)  # on the canvas, where these have 32
    command_loads(model, monkeypatch)
    images = image_folder(tmp_path / "images", "a.png")
    cli.main(["predict", str(tmp_path), str(images), f"--out={tmp_path / 'out'}"])
    assert "\ncells look 3.2 x larger than in training; try --scale 0.33\n" in capsys.readouterr().out


def test_the_command_says_by_which_pixel_size_images_were_scaled(tmp_path, monkeypatch, capsys):
    model = Teller({"a.png": [ONE]})
    model.pixel_size = 0.5
    command_loads(model, monkeypatch)
    images = image_folder(tmp_path / "images", "a.png")
    said = "1 image scaled by pixels of 0.25 micrometres; the training's have 0.5\n"
    for number, (options, told) in enumerate(
        [(["--pixel-size=0.25"], True), ([], False), (["--pixel-size=0.25", "--scale=1"], False)]
    ):
        model.pixel_size = 0.5
        cli.main(["predict", str(tmp_path), str(images), f"--out={tmp_path / str(number)}", *options])
        assert (said in capsys.readouterr().out) == told


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
def test_the_pixel_size_is_the_commands_or_the_runs(tmp_path, monkeypatch, capsys, of_run, options, expected):
    """The pixel size is the commands or the runs for images of its magnification."""
    command_loads(Teller({"a.png": [ONE]}), monkeypatch, **of_run)
    images = image_folder(tmp_path / "images", "a.png")
    cli.main(["predict", str(tmp_path), str(images), f"--out={tmp_path / 'out'}", *options])
    (cell,) = table_in(tmp_path / "out")
    said = capsys.readouterr().out
    assert re.search(r"^L2 +1 +100 +21 to 100\nL3 +0 +0 +0 to 79\nShares of 1 cells\. The ", said, re.MULTILINE)
    assert cell.get("area_um2") == (None if expected is None else f"{600 * expected**2:.6g}")


@pytest.mark.parametrize("value", ["0", "-1", "inf", "0,1"])
def test_a_pixel_size_that_is_none_is_refused_by_the_command(tmp_path, capsys, value):
    with pytest.raises(SystemExit):
        cli.main(["predict", str(tmp_path), str(tmp_path), f"--out={tmp_path}", f"--pixel-size={value}"])
    assert f"{value} is no pixel size; give micrometres per pixel" in capsys.readouterr().err


def test_counts_have_each_image_and_all_of_them_with_intervals(tmp_path):
    two = [ONE, ((40, 5, 50, 9), 1, 0.6)]
    _, out = search(tmp_path, {"a.png": [*two, ((40, 40, 50, 50), 3, 0.4)], "b.png": [], "c.png": [ONE]})
    rows = list(csv.DictReader((out / "counts.csv").read_text().splitlines()))
    counted = [(row["image"], row["class"], row["cells"], row["n"], row["share"]) for row in rows]
    assert counted == [
        ("a.png", "L1", "1", "2", "0.5000"),
        ("a.png", "L2", "1", "2", "0.5000"),
        ("a.png", "L3", "0", "2", "0.0000"),
        ("b.png", "L1", "0", "0", ""),
        ("b.png", "L2", "0", "0", ""),
        ("b.png", "L3", "0", "0", ""),
        ("c.png", "L1", "0", "1", "0.0000"),
        ("c.png", "L2", "1", "1", "1.0000"),
        ("c.png", "L3", "0", "1", "0.0000"),
        ("all images", "L1", "1", "3", "0.3333"),
        ("all images", "L2", "2", "3", "0.6667"),
        ("all images", "L3", "0", "3", "0.0000"),
    ]
    assert (rows[-3]["low_95"], rows[-3]["high_95"]) == ("0.0615", "0.7923")


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


def test_a_cell_of_two_classes_is_one_in_every_file(tmp_path):
    """A cell found as two classes is one in every file with the second beside it."""
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
    for name in ("via.json", "coco.json", "geojson"):
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
    counts = (tmp_path / "out/named_counts.csv").read_text().splitlines()
    assert counts[-2:] == ["all images,a,0,1,0.0000,0.0000,0.7935,35", "all images,b,1,1,1.0000,0.2065,1.0000,35"]


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


@pytest.mark.parametrize("name", ["via.json", "coco.json", "geojson"])
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
    predict_folder(Teller({"a.png": [ONE]}), images, tmp_path / "out", 0.5, ImageSettings(class_attribute="type"))
    (field,) = read(tmp_path / "out/via.json", images, {"L2": 1}, class_attribute="type").fields
    assert [cell.label for cell in field.cells] == [1]


def test_images_that_are_not_read_are_named_in_the_outcome(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    for name in ("b.svs", "c.heic", "notes.txt"):
        (images / name).write_bytes(b"?")
    outcome = predict_folder(Teller({"a.png": [ONE]}), images, tmp_path / "out", 0.5)
    assert [found.path.name for found in outcome.searched] == ["a.png"]
    assert outcome.failed == [
        f"{images / name} files are not read; export the image, or a region of the slide, as TIFF or PNG{alone}"
        for name, alone in (
            ("b.svs: .svs", ", or search it by itself: wbcjax predict RUN SLIDE"),
            ("c.heic: .heic", ""),
        )
    ]
