"""CVAT's XML for images: every shape by value, and what is refused."""

import re

import cv2
import numpy as np
import pytest

from tests.smear import disc_arrays as discs
from tests.smear.disc_arrays import HEIGHT, P1, P2, WIDTH
from tests.smear.make import problems
from wbcjax.smear.read import read, recognise

# As CVAT itself exported it: https://github.com/cvat-ai/cvat/issues/4723
EXPORTED = (
    '<mask label="blah" occluded="0" source="manual" rle="17, 10, 27, 15, 23, 18, 20, 21, 18, 23, 16, 24, 15, 26, 13, '
    "27, 13, 27, 12, 29, 10, 30, 9, 32, 7, 34, 5, 36, 3, 38, 2, 38, 2, 39, 1, 39, 1, 120, 1, 39, 1, 39, 1, 39, 2, 38, "
    "2, 38, 3, 37, 3, 37, 3, 37, 4, 36, 4, 35, 6, 34, 7, 33, 7, 32, 9, 30, 10, 29, 13, 26, 15, 23, 18, 20, 22, 15, "
    '12" left="79" top="30" width="40" height="40" z_order="0"> </mask>'
)
IMAGE = f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">'
META = "<version>1.1</version><meta><task><name>smears</name><mode>annotation</mode></task></meta>"


def listed(points):
    return ";".join(f"{x:.6f},{y:.6f}" for x, y in points)


def polygon(points, label="L1", more=""):
    return f'<polygon label="{label}" source="manual" occluded="0" points="{listed(points)}" z_order="0" {more}/>'


@pytest.fixture
def images(tmp_path):
    return discs.image_folder(tmp_path / "images")


@pytest.fixture
def make(tmp_path):
    def write(*shapes: str, image=IMAGE, root="annotations", before=""):
        text = (
            f'<?xml version="1.0" encoding="utf-8"?>\n{before}<{root}>{META}{image}{"".join(shapes)}</image></{root}>'
        )
        (tmp_path / "annotations.xml").write_text(text)
        return tmp_path / "annotations.xml"

    return write


def only_cell(found):
    (field,) = found.fields
    (cell,) = field.cells
    return cell


def test_a_task_is_recognised_and_its_polygons_read(make, images):
    path = make(polygon(P1), polygon(P2, "L2"))
    assert recognise(path, images) == "cvat"
    found = read(path, images)
    (field,) = found.fields
    assert (field.name, field.height, field.width) == ("a.png", HEIGHT, WIDTH)
    assert found.classes == ("L1", "L2")
    assert [cell.label for cell in field.cells] == [1, 2]
    for cell, points in zip(field.cells, (P1, P2), strict=True):
        np.testing.assert_allclose(cell.polygons[0], points, rtol=0, atol=1e-6)
    assert not found.suspects


def test_an_export_as_unpacked_is_recognised_by_its_folder(make, images, tmp_path):
    path = make(polygon(P1))
    (tmp_path / "export").mkdir()
    path.rename(tmp_path / "export/annotations.xml")
    assert recognise(tmp_path / "export", images) == "cvat"
    assert only_cell(read(tmp_path / "export", images)).label == 1


def test_a_mask_that_cvat_exported_is_read_row_by_row(make, images):
    cell = only_cell(read(make(EXPORTED), images))
    mask = cell.mask(HEIGHT, WIDTH)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (79, 119, 30, 70)
    assert mask.sum() == sum(map(int, re.findall(r'rle="(.*?)"', EXPORTED)[0].split(",")[1::2])) == 1243
    assert mask[30, 79:119].tolist() == [0] * 17 + [1] * 10 + [0] * 13  # the first row
    assert mask[69, 79:119].tolist() == [0] * 13 + [1] * 15 + [0] * 12  # the last one
    # A brush makes one part: read down the columns it would fall apart.
    assert cv2.connectedComponents(mask)[0] == 2


@pytest.mark.parametrize("first", [0, 1])
def test_a_mask_is_the_same_however_its_runs_begin(make, images, first):
    drawn = discs.pixels(*discs.L1)
    left, top, width, height = cv2.boundingRect(drawn)
    if first:  # a patch that begins with the cell: a run of 0 pixels of ground
        drawn[top, left] = 1
    flat = drawn[top : top + height, left : left + width].ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = [0] * first + np.diff(np.array([0, *ends.tolist(), len(flat)])).tolist()
    shape = f'<mask label="L1" rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" '
    cell = only_cell(read(make(f'{shape}width="{width}" height="{height}"/>'), images))
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), drawn)


def test_a_box_is_known_as_a_box_alone(make, images):
    cell = only_cell(read(make('<box label="L1" xtl="22.5" ytl="22" xbr="58" ybr="58.25"/>'), images))
    assert cell.box == (22.5, 22, 58, 58.25)
    assert not cell.outlined


def test_a_turned_box_is_read_as_the_upright_box_around(make, images):
    box = '<box label="L1" xtl="30" ytl="38" xbr="50" ybr="42" rotation="90.00"/>'
    found = read(make(box, '<box label="L1" xtl="90" ytl="60" xbr="100" ybr="70" rotation="0.00"/>'), images)
    (field,) = found.fields
    assert field.cells[0].box == pytest.approx((38, 30, 42, 50))
    assert field.cells[1].box == (90, 60, 100, 70)
    assert [suspect.found for suspect in found.suspects] == [
        "1 boxes are turned: the upright boxes around them are read"
    ]


def test_a_turned_box_at_the_border_is_cut_there(make, images):
    cell = only_cell(read(make('<box label="L1" xtl="0" ytl="0" xbr="20" ybr="20" rotation="45"/>'), images))
    half = 10 + 10 * 2**0.5
    assert cell.box == pytest.approx((0, 0, half, half))


@pytest.mark.parametrize(("rotation", "radii"), [("0", (20, 10)), ("90", (10, 20))])
def test_an_ellipse_is_drawn_around_its_centre(make, images, rotation, radii):
    shape = f'<ellipse label="L1" cx="80" cy="60" rx="20" ry="10" rotation="{rotation}"/>'
    (outline,) = only_cell(read(make(shape), images)).polygons
    np.testing.assert_allclose(outline.min(axis=0), np.subtract((80, 60), radii), atol=0.05)
    np.testing.assert_allclose(outline.max(axis=0), np.add((80, 60), radii), atol=0.05)


def test_an_ellipse_turns_clockwise_as_cvat_shows_it(make, images):
    shape = '<ellipse label="L1" cx="80" cy="60" rx="30" ry="5" rotation="45"/>'
    mask = only_cell(read(make(shape), images)).mask(HEIGHT, WIDTH)
    assert mask[75, 95] == 1  # right and below
    assert mask[45, 95] == 0


def test_a_group_joins_shapes_of_one_label_to_one_cell(make, images):
    shapes = [polygon(P1, more='group_id="3"'), polygon(P2, more='group_id="3"'), polygon(P1, "L2", 'group_id="3"')]
    (field,) = read(make(*shapes, polygon(P2, "L2", 'group_id="0"'), polygon(P1, "L2", 'group_id="0"')), images).fields
    assert [(cell.label, len(cell.polygons)) for cell in field.cells] == [(1, 2), (2, 1), (2, 1), (2, 1)]


def test_a_mask_and_a_polygon_of_a_group_are_one_mask(make, images):
    mask = '<mask label="L1" rle="0, 20" left="100" top="60" width="5" height="4" group_id="1"/>'
    cell = only_cell(read(make(polygon(P1, more='group_id="1"'), mask), images))
    expected = discs.mask(P1)
    expected[60:64, 100:105] = 1
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), expected)


def test_points_are_counted_and_are_no_cells(make, images):
    found = read(make(polygon(P1), '<points label="L2" points="40.5,40;110,70"/>'), images)
    (field,) = found.fields
    assert [cell.label for cell in field.cells] == [1]
    np.testing.assert_array_equal(field.points, [[40.5, 40], [110, 70]])
    assert list(field.point_labels) == [2, 2]


def test_attributes_are_passed_over_and_tags_are_told(make, images):
    inner = polygon(P1).replace("/>", '><attribute name="stage">early</attribute></polygon>')
    found = read(make(inner, '<tag label="blurred" source="manual"></tag>'), images)
    assert only_cell(found).label == 1
    assert [suspect.found for suspect in found.suspects] == ["the tags of the whole image are not read: ['blurred']"]


def test_a_closed_polyline_is_an_outline(make, images):
    shape = polygon([*P1, P1[0]]).replace("polygon", "polyline")
    np.testing.assert_array_equal(only_cell(read(make(shape), images)).mask(HEIGHT, WIDTH), discs.mask(P1))


def test_an_image_without_shapes_is_a_field_without_cells(make, images):
    assert read(make(), images).fields[0].cells == ()


REFUSED = {
    "an open polyline": (polygon(P1).replace("polygon", "polyline"), "it is a polyline with open ends"),
    "a skeleton": ('<skeleton label="L1"><points label="1"/></skeleton>', "it is a <skeleton>, which encloses nothing"),
    "no label": ('<polygon points="1,1;5,1;5,5"/>', "the label of <polygon> is missing or empty; fill it in"),
    "no points": ('<polygon label="L1"/>', "the points of <polygon> is missing or empty"),
    "broken points": ('<polygon label="L1" points="1,1;5;5,5"/>', 'its points are not of the form "x,y;x,y"'),
    "no number": ('<box label="L1" xtl="a" ytl="1" xbr="2" ybr="2"/>', "its xtl is 'a'; make it a number"),
    "outside": ('<box label="L1" xtl="150" ytl="1" xbr="165" ybr="9"/>', "2 of 4 points lie outside the 160 x 120"),
    "a mask outside": (
        '<mask label="L1" rle="0, 20" left="158" top="60" width="5" height="4"/>',
        "the mask's box, 5 x 4 pixels at (158, 60), reaches out of the image",
    ),
    "runs too short": (
        '<mask label="L1" rle="0, 19" left="8" top="60" width="5" height="4"/>',
        "the mask's runs do not add up to its 5 x 4 pixels",
    ),
    "runs below 0": (
        '<mask label="L1" rle="-5, 25" left="8" top="60" width="5" height="4"/>',
        "the mask's runs do not add up to its 5 x 4 pixels",
    ),
    "an empty mask": ('<mask label="L1" rle="20" left="8" top="60" width="5" height="4"/>', "the mask is empty"),
    "a huge mask": (
        '<mask label="L1" rle="20" left="8" top="60" width="500000" height="400000"/>',
        "the mask's box of 500000 x 400000 pixels at (8, 60) is none",
    ),
    "a point outside": ('<points label="L1" points="170,5"/>', "the point (170, 5) lies outside the 160 x 120 image"),
}


@pytest.mark.parametrize(("shape", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_cell_is_refused_by_its_place(make, images, shape, expected):
    (line,) = problems(make(polygon(P1), shape), images, None)
    assert line.startswith(f"a.png, shape 2: {expected}")


def test_a_group_with_a_box_is_refused(make, images):
    shapes = [polygon(P1, more='group_id="3"'), '<box label="L1" xtl="1" ytl="1" xbr="9" ybr="9" group_id="3"/>']
    (line,) = problems(make(*shapes), images, None)
    assert line.startswith("a.png, shape 1 + shape 2: one of several shapes of a group is a box; outline it")


def test_a_video_is_refused_with_the_export_to_choose(make, images):
    video = '<track id="0" label="L1"><polygon frame="0" points="1,1;5,1;5,5" outside="0"/></track>'
    path = make(image=f"{video}<image>")
    assert recognise(path, images) == "cvat"
    expected = 'annotations.xml: it is of a video: it holds <track>; export the task as "CVAT for images 1.1"'
    assert problems(path, images, None) == [expected]


def test_another_size_than_the_images_is_refused(make, images):
    (line,) = problems(make(polygon(P1), image='<image name="a.png" width="160" height="121">'), images, None)
    assert line.startswith("a.png: the annotations say 160 x 121 pixels, the image has 160 x 120")


def test_a_missing_size_is_worth_a_look(make, images):
    found = read(make(polygon(P1), image='<image name="a.png">'), images)
    assert [suspect.found for suspect in found.suspects] == ["the annotations do not say for which image size they are"]


@pytest.mark.parametrize("inner", ["<!ENTITY a 'b'>", "<!ENTITY a SYSTEM 'file:///etc/hosts'>"])
def test_a_doctype_is_refused(make, images, inner):
    (line,) = problems(make(polygon(P1), before=f"<!DOCTYPE annotations [{inner}]>"), images, None)
    assert line == "annotations.xml: it has a DOCTYPE (annotations); delete that declaration"
