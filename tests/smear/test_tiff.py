"""TIFF files against the arrays that tifffile and Pillow wrote: colours in planes, stacks, photometry, compressions."""

import io
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.smear.discs import HEIGHT, WIDTH, folder_of, image, labels, tiff, with_palette
from tests.smear.make import problems
from wbcjax.smear.decode import decode_upright
from wbcjax.smear.field import decode_image
from wbcjax.smear.tiff import Stack, read_tiff

RGB = image()
PLANES = RGB.transpose(2, 0, 1).copy()
LUTS = [np.outer(colour, np.arange(256)).astype(np.uint8) for colour in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
COMPOSITE = {"axes": "CYX", "mode": "composite"}

COLOURS = {
    "ImageJ composite": tiff(PLANES, imagej=True, metadata=COMPOSITE),
    "ImageJ composite of one page": tiff(PLANES, imagej=True, metadata=COMPOSITE, truncate=True),
    "ImageJ composite, blue first": tiff(PLANES[::-1], imagej=True, metadata={**COMPOSITE, "LUTs": LUTS[::-1]}),
    "ImageJ RGB": tiff(RGB, imagej=True),
    "OME channels": tiff(PLANES, ome=True, metadata={"axes": "CYX"}),
    "OME channels, green first": tiff(
        PLANES[[1, 0, 2]],
        ome=True,
        metadata={"axes": "CYX", "Channel": {"Color": [0x00FF00FF, 0xFF0000FF - 2**32, 0x0000FFFF]}},
    ),
    "a page with a stack's description": tiff(RGB, photometric="rgb", description="ImageJ=1.53\nimages=9\nslices=9\n"),
    "OME samples": tiff(RGB, ome=True, photometric="rgb", metadata={"axes": "YXS"}),
    "channels by tifffile": tiff(PLANES, photometric="minisblack", metadata={"axes": "CYX"}),
    "planes apart": tiff(PLANES, photometric="rgb", planarconfig="separate"),
    "planes apart, in strips": tiff(PLANES, photometric="rgb", planarconfig="separate", rowsperstrip=7),
    "planes apart, in tiles": tiff(PLANES, photometric="rgb", planarconfig="separate", tile=(64, 48)),
    "planes apart, deflated": tiff(PLANES, photometric="rgb", planarconfig="separate", compression="zlib"),
    "tiles": tiff(RGB, photometric="rgb", tile=(64, 48)),
    "big-endian BigTIFF": tiff(RGB, photometric="rgb", bigtiff=True, byteorder=">"),
    "three samples said to be grey": tiff(RGB, photometric="minisblack", planarconfig="contig"),
    "LZW": cv2.imencode(".tif", RGB[..., ::-1])[1].tobytes(),
    "alpha, not multiplied": tiff(
        np.dstack([RGB, labels()]), photometric="rgb", planarconfig="contig", extrasamples=["unassalpha"]
    ),
}


def with_thumbnail() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
    return file.getvalue()


COLOURS["with a thumbnail"] = with_thumbnail()


@pytest.mark.parametrize("data", COLOURS.values(), ids=COLOURS)
def test_colours_are_read_wherever_the_file_has_its_planes(data):
    np.testing.assert_array_equal(decode_image(data, "a.tif"), RGB)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_planes_of_16_bits_are_colours_too(planar):
    deep = RGB.astype(np.uint16) * 257
    data = tiff(deep if planar == "contig" else deep.transpose(2, 0, 1), photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(decode_upright(data, "a.tif"), deep)
    np.testing.assert_array_equal(decode_image(data, "a.tif"), RGB)


STACKS = {
    "ZYX": (tiff(PLANES, imagej=True, metadata={"axes": "ZYX"}), "3 x 120 x 160", PLANES[0]),
    "TYX": (tiff(PLANES, imagej=True, metadata={"axes": "TYX"}), "3 x 120 x 160", PLANES[0]),
    "QYX": (tiff(PLANES, photometric="minisblack"), "3 x 120 x 160", PLANES[0]),
    "QYXS": (tiff(np.stack([RGB, RGB]), photometric="rgb"), "2 x 120 x 160 x 3", RGB),
    "CYX": (tiff(PLANES[:2], imagej=True, metadata=COMPOSITE), "2 x 120 x 160", PLANES[0]),
    "ZCYX": (tiff(np.stack([PLANES] * 2), imagej=True, metadata={"axes": "ZCYX"}), "2 x 3 x 120 x 160", RGB),
    "TZCYX": (tiff(np.stack([[PLANES] * 2] * 4), ome=True, metadata={"axes": "TZCYX"}), "4 x 2 x 3 x 120 x 160", RGB),
    "YXS": (
        tiff(np.dstack([RGB, RGB[..., :2]]), photometric="minisblack", planarconfig="contig"),
        "120 x 160 x 5",
        RGB,
    ),
    "SYX": (
        tiff(np.concatenate([PLANES, PLANES[:1]]), photometric="minisblack", planarconfig="separate"),
        "4 x 120 x 160",
        RGB,
    ),
}


@pytest.mark.parametrize("axes", STACKS)
def test_a_stack_is_refused_with_a_command_that_takes_a_page(tmp_path, axes):
    data, sizes, page = STACKS[axes]
    with pytest.raises(
        Stack, match=re.escape(f"a.tif: is a stack of {sizes} ({axes}), not one image; write")
    ) as caught:
        read_tiff(data, "images/a.tif")
    (tmp_path / "a.tif").write_bytes(data)
    code = re.search('python -c "(.*)"', str(caught.value))
    assert code is not None
    subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, check=True)
    taken = read_tiff((tmp_path / "a_page.tif").read_bytes(), "a_page.tif").values
    np.testing.assert_array_equal(taken, page)


def test_a_set_with_a_stack_for_an_image_names_its_axes(tmp_path):
    folder_of(tmp_path / "images")
    (tmp_path / "images/a.png").rename(tmp_path / "images/b.png")
    (tmp_path / "images/a.tif").write_bytes(STACKS["ZYX"][0])
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels/a.png"), labels())
    (line,) = problems(tmp_path / "labels", tmp_path / "images", None)
    assert line.startswith("a.tif: the image is a stack of 3 x 120 x 160 (ZYX), not one image; write the page")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_is_zero_is_turned_in_images_of_any_depth(kind):
    grey = RGB[..., 0].astype(kind) * (257 if kind == np.uint16 else 1)
    data = tiff(np.iinfo(kind).max - grey, photometric="miniswhite")
    np.testing.assert_array_equal(decode_image(data, "a.tif"), RGB[..., [0, 0, 0]])


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "group4"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_one_bit_is_black_and_white_in_an_image(compression, photometric):
    file, lit = io.BytesIO(), labels() > 0
    Image.fromarray(lit).save(file, "TIFF", compression=compression, tiffinfo={262: photometric})  # inverted for 0
    np.testing.assert_array_equal(decode_image(file.getvalue(), "a.tif")[..., 0], np.where(lit, 255, 0))


def test_a_palette_gives_an_images_colours():
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    for kind in ("TIFF", "PNG", "BMP"):
        np.testing.assert_array_equal(decode_image(with_palette(RGB[..., 0], palette, kind), "a"), palette[RGB[..., 0]])


def test_cmyk_and_jpeg_in_a_tiff_are_read_as_pillow_reads_them():
    smooth = cv2.GaussianBlur(RGB, (0, 0), 3)
    for mode, options, near in (("CMYK", {}, 0), ("RGB", {"compression": "jpeg", "quality": 95}, 6)):
        file = io.BytesIO()
        Image.fromarray(smooth).convert(mode).save(file, "TIFF", **options)
        expected = np.asarray(Image.open(file).convert("RGB")).astype(int)
        assert abs(decode_image(file.getvalue(), "a.tif") - expected).max() <= near


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright_as_pillow_turns_it(orientation):
    data = tiff(RGB, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's transpositions
    expected = Image.fromarray(RGB)
    if orientation > 1:
        expected = expected.transpose(Image.Transpose(turns[orientation]))
    np.testing.assert_array_equal(decode_image(data, "a.tif"), np.asarray(expected))


KINDS = st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "u8", "f4", "f8"])


@given(data=st.data())
def test_what_tifffile_writes_is_read_as_it_is_stored(data):
    kind = data.draw(KINDS)
    samples = data.draw(st.sampled_from([(), (3,)]))
    values = data.draw(arrays(kind, (*data.draw(st.tuples(*[st.integers(2, 40)] * 2)), *samples)))
    options = {
        "photometric": "rgb" if samples else data.draw(st.sampled_from(["minisblack", "miniswhite"])),
        "compression": data.draw(st.sampled_from([None, "zlib"])),
        "byteorder": data.draw(st.sampled_from("<>")),
        "bigtiff": data.draw(st.booleans()),
        **data.draw(st.sampled_from([{}, {"rowsperstrip": 3}, {"tile": (16, 32)}])),
    }
    if samples and data.draw(st.booleans()):
        written = tiff(values.transpose(2, 0, 1).copy(), planarconfig="separate", **options)
    else:
        written = tiff(values, **options)
    np.testing.assert_array_equal(read_tiff(written, "a.tif").values, values)


BAD = {
    "cut short": (COLOURS["tiles"][:-3], "not an image that OpenCV can decode"),
    "of fractions": (tiff(RGB / np.float32(255), photometric="rgb"), "has float32 pixels; save it with 8 or 16 bits"),
    "of half floats": (tiff(RGB[..., 0].astype(np.float16), photometric="minisblack"), "has pixels of float16"),
    "without pages": (b"II*\0\0\0\0\0", "not an image that OpenCV can decode"),
    "of channels in other colours": (
        tiff(
            PLANES,
            imagej=True,
            metadata={**COMPOSITE, "LUTs": [LUTS[0] + LUTS[1], LUTS[1] + LUTS[2], LUTS[0] + LUTS[2]]},
        ),
        "shows its three channels in the colours ",
    ),
}


@pytest.mark.parametrize(("data", "told"), BAD.values(), ids=BAD)
def test_a_tiff_that_is_no_image_is_refused_with_the_reason(data, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        decode_image(data, "a.tif")


def test_the_limit_of_pixels_holds_where_the_header_was_not_looked_at():
    with pytest.raises(ValueError, match=f"has {WIDTH} x {HEIGHT} pixels, and 100 are allowed"):
        read_tiff(COLOURS["tiles"], "a.tif", 100)
