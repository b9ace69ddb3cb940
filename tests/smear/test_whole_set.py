"""What a set as a whole may be instead of what it seems: crowd regions, rectangles for outlines, no cells."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.smear import two_discs
from tests.smear.two_discs import HEIGHT, P1, P2, WIDTH, annotation, corners, flat, save
from wbcjax.smear.field import text_rle
from wbcjax.smear.read import FieldSet, read
from wbcjax.smear.whole_set import uncounted


@pytest.fixture
def images(tmp_path):
    return two_discs.images(tmp_path / "images")


def suspects(found: FieldSet) -> list[str]:
    return list(map(str, found.suspects))


ALL_CROWD = (
    "{}: all 2 cells are crowd regions (CVAT marks brush masks so): they train nothing; take them as cells by "
    "config.dataset.crowd_as_cells = True (--crowd-as-cells)"
)


def crowd_of_coco(folder):
    cells = [annotation(1, [flat(P1)], iscrowd=1), annotation(2, mask(P2), iscrowd=1)]
    return save(folder / "set.json", two_discs.coco(annotations=cells))


def crowd_of_via(folder):
    return save(folder / "set.json", two_discs.via(iscrowd="1"))


def mask(points):
    rle = coco_mask.merge(coco_mask.frPyObjects([flat(points)], HEIGHT, WIDTH))  # pyright: ignore
    return text_rle(rle)


@pytest.mark.parametrize("written", [crowd_of_coco, crowd_of_via])
def test_a_set_of_crowd_regions_is_suspect_and_can_be_taken_as_cells(tmp_path, images, written):
    place = written(tmp_path)
    found = read(place, images)
    assert suspects(found) == [ALL_CROWD.format("set.json")]
    assert [cell.crowd for cell in found.fields[0].cells] == [True, True]
    taken = read(place, images, crowd_as_cells=True)
    assert suspects(taken) == []
    assert [(cell.label, cell.crowd) for cell in taken.fields[0].cells] == [(1, False), (2, False)]
    for cell, as_crowd in zip(taken.fields[0].cells, found.fields[0].cells, strict=True):
        np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), as_crowd.mask(HEIGHT, WIDTH))


@pytest.mark.parametrize(("crowd", "told"), [(8, None), (9, "9 of 10 cells are crowd regions"), (1, None)])
def test_a_set_is_suspect_from_nine_crowd_regions_of_ten_on(tmp_path, images, crowd, told):
    cells = [annotation(1, [flat(P1)], id=i, iscrowd=int(i < crowd)) for i in range(10)]
    lines = suspects(read(save(tmp_path / "set.json", two_discs.coco(annotations=cells)), images))
    assert len(lines) == (told is not None)
    assert all(line.startswith(f"set.json: {told} ") for line in lines)


@pytest.mark.parametrize(
    ("crowd", "sentence"),
    [
        (0, "no cell is annotated"),
        (1, "no cell counts: the only cell is a crowd region (CVAT marks brush masks so)"),
        (2, "no cell counts: all 2 cells are crowd regions (CVAT marks brush masks so)"),
    ],
)
def test_why_no_cell_counts_is_told_by_the_crowd_regions(crowd, sentence):
    assert uncounted(crowd) == sentence


def no_cells(name):
    def written(folder):
        empty = {"via.json": two_discs.via(), "coco.json": two_discs.coco(annotations=[])}
        empty["via.json"]["a.png-1"]["regions"] = []
        empty |= {"set/a.json": two_discs.labelme(shapes=[]), "set/a.xml": two_discs.voc("")}
        if name.endswith(".png"):
            (folder / "set").mkdir()
            cv2.imwrite(str(folder / name), np.zeros((HEIGHT, WIDTH), np.uint8))
            return folder / "set"
        return save(folder / name, empty[name])

    return written


@pytest.mark.parametrize("name", ["via.json", "coco.json", "set/a.json", "set/a.xml", "set/a.png"])
def test_a_set_without_any_cell_is_suspect(tmp_path, images, name):
    place = no_cells(name)(tmp_path)
    found = read(place, images)
    assert [len(field.cells) for field in found.fields] == [0]
    told = "it has no cell in 1 field; look whether its export holds the annotations"
    assert suspects(found) == [f"{place.name}: {told}"]


def test_a_set_whose_cells_are_left_out_or_refused_is_not_told_to_be_empty(tmp_path, images):
    place = save(tmp_path / "set.json", two_discs.coco())
    assert suspects(read(place, images, {"L1": 0, "L2": 0})) == []
    bad = [annotation(1, [[5, 5, 9, 9]]), annotation(2, [[5, 5, 9, 9]])]
    place = save(tmp_path / "set.json", two_discs.coco(annotations=bad))
    assert suspects(read(place, images, on_error="skip")) == []


RECTANGLES = "2 of 2 outlines are upright rectangles, as boxes are: masks would learn rectangles; read them as boxes by"
BOXES = (corners(P1), [*corners(P2), corners(P2)[0]])  # the second is closed


def filled(points):
    x1, y1, x2, y2 = np.ravel(corners(points)[::2]).astype(int)
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[y1:y2, x1:x2] = 1
    return text_rle(coco_mask.encode(np.asfortranarray(pixels)))


SETS_OF_RECTANGLES = {
    "coco": (
        "set.json",
        two_discs.coco(annotations=[annotation(1, [flat(BOXES[0])]), annotation(2, [flat(BOXES[1])])]),
    ),
    "coco masks": ("set.json", two_discs.coco(annotations=[annotation(1, filled(P1)), annotation(2, filled(P2))])),
    "via": ("set.json", two_discs.via(*BOXES)),
    "labelme": ("set/a.json", two_discs.labelme(*BOXES)),
}


@pytest.mark.parametrize(("name", "content"), SETS_OF_RECTANGLES.values(), ids=SETS_OF_RECTANGLES)
def test_outlines_that_equal_their_boxes_are_suspect_and_can_be_read_as_boxes(tmp_path, images, name, content):
    place = save(tmp_path / name, content)
    (told,) = suspects(read(place, images))
    assert told.startswith(f"{place.name}: {RECTANGLES}")
    boxed = read(place, images, rectangles_as_boxes=True)
    assert suspects(boxed) == []
    whole = [(22, 22, 58, 58), (86, 46, 134, 94)]
    assert [(cell.label, cell.box) for cell in boxed.fields[0].cells] == [(1, whole[0]), (2, whole[1])]


def test_cells_drawn_round_turned_or_in_parts_are_no_boxes(tmp_path, images):
    turned = [[40.0, 20.0], [60.0, 40.0], [40.0, 60.0], [20.0, 40.0]]
    cells = [
        *(annotation(1, [flat(outline)]) for outline in (P1, turned, corners(P1)[:3])),
        annotation(1, [flat(corners(P1)), flat(corners(P2))]),
        annotation(2, mask(P2)),
    ]
    cells = [cell | {"id": i} for i, cell in enumerate(cells)]
    found = read(save(tmp_path / "set.json", two_discs.coco(annotations=cells)), images, rectangles_as_boxes=True)
    assert suspects(found) == []
    assert all(cell.outlined for cell in found.fields[0].cells)


@pytest.mark.parametrize(("boxes", "round_ones", "told"), [(1, 0, 0), (2, 0, 1), (9, 1, 1), (8, 1, 0)])
def test_a_set_is_suspect_from_nine_rectangles_of_ten_on(tmp_path, images, boxes, round_ones, told):
    outlines = [corners(P1)] * boxes + [P2] * round_ones
    cells = [annotation(1, [flat(outline)], id=i) for i, outline in enumerate(outlines)]
    found = read(save(tmp_path / "set.json", two_discs.coco(annotations=cells)), images)
    assert len(found.suspects) == told
