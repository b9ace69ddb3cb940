"""`wbcjax crop`: the folders and the table it writes, what it refuses, and that it writes all or nothing."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wbcjax import cli
from wbcjax.commands.crop import folder as crop_folder
from wbcjax.commands.crop import pieces
from wbcjax.smear.field import read_image

SEGPC = (Path(__file__).parents[2] / "../shared/data/segpc2021_train").resolve()
HEIGHT, WIDTH = 200, 300
SIDE = 50  # of a cell
GROUND, PURPLE = (220, 215, 225), (85, 40, 130)
CELLS, NUCLEI = [(20, 20), (110, 20)], [(60, 140), (160, 140), (250, 140)]


def region(x: int, y: int, cell: str, side: int = SIDE) -> dict[str, Any]:
    shape = {"name": "polygon", "all_points_x": [x, x + side, x + side, x], "all_points_y": [y, y, y + side, y + side]}
    return {"shape_attributes": shape, "region_attributes": {"cell": cell}}


def make_set(folder: Path, classes: dict[str, tuple[str, ...]], nuclei=NUCLEI) -> tuple[Path, Path]:
    """A VIA file in which each image has annotated cells of these classes, and its images; nuclei are not annotated."""
    entries = {}
    for name, of_cells in classes.items():
        image = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
        for middle in nuclei:
            cv2.circle(image, middle, 14, PURPLE, cv2.FILLED)
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
        regions = [region(*CELLS[i], cell) for i, cell in enumerate(of_cells)]
        entries[name] = {
            "filename": name,
            "size": -1,
            "regions": regions,
            "file_attributes": {"patient": f"p{name[0]}"},
        }
    (folder / "via.json").write_text(json.dumps(entries))
    return folder / "via.json", folder / "images"


def crop(*arguments: object) -> None:
    cli.main(["crop", *map(str, arguments)])


def refusal(*arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        crop(*arguments)
    return str(stop.value.code)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "crops.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_each_cell_becomes_a_crop_and_a_table_row(tmp_path, capsys):
    """Each cell is a crop in the folder of its class and a line of the table."""
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2"), "deep/b.png": ("L2",)})
    crop(annotations, images, "--out", tmp_path / "out", "--margin", "0.2", "--group-attribute", "patient")
    rows = table(tmp_path / "out")
    assert [[*row.values()] for row in rows] == [
        ["L1/a_001.png", "L1", "a.png", "pa", "10", "10", "80", "80", "annotated", "1", "0", ""],
        ["L2/a_002.png", "L2", "a.png", "pa", "100", "10", "170", "80", "annotated", "2", "0", ""],
        ["L2/deep_b_001.png", "L2", "deep/b.png", "pd", "10", "10", "80", "80", "annotated", "1", "0", ""],
    ]
    assert tuple(rows[0]) == crop_folder.COLUMNS
    for row in rows:
        x1, y1, x2, y2 = (int(row[side]) for side in ("x1", "y1", "x2", "y2"))
        field = read_image(images / row["field"])
        np.testing.assert_array_equal(read_image(tmp_path / "out" / row["file"]), field[y1:y2, x1:x2])
    told, errors = capsys.readouterr()
    assert errors == "", "progress bars are for terminals alone"
    assert told.startswith("L1: 1 crop (1 annotated; 0 at the border)\nL2: 2 crops (2 annotated; 0 at the border)\n")


def test_negatives_are_balanced_in_each_field_when_asked(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L1"), "b.png": ("L1",), "c.png": ()})
    crop(annotations, images, "--out", tmp_path / "all", "--negatives", "other")
    crop(annotations, images, "--out", tmp_path / "balanced", "--negatives", "other", "--balance")
    of = {out: Counter((row["field"], row["rule"]) for row in table(tmp_path / out)) for out in ("all", "balanced")}
    annotated = {("a.png", "annotated"): 2, ("b.png", "annotated"): 1}
    assert of["all"] == annotated | {("a.png", "nucleus"): 3, ("b.png", "nucleus"): 3}
    assert of["balanced"] == annotated | {("a.png", "nucleus"): 2, ("b.png", "nucleus"): 1}
    others = [row for row in table(tmp_path / "all") if row["class"] == "other"]
    assert {row["cell"] for row in others} == {""}
    middles = {(int(row["x1"]) + 30, int(row["y1"]) + 30) for row in others if float(row["shift"]) == 0}
    assert middles <= {(x + dx, y + dy) for x, y in NUCLEI for dx in (0, 1) for dy in (0, 1)}


def test_background_fills_up_and_a_lack_of_room_is_told(tmp_path, capsys):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L1")}, nuclei=[])
    crop(annotations, images, "--out", tmp_path / "out", "--negatives", "other")
    assert "other: 2 crops (2 background; 0 at the border)" in capsys.readouterr().out
    crop(annotations, images, "--out", tmp_path / "wide", "--negatives", "other", "--margin", "1.5")
    told = capsys.readouterr().out
    assert "2 negatives fewer than wanted: their fields have no more room" in told


def test_crops_have_the_size_asked_for(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    crop(annotations, images, "--out", tmp_path / "out", "--size", "33", "--negatives", "other")
    assert {read_image(tmp_path / "out" / row["file"]).shape for row in table(tmp_path / "out")} == {(33, 33, 3)}


def test_how_crops_were_cut_is_written_beside_them(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    crop(annotations, images, "--out", tmp_path / "plain")
    plain = {"margin": 0.1, "size": None, "mask_background": False, "negatives": None, "balance": False, "seed": 0}
    plain |= {"runs": []}
    assert json.loads((tmp_path / "plain/crops.json").read_text()) == plain
    options = ("--margin=0.25", "--size=40", "--mask-background", "--negatives=other", "--balance", "--seed=7")
    crop(annotations, images, "--out", tmp_path / "all", *options)
    told = {"margin": 0.25, "size": 40, "mask_background": True, "negatives": "other", "balance": True, "seed": 7}
    told |= {"runs": []}
    assert json.loads((tmp_path / "all/crops.json").read_text()) == told


def test_the_background_is_black_when_masked(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    crop(annotations, images, "--out", tmp_path / "out", "--mask-background", "--margin", "0.1", "--negatives", "other")
    for row in table(tmp_path / "out"):
        shown = np.any(read_image(tmp_path / "out" / row["file"]), axis=2)
        assert shown.sum() == SIDE**2, row
        assert np.all(shown[5:55, 5:55]) or float(row["shift"]) > 0


def test_the_seed_alone_decides_and_fields_do_not_depend_on_each_other(tmp_path):
    annotations, images = make_set(tmp_path / "one", {"a.png": ("L1",)})
    for out, seed in (("first", 3), ("again", 3), ("other", 4), ("third", 5), ("fourth", 6)):
        crop(annotations, images, "--out", tmp_path / out, "--negatives", "other", "--balance", "--seed", seed)
    assert files(tmp_path / "first") == files(tmp_path / "again")
    tables = {(tmp_path / out / "crops.csv").read_bytes() for out in ("first", "other", "third", "fourth")}
    assert len(tables) > 1
    annotations, images = make_set(tmp_path / "two", {"0.png": ("L1", "L1"), "a.png": ("L1",)})
    crop(annotations, images, "--out", tmp_path / "more", "--negatives", "other", "--balance", "--seed", 3)
    more = files(tmp_path / "more")
    first = {name: data for name, data in files(tmp_path / "first").items() if name != "crops.csv"}
    assert first.items() <= more.items()


def test_cells_known_by_their_box_alone_are_cropped(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ()})
    shape = {"name": "rect", "x": 20, "y": 20, "width": SIDE, "height": 30}
    record = json.loads(annotations.read_text())
    record["a.png"]["regions"] = [{"shape_attributes": shape, "region_attributes": {"cell": "L1"}}]
    annotations.write_text(json.dumps(record))
    crop(annotations, images, "--out", tmp_path / "out", "--margin", "0")
    (row,) = table(tmp_path / "out")
    assert [row[side] for side in ("x1", "y1", "x2", "y2")] == ["20", "10", "70", "60"]


def test_images_that_differ_in_suffix_only_keep_their_crops_apart(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",), "a.bmp": ("L1",)})
    crop(annotations, images, "--out", tmp_path / "out")
    assert [row["file"] for row in table(tmp_path / "out")] == ["L1/00001_a_001.png", "L1/00002_a_001.png"]


def test_a_field_with_refused_cells_gives_no_negatives(tmp_path, capsys):
    """A field with refused cells gives no negatives for they may be those cells."""
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L1"), "b.png": ("L1",)})
    record = json.loads(annotations.read_text())
    record["a.png"]["regions"][1] = region(280, 180, "L1", side=90)
    annotations.write_text(json.dumps(record))
    options = ("--out", tmp_path / "out", "--negatives", "other")
    assert "a.png, region 2" in refusal(annotations, images, *options)
    crop(annotations, images, *options, "--on-error", "skip")
    counts = Counter((row["field"], row["class"]) for row in table(tmp_path / "out"))
    assert counts == {("a.png", "L1"): 1, ("b.png", "L1"): 1, ("b.png", "other"): 3}
    told = capsys.readouterr().out
    assert "no negatives from 1 field that have cells left out" in told
    assert "left out 0 fields and 1 cell that have problems" in told
    assert "a.png, region 2" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a/b", "the class 'a/b' cannot be the name of a folder; rename it in the annotations"),
        ("..", "the class '..' cannot be the name of a folder"),
        ("crops.csv", "the class 'crops.csv' cannot be the name of a folder"),
        ("crops.json", "the class 'crops.json' cannot be the name of a folder"),
        ("l1", "the classes 'L1' and 'l1' would share a folder; give one another name"),
    ],
)
def test_a_class_name_that_cannot_be_a_folder_is_refused(tmp_path, name, told):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", name)})
    assert told in refusal(annotations, images, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_negatives_that_are_annotated_are_refused(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "other")})
    told = refusal(annotations, images, "--out", tmp_path / "out", "--negatives", "other")
    assert "the classes 'other' and 'other' would share a folder" in told


def test_balance_without_negatives_is_refused(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    assert "name the class of --negatives" in refusal(annotations, images, "--out", tmp_path / "out", "--balance")


def test_a_set_without_cells_is_refused(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ()})
    assert "no cell is annotated" in refusal(annotations, images, "--out", tmp_path / "out", "--negatives", "other")


def test_a_set_of_crowd_regions_is_cropped_when_they_are_taken_as_cells(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L2")})
    annotations.write_text(annotations.read_text().replace('"cell": ', '"iscrowd": "1", "cell": '))
    told = refusal(annotations, images, "--out", tmp_path / "out")
    assert "no cell counts: all 2 cells are crowd regions (CVAT marks brush masks so); take them as cells by" in told
    crop(annotations, images, "--out", tmp_path / "out", "--crowd-as-cells")
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*.png")) == ["a_001.png", "a_002.png"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--margin", "-0.1", "-0.1 is no margin; give a number from 0 to 10"),
        ("--margin", "nan", "nan is no margin"),
        ("--size", "0", "0 is no size; give a whole number of pixels from 1 to 4096"),
        ("--size", "32.5", "32.5 is no size"),
        ("--size", "inf", "inf is no size"),
        ("--seed", "-1", "-1 is no seed; give a whole number from 0 up"),
    ],
)
def test_a_number_out_of_its_range_is_refused(tmp_path, capsys, option, value, told):
    with pytest.raises(SystemExit):
        crop(tmp_path, tmp_path, f"--out={tmp_path}", f"{option}={value}")
    assert told in capsys.readouterr().err


def test_nothing_is_written_where_something_lies(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    before = files(tmp_path)
    for out in (images, annotations, tmp_path):
        assert re.search("is a file: choose|is not empty: choose", refusal(annotations, images, "--out", out))
    assert files(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    crop(annotations, images, "--out", "out")
    assert len(table(tmp_path / "out")) == 1


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch, fault):
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "L1")})
    before = files(tmp_path)
    calls = []

    def failing(path: Path, image: np.ndarray) -> None:
        calls.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if len(calls) == 2:
            raise fault

    monkeypatch.setattr(crop_folder, "write_png", failing)
    with pytest.raises(SystemExit):
        crop(annotations, images, "--out", tmp_path / "out")
    assert len(calls) == 2
    assert files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"images", "via.json"}


def test_an_error_that_nobody_foresaw_leaves_out_its_field_and_no_other(tmp_path, monkeypatch):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",), "b.png": ("L1", "L2"), "c.png": ("L2",)})
    true = pieces.cut_crop

    def break_b(f, image, one, *others):
        if f.name == "b.png" and one.cell == 1:  # its second
            raise ZeroDivisionError("nobody foresaw it")
        return true(f, image, one, *others)

    monkeypatch.setattr(pieces, "cut_crop", break_b)
    told = refusal(annotations, images, "--out", tmp_path / "out")
    assert told.endswith(f"1 image could not be processed:\n  {images}/b.png: ZeroDivisionError: nobody foresaw it")
    assert [row["field"] for row in table(tmp_path / "out")] == ["a.png", "c.png"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a_001.png", "c_001.png"]


def test_cropping_needs_no_jax(tmp_path):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    command = ["crop", str(annotations), str(images), "--out", str(tmp_path / "out")]
    code = f"import sys; from wbcjax import cli; cli.main({command}); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(not SEGPC.is_dir(), reason=f"no real fields at {SEGPC}")
def test_real_fields_give_both_classes_the_same_sizes_and_the_same_ground(tmp_path):
    record = json.loads((SEGPC / "via.json").read_text())
    entries = record.get("_via_img_metadata", record)
    (tmp_path / "via.json").write_text(json.dumps(dict(list(entries.items())[::12])))
    options = ("--negatives", "other", "--balance")
    crop(tmp_path / "via.json", SEGPC / "images", "--out", tmp_path / "out", *options)
    rows = table(tmp_path / "out")
    rules = Counter(row["rule"] for row in rows)
    assert rules["nucleus"] >= 0.85 * rules["annotated"]
    assert rules["nucleus"] + rules["background"] >= 0.95 * rules["annotated"]
    sides, ground = {}, {}
    for name in ("myeloma", "other"):
        of_class = [row for row in rows if row["class"] == name]
        sides[name] = np.percentile([int(row["x2"]) - int(row["x1"]) for row in of_class], [10, 50, 90])
        crops = [read_image(tmp_path / "out" / row["file"]).reshape(-1, 3) for row in of_class]
        ground[name] = np.mean([np.percentile(pixels, 95, axis=0) for pixels in crops], axis=0)
    np.testing.assert_allclose(sides["other"], sides["myeloma"], rtol=0.03)
    np.testing.assert_allclose(ground["other"], ground["myeloma"], atol=4)


def test_cells_left_out_by_class_are_never_negatives(tmp_path):
    """Cells of a class that is left out are neither crops nor taken for no cell."""
    annotations, images = make_set(tmp_path, {"a.png": ("L1", "unsure")}, nuclei=[(135, 45)])  # in the unsure cell
    crop(annotations, images, "--out", tmp_path / "all", "--negatives", "unsure_not", "--leave-out", "unsure")
    rows = table(tmp_path / "all")
    assert {row["class"] for row in rows} == {"L1", "unsure_not"}
    assert [row["rule"] for row in rows] == ["annotated", "background"]
    with pytest.raises(SystemExit, match="no cell is of the class 'L9'; classes are L1, unsure"):
        crop(annotations, images, "--out", tmp_path / "other", "--leave-out", "L9")


def test_images_that_are_not_read_are_named(tmp_path, capsys):
    annotations, images = make_set(tmp_path, {"a.png": ("L1",)})
    (images / "b.svs").write_bytes(b"?")
    crop(annotations, images, "--out", tmp_path / "out")
    assert "1 image beside them not read: b.svs\n" in capsys.readouterr().out
