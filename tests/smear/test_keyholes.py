"""Outlines that are read though their line meets itself, or though a part of them is a fragment."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.smear import two_discs
from tests.smear.make import problems
from tests.smear.two_discs import HEIGHT, P1, P2, WIDTH, annotation, circle, flat, save
from wbcjax.smear.field import Cell
from wbcjax.smear.formats.areas import areas
from wbcjax.smear.formats.checks import Fault, outline
from wbcjax.smear.read import read

HOLE = circle(110, 70, 12)
SIZE = (HEIGHT, WIDTH)


def keyhole(outer: list[list[float]], *holes: list[list[float]]) -> list[list[float]]:
    """An outer ring and holes, each drawn backwards from its first point to it again, in one polygon."""
    points = [*outer, outer[0]]
    for hole in holes:
        points += [hole[0], *hole[::-1], outer[0]]
    return points


def pixels(*rings: list[list[float]]) -> np.ndarray:
    """The pixels of the first ring without those of the others, each rasterised by pycocotools."""
    masks = [coco_mask.decode(coco_mask.frPyObjects([flat(ring)], *SIZE))[..., 0] for ring in rings]  # pyright: ignore
    return masks[0] & ~np.any(masks[1:], axis=0) if masks[1:] else masks[0]


def cells_of(tmp_path, name: str, content: Any) -> tuple[list[Cell], list[str]]:
    images = tmp_path / "images"
    found = read(save(tmp_path / name, content), images if images.is_dir() else two_discs.images(images))
    return list(found.fields[0].cells), list(map(str, found.suspects))


def as_coco(points: list[list[float]]) -> dict[str, Any]:
    return two_discs.coco(annotations=[annotation(1, [flat(P1)]), annotation(2, [flat(points)])])


WRITTEN = {
    "coco": ("set.json", as_coco),
    "via": ("set.json", lambda points: two_discs.via(P1, points)),
    "labelme": ("set/a.json", lambda points: two_discs.labelme(P1, points)),
}
in_every_format = pytest.mark.parametrize(("name", "content"), WRITTEN.values(), ids=WRITTEN)


@in_every_format
def test_a_keyhole_is_a_cell_with_a_hole_in_every_format(tmp_path, name, content):
    cells, suspects = cells_of(tmp_path, name, content(keyhole(P2, HOLE)))
    mask = cells[1].mask(HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, pixels(P2, HOLE))
    assert mask[70, 110] == 0
    assert suspects == []


def test_a_keyhole_of_a_disc_has_the_area_of_the_ring():
    """A disc of radius 24 with a hole of radius 12, as pycocotools has it."""
    drawn = np.round(keyhole(P2, HOLE), 1)
    (points,) = outline([drawn], SIZE)
    assert int(Cell(1, (points,)).mask(*SIZE).sum()) == 1337


def test_a_keyhole_whose_hole_is_left_open_is_a_cell_with_that_hole():
    drawn = np.array([*P2, P2[0], *HOLE[::-1]])  # from the hole's first point straight to the outer ring's
    mask = Cell(1, outline([drawn], SIZE)).mask(*SIZE)
    assert 0 <= int(pixels(P2, HOLE).sum()) - int(mask.sum()) < 30
    assert mask[70, 110] == 0


@given(
    st.integers(3, 12).map(lambda r: circle(103, 66, r, 16)),
    st.integers(3, 9).map(lambda r: circle(117, 80, r / 2, 11)),
    st.booleans(),
    st.integers(0, 23),
)
def test_keyholes_are_rasterised_as_the_ring_without_its_holes(one, other, backwards, start):
    outer = [*P2[start:], *P2[:start]]
    points = np.array(keyhole(outer, one, other))[:: -1 if backwards else 1]
    (read_back,) = outline([points], SIZE)
    np.testing.assert_array_equal(Cell(1, (read_back,)).mask(*SIZE), pixels(outer, one, other))


def test_areas_of_lines_that_meet_themselves_are_those_they_go_around():
    square, inner = two_discs.corners([[0, 0], [9, 9]]), two_discs.corners([[3, 3], [6, 6]])
    assert areas(np.array(square, float)) == (81, 0)
    assert areas(np.array(keyhole(square, inner), float)) == (72, 0)
    assert areas(np.array(keyhole(square, inner[::-1]), float)) == (
        81,
        9,
    )  # the same way round: its middle is not clear
    assert areas(np.array([[0, 0], [9, 9], [9, 0], [0, 9]], float)) == (40.5, 40.5)  # a bow tie
    assert areas(np.array([[0, 0], [9, 0], [4, 0]], float)) == (0, 0)


@pytest.mark.parametrize("inner", [HOLE[::-1], circle(128, 70, 12)], ids=["the same way round", "across the border"])
def test_rings_that_are_no_hole_are_refused(inner):
    with pytest.raises(Fault, match="crosses itself"):
        outline([np.array(keyhole(P2, inner))], SIZE)


FRAGMENT = "a part of it has fewer than 3 points or no area, and is dropped; look whether the rest is the cell"
FRAGMENTS = {
    "two points": [60, 40.5, 60, 40.5],
    "one point": [60, 40],
    "none": [],
    "on a line": [60, 40, 62, 42, 64, 44, 62, 42],
    "one place": [60, 40, 60, 40, 60, 40],
    "outside": [600, 40, 600, 41],
}


@pytest.mark.parametrize("fragment", FRAGMENTS.values(), ids=FRAGMENTS)
@pytest.mark.parametrize("first", [True, False])
def test_a_fragment_beside_a_sound_part_is_dropped_and_told(tmp_path, fragment, first):
    parts = [fragment, flat(P1)] if first else [flat(P1), fragment]
    whole = two_discs.coco(annotations=[annotation(1, parts), annotation(2, [flat(P2)])])
    cells, suspects = cells_of(tmp_path, "set.json", whole)
    assert [len(cell.polygons) for cell in cells] == [1, 1]
    np.testing.assert_array_equal(cells[0].polygons[0], P1)
    assert suspects == [f"a.png, annotation 1: {FRAGMENT}"]


def test_fragments_are_told_once_with_the_number_of_their_cells(tmp_path):
    cells = [annotation(number, [flat(points), [60, 40]]) for number, points in ((1, P1), (2, P2))]
    _, suspects = cells_of(tmp_path, "set.json", two_discs.coco(annotations=cells))
    assert suspects == [f"set.json, 2 places: {FRAGMENT.replace(';', ' (first a.png, annotation 1);')}"]


def test_a_fragment_of_via_and_of_labelme_is_dropped_too(tmp_path):
    content = two_discs.via(P1, P2, cell_id="7")
    regions = content["a.png-1"]["regions"]
    regions[1] = {"shape_attributes": {"name": "polygon", "all_points_x": [60, 61], "all_points_y": [40, 41]}}
    regions[1]["region_attributes"] = regions[0]["region_attributes"]
    cells, suspects = cells_of(tmp_path, "set.json", content)
    assert ([len(cell.polygons) for cell in cells], suspects) == ([1], [f"a.png, region 1 + region 2: {FRAGMENT}"])
    content = two_discs.labelme(P1, [[60, 40], [61, 41]])
    content["shapes"] = [shape | {"label": "L1", "group_id": 3} for shape in content["shapes"]]
    cells, suspects = cells_of(tmp_path, "set/a.json", content)
    assert ([len(cell.polygons) for cell in cells], suspects) == ([1], [f"a.png, shape 1 + shape 2: {FRAGMENT}"])


def test_a_cell_of_fragments_alone_is_refused(tmp_path):
    two_discs.images(tmp_path / "images")
    cells = [annotation(1, [[60, 40.5, 60, 40.5], [5, 5]]), annotation(2, [[5, 5, 9, 9]])]
    place = save(tmp_path / "set.json", two_discs.coco(annotations=cells))
    lines = problems(place, tmp_path / "images", None)
    assert [line.split(";")[0] for line in lines] == [
        "a.png, annotation 1: the polygon has 2 points",
        "a.png, annotation 2: the polygon has 2 points",
    ]


CLEAR = {
    "closed": [*P2, P2[0]],
    "each point twice": [point for point in P2 for _ in (0, 1)],
    "closed twice": [*P2, P2[0], P2[0]],
    "with a spike of no area": [*P2, P2[0], [150, 70]],
}


@in_every_format
@pytest.mark.parametrize("points", CLEAR.values(), ids=CLEAR)
def test_repeated_points_and_closed_rings_are_the_same_cell(tmp_path, name, content, points):
    cells, suspects = cells_of(tmp_path, name, content(points))
    np.testing.assert_array_equal(cells[1].mask(HEIGHT, WIDTH), pixels(P2))
    assert suspects == []


def test_points_of_labelme_in_one_plane_are_read(tmp_path):
    cells, suspects = cells_of(tmp_path, "set/a.json", two_discs.labelme(P1, [[*point, 4] for point in P2]))
    np.testing.assert_array_equal(cells[1].polygons[0], P2)
    assert suspects == []
