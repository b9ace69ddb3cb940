"""Cells and fields: masks against exact areas, the shoelace formula and hand-made images."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from wbcjax.smear.field import Cell, SmearField, decode_image, read_image, text_rle
from wbcjax.smear.formats.checks import outline, shoelace_area

HEIGHT, WIDTH = 60, 80


@st.composite
def star_polygons(draw):
    """Polygons that do not cross themselves: corners at rising angles around a centre inside the image."""
    count = draw(st.integers(3, 20))
    radii = np.array(draw(st.lists(st.floats(2, 25), min_size=count, max_size=count)))
    angles = np.arange(count) * 2 * np.pi / count + draw(st.floats(0, 1))
    return np.array([40, 30]) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@given(corners=st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT), st.integers(0, WIDTH), st.integers(0, HEIGHT)))
def test_a_rectangle_on_whole_pixels_covers_exactly_those_pixels(corners):
    x1, x2 = sorted((corners[0], corners[2]))
    y1, y2 = sorted((corners[1], corners[3]))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[y1:y2, x1:x2] = 1
    cell = Cell(1, (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float),))
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), expected)


@given(polygon=star_polygons())
def test_a_mask_differs_only_at_pixels_under_its_outline(polygon):
    """A mask strays from its outline by no more than the pixels under it."""
    perimeter = np.linalg.norm(polygon - np.roll(polygon, 1, axis=0), axis=1).sum()
    area = Cell(1, (polygon,)).mask(HEIGHT, WIDTH).sum()
    assert abs(area - shoelace_area(polygon)) <= perimeter / 2 + 1


@given(polygon=star_polygons())
def test_the_shoelace_area_is_that_of_opencv_whatever_the_direction_and_the_origin(polygon):
    area = cv2.contourArea(polygon.astype(np.float32))
    assert shoelace_area(polygon) == pytest.approx(area, rel=1e-4, abs=1e-3)
    assert shoelace_area(polygon[::-1] + 1e4) == pytest.approx(area, rel=1e-4, abs=1e-3)


@given(polygon=star_polygons())
def test_an_outline_inside_the_image_passes_the_checks_unchanged(polygon):
    np.testing.assert_array_equal(outline([polygon], (HEIGHT, WIDTH))[0], polygon)


@given(polygon=star_polygons(), label=st.integers(1, 9))
def test_a_cell_is_the_same_after_its_rle_went_through_json(polygon, label):
    cell = Cell(label, (polygon,))
    rle = json.loads(json.dumps(cell.to_rle(HEIGHT, WIDTH)))
    assert rle["size"] == [HEIGHT, WIDTH]
    again = Cell(label, rle=rle)
    np.testing.assert_array_equal(again.mask(HEIGHT, WIDTH), cell.mask(HEIGHT, WIDTH))
    assert again.to_rle(HEIGHT, WIDTH) == rle


@given(mask=arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_any_mask_comes_back_from_its_rle_pixel_for_pixel(mask):
    cell = Cell(1, rle=text_rle(coco_mask.encode(np.asfortranarray(mask))))
    decoded = cell.mask(*mask.shape)
    np.testing.assert_array_equal(decoded, mask)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous


def test_the_parts_of_a_cell_are_united_in_one_mask():
    parts = tuple(np.array([[x, 2], [x + 6, 2], [x + 6, 5], [x, 5]], float) for x in (1, 4, 20))  # two overlap
    mask = Cell(1, parts).mask(HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:5, 1:10] = expected[2:5, 20:26] = 1
    np.testing.assert_array_equal(mask, expected)


def test_a_mask_asked_for_at_another_size_is_refused():
    rle = text_rle(coco_mask.encode(np.ones((4, 6), np.uint8, order="F")))
    with pytest.raises(ValueError, match=r"\[4, 6\], asked for \[6, 4\]"):
        Cell(1, rle=rle).mask(6, 4)


TRIANGLE = (np.array([[0, 0], [2, 0], [0, 2]], float),)
RLE = text_rle(coco_mask.encode(np.ones((4, 6), np.uint8, order="F")))


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"polygons": TRIANGLE, "rle": RLE},
        {"polygons": TRIANGLE, "box": (0, 0, 1, 1)},
        {"rle": RLE, "box": (0, 0, 1, 1)},
        {"polygons": TRIANGLE, "rle": RLE, "box": (0, 0, 1, 1)},
    ],
    ids=lambda kinds: " ".join(kinds) or "none",
)
def test_a_cell_of_no_kind_or_of_two_is_refused(kinds):
    with pytest.raises(ValueError, match="a cell takes exactly one of polygons, an rle and a box"):
        Cell(1, **kinds)


@given(corners=st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT), st.integers(0, WIDTH), st.integers(0, HEIGHT)))
def test_the_mask_of_a_cell_known_by_its_box_is_the_filled_box(corners):
    x1, x2 = sorted((corners[0], corners[2]))
    y1, y2 = sorted((corners[1], corners[3]))
    cell = Cell(1, box=(x1, y1, x2, y2))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[y1:y2, x1:x2] = 1
    np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), expected)
    assert cell.to_rle(HEIGHT, WIDTH) == text_rle(coco_mask.encode(np.asfortranarray(expected)))


def test_only_a_box_leaves_the_outline_unknown():
    assert Cell(1, TRIANGLE).outlined
    assert Cell(1, rle=RLE).outlined
    assert not Cell(1, box=(0, 0, 1, 1)).outlined


def test_a_field_without_an_image_or_with_two_is_refused_by_name(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"a\.png: a field takes either"):
        SmearField("a.png", 4, 6, ())
    with pytest.raises(ValueError, match=r"a\.png: a field takes either"):
        SmearField("a.png", 4, 6, (), path=tmp_path / "a.png", pixels=pixels)
    assert SmearField("a.png", 4, 6, (), pixels=pixels).image() is pixels


def test_an_image_file_comes_out_in_the_order_red_green_blue(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "größe.png"
    path.write_bytes(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(SmearField("größe.png", 5, 7, (), path).image(), rgb)


def test_a_grey_image_comes_out_with_three_channels(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_alpha_channel_is_dropped(tmp_path, suffix):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    rgba[0, :, 3] = 0  # wholly transparent pixels keep their colour
    data = cv2.imencode(suffix, rgba[..., [2, 1, 0, 3]])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data, "a"), rgba[..., :3])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("brightest", "bits"), [(200, 8), (1023, 10), (1024, 12), (4095, 12), (9000, 14), (65535, 16)])
def test_a_16_bit_image_is_scaled_by_the_bits_that_its_camera_uses(channels, suffix, brightest, bits):
    deep = np.random.default_rng(0).integers(0, brightest + 1, (5, 7, channels), np.uint16)
    deep[0, 0, :3] = brightest
    deep[..., 3:] = 65535  # an alpha channel says nothing of the camera
    colours = deep[..., [0, 0, 0]] if channels == 1 else deep[..., :3]
    data = cv2.imencode(suffix, deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep[..., 0])[1].tobytes()
    decoded = decode_image(data, "a")
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded, colours * (255 / (2**bits - 1)), atol=0.51)


def test_a_black_16_bit_image_is_black():
    data = cv2.imencode(".png", np.zeros((5, 7), np.uint16))[1].tobytes()
    np.testing.assert_array_equal(decode_image(data, "a"), np.zeros((5, 7, 3), np.uint8))


def test_an_image_of_fractions_is_refused_by_name():
    data = cv2.imencode(".tif", np.zeros((5, 7, 3), np.float32))[1].tobytes()
    with pytest.raises(ValueError, match=r"a\.tif: has float32 pixels; save it with 8 or 16 bits a channel"):
        decode_image(data, "a.tif")


def test_an_image_that_its_exif_turns_comes_out_upright(tmp_path):
    jpeg = cv2.imencode(".jpg", np.full((8, 16, 3), 128, np.uint8))[1].tobytes()
    # EXIF with one tag: orientation 6, "turn by a quarter".
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\0\0MM\x00\x2a\x00\x00\x00\x08\x00\x01" + tag + b"\x00\x00\x00\x00"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert read_image(tmp_path / "a.jpg").shape == (16, 8, 3)


@pytest.mark.parametrize("content", [b"", b"no image"], ids=["empty", "text"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: not an image that OpenCV can decode"):
        read_image(tmp_path / "a.png")
