"""`wbcjax inspect`: its exit codes, what it says and writes of sets small and real, and that it does without jax."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.smear.discs import folder_of, labels
from wbcjax import cli
from wbcjax.commands.inspect import annotated_set as inspect_set
from wbcjax.commands.inspect.annotated_set import PAGE, SHEET, inspect, inspection_blocks, write_inspection
from wbcjax.smear.field import read_image
from wbcjax.smear.problem_list import LISTED, TABLE
from wbcjax.system.terminal import plain

DATA = (Path(__file__).parents[2] / "../shared/data").resolve()
SEGPC, BCCD = DATA / "segpc2021_train", DATA / "bccd"
HEIGHT, WIDTH = 96, 128


def square(x: int, y: int, side: int, cell="L1") -> dict:
    xs, ys = [x, x + side, x + side, x + side / 2, x], [y, y, y + side, y + side, y + side]
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    return {"shape_attributes": shape, "region_attributes": {"cell": cell}}


def make_set(folder: Path, regions: dict[str, list[dict]], unannotated=()) -> tuple[Path, Path]:
    """A VIA file of these regions by image name, and its images, each of its own noise."""
    (folder / "images").mkdir(parents=True)
    for seed, name in enumerate((*regions, *unannotated)):
        pixels = np.random.default_rng(seed).integers(100, 200, (HEIGHT, WIDTH, 3), np.uint8)
        (folder / "images" / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    entries = {
        f"{name}-1": {"filename": name, "size": -1, "regions": cells, "file_attributes": {"patient": name[0]}}
        for name, cells in regions.items()
    }
    (folder / "via.json").write_text(json.dumps(entries))
    return folder / "via.json", folder / "images"


def good_set(folder: Path) -> tuple[Path, Path]:
    """Two classes with ten cells each in eleven fields, the last of them empty."""
    fields = {f"{number}.png": [square(5, 5, 30), square(60, 40, 50, "L2")] for number in range(10)}
    return make_set(folder, {**fields, "empty.png": []})


def broken_set(folder: Path) -> tuple[Path, Path]:
    """A good field, one with a cell outside its image, and one whose image is missing."""
    regions = {"a.png": [square(5, 5, 30)], "b.png": [square(5, 5, 30), square(100, 5, 90)], "c.png": []}
    annotations, images = make_set(folder, regions)
    (images / "c.png").unlink()
    return annotations, images


def run(*arguments: object) -> int | str | None:
    """The exit status of the command, or what it says when it fails."""
    try:
        cli.main(["inspect", *map(str, arguments)])
    except SystemExit as stop:
        return stop.code
    return 0


def test_a_good_set_is_shown_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(*good_set(tmp_path)) == 0
    shown = capsys.readouterr().out
    for line in (
        r"fields +11",
        r"without cells +1",
        r"width x height \(fields\) +128 x 96 \(11\)",
        r"L1 +10 \(50 %\) +10 +0 \(0 %\) +0 \(0 %\) +0 +0",
        r"all +20 \(100 %\) +10 +0 \(0 %\) +0 \(0 %\) +0 +0",
        r"L2 +50 +50 +50 +50 +50",
        r"min  5 %  median  95 %  max\n  0    1       2     2    2\n",  # cells per field
        r"2  10  #{40}",
        "Worth a look: 0\n---------------\nnothing",
        r'config\.dataset\.name = "via"',
        r'config\.dataset\.class_of = \(\("L1", "L1"\), \("L2", "L2"\)\)',
        r"config\.dataset\.canvas = \(96, 128\)",
        r"config\.dataset\.max_cells = 4",
    ):
        assert re.search(line, shown), line
    assert "Problems" not in shown


def test_problems_fail_inspect_unless_skipped(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Problems are shown with all else and fail the command unless they are to be skipped."""
    annotations, images = broken_set(tmp_path)
    out = tmp_path / "out"
    status = run(annotations, images, "--out", out)
    assert status == "wbcjax: 2 problems, listed above; --on-error=skip leaves out cells and fields with problems"
    shown = capsys.readouterr().out
    assert "left out, with problems  fields: 1, cells: 1" in shown
    assert "Problems: 2\n" in shown
    assert "b.png, region 2: 3 of 5 points lie outside the 128 x 96 image" in shown
    assert "c.png: there is no such image" in shown
    assert re.search(r"fields +2\n", shown)
    page = (out / PAGE).read_text()
    assert "region 2" in page
    assert "there is no such image" in page

    assert run(annotations, images, "--on-error=skip") == 0
    assert "Problems: 2\n" in capsys.readouterr().out


def test_a_config_for_crowd_regions_is_proposed_with_the_setting_that_takes_them_as_cells(tmp_path, capsys):
    annotations, images = make_set(tmp_path, {"a.png": [square(5, 5, 30), square(60, 40, 50)]})
    annotations.write_text(annotations.read_text().replace('"cell": ', '"iscrowd": "1", "cell": '))
    for arguments in ((), ("--crowd-as-cells",)):
        assert run(annotations, images, *arguments) == 0
        shown = capsys.readouterr().out
        assert ("via.json: all 2 cells are crowd regions" in shown) == (not arguments)
        assert "config.dataset.crowd_as_cells = True\n" in shown
        assert "config.dataset.max_cells = 4\n" in shown


@pytest.mark.parametrize("semantic", [True, False])
def test_a_config_for_masks_of_classes_has_the_setting(tmp_path, capsys, semantic):
    images = folder_of(tmp_path / "images", ("a.png", "b.png", "c.png"))
    (tmp_path / "masks").mkdir()
    for name in "abc":
        cv2.imwrite(str(tmp_path / f"masks/{name}.png"), labels(155, 255))
    assert "read the parts as cells with --semantic" in str(run(tmp_path / "masks", images))
    assert run(tmp_path / "masks", images, "--semantic" if semantic else "--no-semantic") == 0
    shown = capsys.readouterr().out
    assert f"config.dataset.semantic = {semantic}\n" in shown
    named = '(("155", "155"), ("255", "255"))' if semantic else '(("cell", "cell"),)'
    assert f"config.dataset.class_of = {named}\n" in shown


@pytest.mark.parametrize("alike", ["l1", "L1 ", " L1"])
def test_classes_that_differ_by_case_or_blanks_are_worth_a_look(tmp_path, capsys, alike):
    cells = [square(5, 5, 30), square(60, 40, 50, alike)]
    assert run(*make_set(tmp_path, {"a.png": cells})) == 0
    assert f"classes 'L1', {alike!r} are told apart; make them one name" in capsys.readouterr().out


def test_a_set_without_cells_is_worth_a_look(tmp_path, capsys):
    assert run(*make_set(tmp_path, {"a.png": []})) == 0
    shown = capsys.readouterr().out
    assert "Worth a look: 1\n" in shown
    assert "via.json: it has no cell in 1 field" in shown
    assert "There are no cells to propose a config by." in shown


def test_a_config_for_rectangles_read_as_boxes_has_the_setting(tmp_path, capsys):
    annotations, images = good_set(tmp_path)
    annotations.write_text(re.sub(r", [0-9.]+, (\d+\], \"all_points_y)", r", \1", annotations.read_text()))
    text = re.sub(r"(\"all_points_y\": \[[^\]]*), \d+\]", r"\1]", annotations.read_text())
    annotations.write_text(text)
    assert run(annotations, images) == 0
    shown = capsys.readouterr().out
    assert "20 of 20 outlines are upright rectangles" in shown
    assert "rectangles_as_boxes = True\n" not in shown
    assert run(annotations, images, "--rectangles-as-boxes") == 0
    shown = capsys.readouterr().out
    assert "Worth a look: 0\n" in shown
    assert "config.dataset.rectangles_as_boxes = True\n" in shown


def test_one_problem_and_one_cell_are_told_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture):
    annotations, images = make_set(tmp_path, {"a.png": [square(5, 5, 30), square(100, 5, 90)]})
    status = run(annotations, images)
    assert status == "wbcjax: 1 problem, listed above; --on-error=skip leaves out cells and fields with problems"
    assert "has 1 cell;" in capsys.readouterr().out


def test_an_error_that_nobody_foresaw_leaves_out_its_field_and_fails_the_command(tmp_path, capsys, monkeypatch):
    annotations, images = good_set(tmp_path)
    names = sorted(path.name for path in images.iterdir())
    true, calls = inspect_set.look_at, iter(range(99))

    def break_first(image: np.ndarray):
        if next(calls) == 0:
            raise ZeroDivisionError("nobody foresaw it")
        return true(image)

    monkeypatch.setattr(inspect_set, "look_at", break_first)
    told = str(run(annotations, images, "--out", tmp_path / "out"))
    assert (
        told == f"wbcjax: 1 image could not be processed:\n  {images}/{names[0]}: ZeroDivisionError: nobody foresaw it"
    )
    shown = capsys.readouterr().out
    assert "Could not be looked over: 1" in shown
    assert re.search(rf"fields +{len(names) - 1}\n", shown)
    assert (tmp_path / "out" / PAGE).is_file()


def test_a_set_of_which_nothing_can_be_read_fails_with_all_its_problems(tmp_path: Path):
    annotations, images = broken_set(tmp_path)
    for image in images.iterdir():
        image.unlink()
    status = run(annotations, images, "--on-error=skip")
    assert isinstance(status, str)
    assert all(f"{name}.png: there is no such image" in status for name in "abc")
    annotations.write_text("{")
    assert "broken JSON" in str(run(annotations, images))
    annotations.write_text("{}")
    assert "no field is listed" in str(run(annotations, images))


def test_problems_of_a_kind_are_told_ten_times_and_all_are_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture):
    annotations, images = make_set(tmp_path, {"a.png": [square(5, 5, 30), *[square(900, 5, 30)] * 226], "b.png": []})
    status = run(annotations, images, "--out", tmp_path / "out")
    assert str(status).startswith("wbcjax: 226 problems, ")
    shown = capsys.readouterr().out
    assert shown.count("points lie outside") == LISTED
    assert "... and 216 more of this kind: problems.csv, which --out writes, lists all\n" in shown
    table = list(csv.DictReader((tmp_path / "out" / TABLE).read_text().splitlines()))
    assert [row["where"] for row in table if row["problem or suspect"] == "problem"] == [
        f"region {n}" for n in range(2, 228)
    ]
    assert any(row["problem or suspect"] == "suspect" and row["kind"] == "classes with few cells" for row in table)
    assert (tmp_path / "out" / PAGE).read_text().count("points lie outside") == 226


def test_a_set_without_a_good_field_still_leaves_its_table(tmp_path: Path):
    annotations, images = make_set(tmp_path, {f"{n}.png": [square(5, 5, 30)] for n in range(12)})
    for image in images.iterdir():
        image.unlink()
    status = run(annotations, images, "--out", tmp_path / "out")
    assert "... and 2 more of this kind" in str(status)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [TABLE]
    assert len((tmp_path / "out" / TABLE).read_text().splitlines()) == 13


def test_suspects_are_told_and_do_not_fail_the_command(tmp_path: Path, capsys: pytest.CaptureFixture):
    regions = {f"{number:02}.png": [square(5, 5, 30), square(6, 5, 30)] for number in range(LISTED + 2)}
    annotations, images = make_set(tmp_path, regions, unannotated=("later.png",))
    (images / "copy.png").write_bytes((images / "00.png").read_bytes())
    content = json.loads(annotations.read_text())
    content["copy"] = {"filename": "copy.png", "size": -1, "regions": [], "file_attributes": {}}
    annotations.write_text(json.dumps(content))
    assert run(annotations, images, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "cells annotated twice: 12\n  00.png, cells at (20, 20) and (21, 20): cover the same place" in shown
    assert "11.png" not in shown
    assert "... and 2 more" in shown
    assert "copy.png: is the same image as 00.png" in shown
    assert "later.png: no annotation names it" in shown
    page = (tmp_path / "out" / PAGE).read_text()
    assert all(f'alt="{number:02}.png, cells at (20, 20)' in page for number in range(12))


def test_what_was_noticed_while_reading_is_told_and_such_images_not_twice(tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:40, 5:40] = 1
    (tmp_path / "labels").mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(seed).integers(100, 200, (HEIGHT, WIDTH, 3), np.uint8)
        (images / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    (tmp_path / "labels" / "a.png").write_bytes(cv2.imencode(".png", labels)[1].tobytes())
    found = inspect(tmp_path / "labels", images)
    assert found.file_format == "label_images"
    told = [(suspect.kind, suspect.problem.file) for suspect in found.suspects]
    assert told == [("classes with few cells", "labels"), ("noticed while reading", "b.png")]


def test_a_class_is_left_out_of_all_and_out_of_the_proposed_config(tmp_path: Path, capsys: pytest.CaptureFixture):
    annotations, images = good_set(tmp_path)
    assert run(annotations, images, "--leave-out", "L1", "--group-attribute", "patient") == 0
    shown = capsys.readouterr().out
    assert "left out, as asked       L1 (10 cells)" in shown
    assert re.search(r"L2 +10 \(100 %\)", shown)
    assert not re.search(r"^L1 ", shown, re.MULTILINE)
    assert 'config.dataset.classes = ("L2",)' in shown
    assert 'config.dataset.class_of = (("L1", ""), ("L2", "L2"))' in shown
    assert 'config.dataset.group_attribute = "patient"' in shown
    assert re.search(r"groups +11, of 1 to 1 fields", shown)
    assert run(annotations, images, "--leave-out", "L9") == (
        "wbcjax: there is no class 'L9' to leave out; there are ('L1', 'L2')"
    )


def test_fields_without_cells_are_shown_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture):
    annotations, images = make_set(tmp_path, {"a.png": [], "b.png": []})
    assert run(annotations, images, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "There are no cells to propose a config by." in shown
    assert "config.dataset" not in shown
    assert (tmp_path / "out" / PAGE).is_file()


def test_the_page_and_the_sheet_are_written_and_the_page_stands_alone(tmp_path: Path):
    found = inspect(*good_set(tmp_path))
    write_inspection(found, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [SHEET, PAGE, TABLE]
    assert read_image(tmp_path / "out" / SHEET).shape[1] > 1600
    page = (tmp_path / "out" / PAGE).read_text()
    assert page.count("<figure>") == 3 + 11  # cells per field, sizes of two classes; all fields
    assert "http" not in page.replace("http-equiv", "")
    assert "2 cells (L1 1, L2 1)" in page
    assert plain(*inspection_blocks(found)) == plain(*inspection_blocks(inspect(found.annotations, found.images)))


def test_the_pages_are_not_put_among_the_images(tmp_path: Path):
    annotations, images = good_set(tmp_path)
    assert "where the images lie" in str(run(annotations, images, "--out", images))
    assert not (images / PAGE).exists()


def test_hostile_names_are_harmless_on_the_page_and_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture):
    name, cell = "<img src=x onerror=alert(1)>&\x1b[31m.png", "</pre><script>alert(2)</script>\n\x1b[2J"
    annotations, images = make_set(tmp_path, {name: [square(5, 5, 30, cell), square(6, 5, 30, cell)]})
    assert run(annotations, images, "--out", tmp_path / "out") == 0
    assert "\x1b" not in capsys.readouterr().out
    page = (tmp_path / "out" / PAGE).read_text()
    assert "\x1b" not in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(2)&lt;/script&gt;\\n\\x1b[2J" in page


def test_neither_inspecting_nor_help_imports_jax(tmp_path: Path):
    annotations, images = good_set(tmp_path)
    code = (
        "import sys\nfrom wbcjax import cli\n"
        f"cli.main(['inspect', {str(annotations)!r}, {str(images)!r}, '--out', {str(tmp_path / 'out')!r}])\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'jax', 'jaxlib', 'flax', 'grain', 'tensorflow_datasets'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.skipif(not SEGPC.is_dir(), reason="shared/data/segpc2021_train is not here")
def test_real_fields_are_read_without_problems_and_a_cell_drawn_twice_is_found(tmp_path: Path):
    content = json.loads((SEGPC / "via.json").read_text())
    names = [entry["filename"] for entry in content.values()][:30]
    chosen = {key: entry for key, entry in content.items() if entry["filename"] in (*names, "2044.jpg")}
    (tmp_path / "via.json").write_text(json.dumps(chosen))
    found = inspect(tmp_path / "via.json", SEGPC / "images")
    assert not found.found.problems
    assert len(found.fields) == 31
    assert len(found.cells) == sum(len(entry["regions"]) for entry in chosen.values())
    assert found.proposal is not None
    assert found.proposal.canvas == (384, 512)
    assert found.proposal.anchors.positive >= 0.9
    told = [(suspect.kind, suspect.problem.file) for suspect in found.suspects]
    assert ("cells annotated twice", "2044.jpg") in told
    assert len([kind for kind, _ in told if kind == "images without annotations"]) == 298 - 31


@pytest.mark.skipif(not BCCD.is_dir(), reason="shared/data/bccd is not here")
def test_real_boxes_are_counted_and_a_wrong_class_found(tmp_path: Path):
    """Real boxes are counted as boxes and one of the wrong class is found."""
    for number in range(120, 140):
        file = BCCD / "annotations" / f"BloodImage_{number:05}.xml"
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    found = inspect(tmp_path, BCCD / "images")
    assert found.file_format == "voc"
    assert not found.cells.outlined.any()
    assert set(found.classes) == {"WBC", "RBC", "Platelets"}
    larger = [suspect.problem.file for suspect in found.suspects if suspect.kind == "cells far larger than their class"]
    assert larger == ["BloodImage_00133.jpg"]
