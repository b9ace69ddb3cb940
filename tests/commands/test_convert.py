"""`wbcjax convert`: between all formats that are written a set stays the same, and what is lost is told."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from wbcjax import cli
from wbcjax.commands.convert import WRITTEN
from wbcjax.smear.field import Cell, SmearField, text_rle
from wbcjax.smear.formats.known import FORMATS
from wbcjax.smear.formats.write_checks import Predicted
from wbcjax.smear.read import FieldSet, read

HEIGHT, WIDTH = 120, 160
CLASSES = ("L2", "L1", "a class")  # in another order than that of the cells
LISTS_CLASSES = {"via", "coco", "yolo"}  # others name the class of each cell, and have them in the cells' order
PAIRS = [(a, b) for a, b in product(WRITTEN, WRITTEN) if a != b]


def disc(x: float, y: float, radius: float) -> np.ndarray:
    angles = np.arange(24) * np.pi / 12
    return np.array([x, y]) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring_mask() -> dict:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(columns + 0.5 - 110, rows + 0.5 - 70)
    return text_rle(coco_mask.encode(np.asfortranarray(((distance < 24) & (distance >= 9)).astype(np.uint8))))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        noise = np.random.default_rng(seed).integers(100, 200, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), noise)
    return tmp_path / "images"


def fields(images: Path, *cells: Cell, group: str | None = None) -> list[SmearField]:
    """A field with two outlined cells and `cells`, and one without."""
    outlined = (Cell(2, (disc(40, 40, 18),)), Cell(1, (disc(110, 70, 24),)))
    a = SmearField("a.png", HEIGHT, WIDTH, (*outlined, *cells), images / "a.png", group=group)
    return [a, SmearField("b.png", HEIGHT, WIDTH, (), images / "b.png")]


def place(folder: Path, name: str) -> Path:
    return folder / f"set_of_{name}{FORMATS[name].suffix}"


def written(folder: Path, name: str, listed: Sequence[SmearField], predicted: Predicted | None = None) -> Path:
    write = FORMATS[name].write
    assert write is not None
    write(place(folder, name), listed, CLASSES, predicted)
    return place(folder, name)


def convert(*arguments: object) -> int | str | None:
    """The exit status of the command, or what it says when it fails."""
    try:
        cli.main(["convert", *map(str, arguments)])
    except SystemExit as stop:
        return stop.code
    return 0


def assert_same(found: FieldSet, expected: Sequence[SmearField], classes: Sequence[str]) -> None:
    assert found.classes == tuple(classes)
    by_name = {field.name: field for field in found.fields}
    assert {field.name for field in expected if field.cells} <= by_name.keys()
    for field in expected:
        again = by_name.get(field.name)
        if again is None:
            continue
        assert [classes[cell.label - 1] for cell in again.cells] == [CLASSES[cell.label - 1] for cell in field.cells]
        for cell, original in zip(again.cells, field.cells, strict=True):
            a, b = cell.mask(HEIGHT, WIDTH), original.mask(HEIGHT, WIDTH)
            assert (a & b).sum() / (a | b).sum() > 0.99


@pytest.mark.parametrize(("start", "end"), PAIRS)
def test_a_converted_set_has_the_same_cells_and_classes(tmp_path, images, start, end):
    expected = fields(images)
    source = written(tmp_path, start, expected)
    (tmp_path / "converted").mkdir()
    out = place(tmp_path / "converted", end)
    assert convert(source, images, out, "--to", end) == 0
    classes = ("L2", "L1") if {start, end} <= LISTS_CLASSES else ("L1", "L2")
    assert_same(read(out, images, file_format=end), expected, classes)
    assert_same(read(out, images), expected, classes)  # recognised


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_there_is_never_replaced(tmp_path, images, name):
    source = written(tmp_path, "coco", fields(images))
    out = place(tmp_path / "old", name)
    if FORMATS[name].suffix:
        out.parent.mkdir()
        out.write_text("kept")
    else:
        out.mkdir(parents=True)
        (out / "old.txt").write_text("kept")
    status = convert(source, images, out, "--to", name)
    assert "not empty" in str(status) or "there is such a file already" in str(status)
    assert (out if out.is_file() else out / "old.txt").read_text() == "kept"


def test_a_file_needs_the_suffix_of_its_format(tmp_path, images):
    source = written(tmp_path, "coco", fields(images))
    status = str(convert(source, images, tmp_path / "out", "--to", "via"))
    assert status == f"wbcjax: {tmp_path}/out: via is one file; give it a name that ends in .json"
    assert not (tmp_path / "out").exists()


def test_masks_holes_scores_and_groups_that_are_lost_are_told(tmp_path, images, capsys):
    listed = fields(images, Cell(1, rle=ring_mask()), group="p7")
    source = written(tmp_path, "coco", listed, Predicted([[0.5, 0.25, 1], []]))
    assert convert(source, images, tmp_path / "via.json", "--to", "via") == 0
    assert capsys.readouterr().out.splitlines()[:5] == [
        f"{tmp_path}/via.json has 2 fields and 3 cells as via",
        "lost: 1 group(s), which --group-attribute would keep",
        "lost: 3 score(s), which no set that is read keeps",
        "lost: 1 mask(s) were outlined to within 0.5 pixels",
        "lost: the holes of 1 cell(s) were cut open into regions of one cell_id, or filled where small",
    ]
    options = ("--to", "via", "--group-attribute", "group")
    with pytest.raises(ValueError, match="group"):
        read(source, images, group_attribute="group")  # b.png has none
    assert "b.png" in str(convert(source, images, tmp_path / "again.json", *options))


def test_points_are_lost_and_told(tmp_path, images, capsys):
    outline = '<polygon label="L1" points="22,40;40,22;58,40;40,58"/>'
    points = '<points label="L2" points="9,9;50,60"/>'
    image = f'<image name="a.png" width="{WIDTH}" height="{HEIGHT}">{outline}{points}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    assert convert(tmp_path / "annotations.xml", images, tmp_path / "coco.json", "--to", "coco") == 0
    assert "lost: 2 cell(s) of which only a point is known" in capsys.readouterr().out.splitlines()
    (field,) = read(tmp_path / "coco.json", images).fields
    assert len(field.cells) == 1


def test_nothing_is_said_to_be_lost_where_nothing_is(tmp_path, images, capsys):
    crowd_and_box = Cell(1, (disc(20, 90, 12),), crowd=True), Cell(2, box=(3.5, 2, 20, 18))
    source = written(tmp_path, "via", fields(images, *crowd_and_box))
    assert convert(source, images, tmp_path / "coco.json", "--to", "coco") == 0
    assert "lost" not in capsys.readouterr().out
    (a, _) = read(tmp_path / "coco.json", images).fields
    assert [(cell.crowd, cell.outlined) for cell in a.cells] == [
        (False, True),
        (False, True),
        (True, True),
        (False, False),
    ]


def test_problems_end_the_conversion_unless_they_are_skipped(tmp_path, images, capsys):
    source = written(tmp_path, "via", fields(images))
    (images / "b.png").unlink()
    status = convert(source, images, tmp_path / "out.json", "--to", "coco")
    assert str(status).startswith(f"wbcjax: {source}: b.png: there is no such image")
    assert not (tmp_path / "out.json").exists()
    assert convert(source, images, tmp_path / "out.json", "--to", "coco", "--on-error", "skip") == 0
    assert "left out 1 field and 0 cells that have problems\n  b.png: there is no such" in capsys.readouterr().out
    assert [field.name for field in read(tmp_path / "out.json", images).fields] == ["a.png"]


def test_classes_can_be_left_out_and_the_others_keep_their_order(tmp_path, images):
    source = written(tmp_path, "coco", fields(images, Cell(3, (disc(20, 90, 12),))))
    assert convert(source, images, tmp_path / "via.json", "--to", "via", "--leave-out", "L2") == 0
    found = read(tmp_path / "via.json", images)
    assert (found.classes, [len(field.cells) for field in found.fields]) == (("L1", "a class"), [2, 0])
    assert "no class 'L4' to leave out" in str(
        convert(source, images, tmp_path / "x.json", "--to=via", "--leave-out=L4")
    )
