"""The pixel size that image files state, as tifffile and Pillow write them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wbcjax.smear.pixel_size import stated_pixel_size

IMAGE = np.zeros((20, 30, 3), np.uint8)


def tiff(path: Path, **options) -> float:
    tifffile.imwrite(path, IMAGE, **options)
    return stated_pixel_size(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        (40000, "CENTIMETER", 0.25),
        (101600, "INCH", 0.25),
        (500000, "CENTIMETER", 0.02),
        (1000, "CENTIMETER", 10.0),
        (72, "INCH", 0.0),  # for print
        (300, "INCH", 0.0),
        (600000, "CENTIMETER", 0.0),  # no light microscope
        (40000, "NONE", 0.0),
    ],
)
def test_the_resolution_of_a_tiff_is_taken_where_a_microscope_has_it(tmp_path, order, big, resolution, unit, expected):
    found = tiff(
        tmp_path / "a.tif", resolution=(resolution, resolution), resolutionunit=unit, byteorder=order, bigtiff=big
    )
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("micron", 4.0, 0.25),
        ("um", 4.0, 0.25),
        (r"\u00B5m", 4.0, 0.25),
        ("nm", 0.004, 0.25),
        ("mm", 4000.0, 0.25),
        ("cm", 40000.0, 0.25),
        ("inch", 101600.0, 0.25),
        ("pixel", 4.0, 0.0),
        ("parsec", 4.0, 0.0),
        (None, 4.0, 0.0),
    ],
)
def test_imagej_has_a_unit_of_its_own(tmp_path, unit, per_unit, expected):
    metadata = {"axes": "YXS"} | ({"unit": unit} if unit else {})
    found = tiff(tmp_path / "a.tif", imagej=True, resolution=(per_unit, per_unit), metadata=metadata)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("sign", ["\N{MICRO SIGN}m".encode("latin-1"), "\N{MICRO SIGN}m".encode()])
def test_imagejs_micro_sign_is_known_in_either_encoding(tmp_path, sign):
    text = b"ImageJ=1.54f\nunit=" + sign + b"\n"
    options = {"resolution": (4.0, 4.0), "resolutionunit": "NONE", "metadata": None}
    assert tiff(tmp_path / "a.tif", extratags=[(270, "s", len(text) + 1, text, True)], **options) == 0.25


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [(0.25, None, 0.25), (250, "nm", 0.25), (0.00025, "mm", 0.25), (0.25, "pixel", 0.0), (250, None, 0.0)],
)
def test_ome_states_the_size_with_its_unit(tmp_path, size, unit, expected):
    sides = {f"PhysicalSize{axis}": size for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"} if unit else {}
    found = tiff(tmp_path / "a.ome.tif", ome=True, metadata={"axes": "YXS", **sides, **units})
    assert found == pytest.approx(expected)


def test_ome_without_a_size_leaves_it_to_the_tiff(tmp_path):
    options = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER", "metadata": {"axes": "YXS"}}
    assert tiff(tmp_path / "a.ome.tif", ome=True, **options) == pytest.approx(0.25)


def test_the_resolution_of_a_png_is_in_pixels_per_metre(tmp_path):
    for dpi, expected in ((101600, 0.25), (72, 0.0)):
        Image.fromarray(IMAGE).save(tmp_path / "a.png", dpi=(dpi, dpi))
        assert stated_pixel_size(tmp_path / "a.png") == pytest.approx(expected, rel=1e-4)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    assert stated_pixel_size(tmp_path / "a.png") == 0.0


def test_a_pngs_ratio_without_a_unit_is_no_size(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png", dpi=(101600, 101600))
    data = (tmp_path / "a.png").read_bytes()
    place = data.index(b"pHYs")
    chunk = b"pHYs" + struct.pack(">IIB", 4_000_000, 4_000_000, 0)
    (tmp_path / "a.png").write_bytes(data[:place] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[place + 17 :])
    assert stated_pixel_size(tmp_path / "a.png") == 0.0


def test_pixels_that_are_not_square_have_no_one_size(tmp_path):
    options = {"resolutionunit": "CENTIMETER"}
    assert tiff(tmp_path / "a.tif", resolution=(40000, 20000), **options) == 0.0
    assert tiff(tmp_path / "a.tif", resolution=(40000, 40001), **options) == pytest.approx(0.25)


def test_formats_that_state_no_size_have_none_and_absent_files_are_errors(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.bmp", dpi=(101600, 101600))
    assert stated_pixel_size(tmp_path / "a.bmp") == 0.0
    (tmp_path / "empty.tif").write_bytes(b"")
    assert stated_pixel_size(tmp_path / "empty.tif") == 0.0
    with pytest.raises(FileNotFoundError):
        stated_pixel_size(tmp_path / "absent.tif")


def test_a_resolution_of_nought_is_no_size(tmp_path):
    tiff(tmp_path / "a.tif", resolution=((40000, 1), (40000, 1)), resolutionunit="CENTIMETER")
    data = (tmp_path / "a.tif").read_bytes()
    for wrong in (struct.pack("<II", 40000, 0), struct.pack("<II", 0, 1)):
        (tmp_path / "b.tif").write_bytes(data.replace(struct.pack("<II", 40000, 1), wrong))
        assert stated_pixel_size(tmp_path / "b.tif") == 0.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    tiff(folder / "a.tif", resolution=(40000, 40000), resolutionunit="CENTIMETER")
    tiff(folder / "b.tif", imagej=True, resolution=(4, 4), metadata={"unit": "um", "axes": "YXS"})
    tiff(folder / "c.tif", bigtiff=True, resolution=(40000, 40000), resolutionunit="CENTIMETER")
    Image.fromarray(IMAGE).save(folder / "d.png", dpi=(101600, 101600))
    return folder, [path.read_bytes() for path in sorted(folder.iterdir())]


@settings(max_examples=200)
@given(
    st.integers(0, 3), st.integers(0, 5000), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
)
def test_broken_files_have_a_size_or_none_and_raise_nothing(whole, which, length, changes):
    folder, files = whole
    data = bytearray(files[which])
    for place, value in changes:
        data[place % len(data)] = value
    (folder / "broken").write_bytes(data[:length])
    assert 0 <= stated_pixel_size(folder / "broken") <= 10
