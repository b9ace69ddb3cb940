"""Label files of every kind that tools write: palettes, fractions, colours, cellpose's; against the arrays in them."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.smear.discs import HEIGHT, WIDTH, folder_of, image, labels, tiff, with_palette
from tests.smear.make import problems
from wbcjax.evaluate.set_statistics import measure, tabulate
from wbcjax.evaluate.suspects import suspects_of_cells
from wbcjax.smear.formats.checks import Fault
from wbcjax.smear.formats.label_values import read_labels
from wbcjax.smear.read import FieldSet, read, recognise

VOC = [  # the colours of Pascal VOC by their index
    [sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)]
    for index in range(256)
]
VOC_PALETTE = np.array(VOC, np.uint8)


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values if values.ndim == 2 else values[..., ::-1])[1].tobytes()


def npy(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value, **options)
    return file.getvalue()


def cellpose(masks: Any, **more: Any) -> bytes:
    """What cellpose saves as _seg.npy, with all that is in it beside the masks."""
    flows = [np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((1, 2, HEIGHT, WIDTH), np.float32), [], np.float32(0.4)]
    saved = {"outlines": labels() * 0, "colors": np.zeros((2, 3), np.uint8), "masks": masks, "chan_choose": [0, 0]}
    saved |= {"filename": "C:/a.png", "flows": flows, "ismanual": np.zeros(2, bool), "est_diam": np.float64(30.5)}
    saved |= {"manual_changes": [["01/02/2026, 10:00:00", "added mask", [[1, 2, 3]]]], "model_path": 0} | more
    return npy(saved, allow_pickle=True)


def read_as(place: Path, content: bytes, name: str = "a.png", **options: Any) -> FieldSet:
    """The set of the one image and this label file."""
    folder_of(place / "images")
    (place / "labels").mkdir()
    (place / "labels" / name).write_bytes(content)
    return read(place / "labels", place / "images", **options)


def assert_discs(found: FieldSet, values: np.ndarray | None = None) -> None:
    """The set is one field with a cell for each value, by default the two discs."""
    values = labels() if values is None else values
    (field,) = found.fields
    expected = [values == value for value in np.unique(values) if value]
    assert len(field.cells) == len(expected)
    for cell, mask in zip(field.cells, expected, strict=True):
        np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), mask)


GLASBEY = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)  # a lookup table of Fiji's, say
READ = {
    "a palette PNG": ("a.png", with_palette(labels(), VOC_PALETTE)),
    "a palette PNG of few colours": ("a.png", with_palette(labels(), VOC_PALETTE[:4])),
    "a palette TIFF": ("a.tif", with_palette(labels(), GLASBEY, "TIFF")),
    "a palette BMP": ("a.bmp", with_palette(labels(), GLASBEY, "BMP")),
    "white is zero": ("a.tif", tiff(labels(), photometric="miniswhite")),
    "white is zero, 16 bits": ("a.tif", tiff(labels().astype(np.uint16), photometric="miniswhite")),
    "whole floats": ("a.tif", tiff(labels().astype(np.float32), photometric="minisblack")),
    "whole doubles": ("a.tif", tiff(labels().astype(np.float64), photometric="minisblack", compression="zlib")),
    "64 bits": ("a.tif", tiff(labels().astype(np.uint64), photometric="minisblack")),
    "three equal channels": ("a.png", png(np.dstack([labels()] * 3))),
    "alpha": ("a.png", cv2.imencode(".png", np.dstack([labels()] * 3 + [np.uint8(255) * (labels() > 0)]))[1].tobytes()),
    "NumPy": ("a.npy", npy(labels().astype(np.int32))),
    "NumPy, by columns": ("a.npy", npy(np.asfortranarray(labels()).astype(">u2"))),
    "cellpose's PNG": ("a_cp_masks.png", png(labels())),
    "cellpose's TIFF": ("a_masks.tif", tiff(labels().astype(np.uint16), photometric="minisblack")),
    "cellpose's .npy": ("a_seg.npy", cellpose(labels().astype(np.uint16))),
    "a word in the name": ("a_Mask.png", png(labels())),
}


@pytest.mark.parametrize(("name", "content"), READ.values(), ids=READ)
def test_labels_are_read_as_they_are_stored(tmp_path, name, content):
    found = read_as(tmp_path, content, name)
    assert_discs(found)
    assert found.suspects == []


def test_colours_are_one_cell_each_and_told(tmp_path):
    shown = VOC_PALETTE[labels()]
    found = read_as(tmp_path, png(shown))
    assert_discs(found, shown.astype(int) @ [65536, 256, 1])
    assert [str(suspect) for suspect in found.suspects] == [
        "a.png: its 2 colours are taken for cells, one for each colour; black is the ground; export the cells' numbers "
        "as grey values if a colour is a class"
    ]


@pytest.mark.parametrize("kind", ["indices", "colours"])
def test_the_border_of_voc_is_ground_and_told(tmp_path, kind):
    drawn = labels()
    drawn[:2] = 255
    content = with_palette(drawn, VOC_PALETTE) if kind == "indices" else png(VOC_PALETTE[drawn])
    found = read_as(tmp_path, content)
    assert len(found.fields[0].cells) == 2
    assert str(found.suspects[0]).startswith(
        "a.png: 320 pixels of the colour 224,224,192, the border of Pascal VOC, ar"
    )


def test_255_is_a_cell_where_no_palette_says_otherwise(tmp_path):
    assert_discs(read_as(tmp_path, png(labels(1, 255))), labels(1, 255))


def test_a_photograph_in_the_place_of_labels_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    folder_of(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.png").write_bytes(png(noise))
    (line,) = problems(tmp_path / "labels", tmp_path / "images", None)
    assert "colours, as a photograph has; export the cells' numbers as grey values" in line


# cellpose beside the images


@pytest.mark.parametrize("name", ["a_cp_masks.png", "a_cp_masks.tif", "a_masks.png", "a_masks.tif", "a_seg.npy"])
def test_cellposes_masks_are_read_beside_their_image(tmp_path, name):
    folder = folder_of(tmp_path / "images", ("a.png", "b.png"))
    content = {"png": png(labels()), "tif": tiff(labels(), photometric="minisblack"), "npy": cellpose(labels())}
    (folder / name).write_bytes(content[name[-3:]])
    (folder / "a_flows.tif").write_bytes(png(image()))
    assert recognise(folder, folder) == "label_images"
    found = read(folder, folder)
    assert_discs(found)
    assert [str(suspect) for suspect in found.suspects] == [
        "b.png: it has no annotations, and is left out; add its label image, one of zeros if it shows no cell"
    ]


def test_images_named_as_cellposes_own_find_their_masks(tmp_path):
    folder = folder_of(tmp_path / "images", ("000_img.png",))
    (folder / "000_masks.png").write_bytes(png(labels()))
    assert_discs(read(folder, folder))


def test_of_two_files_of_cellpose_the_npy_is_read_and_the_other_told(tmp_path):
    folder = folder_of(tmp_path / "images")
    (folder / "a_cp_masks.png").write_bytes(png(labels() * 0))
    (folder / "a_seg.npy").write_bytes(cellpose(labels()))
    found = read(folder, folder)
    assert_discs(found)
    assert [suspect.file for suspect in found.suspects] == ["a_cp_masks.png"]


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("attacked"),))


STACKED = np.zeros((3, HEIGHT, WIDTH), np.uint16)
BAD_NPY = {
    "code": (cellpose(Attack()), "nothing was executed"),
    "code in place of all": (npy(np.array(Attack(), object)), "nothing was executed"),
    "no masks": (npy({"outlines": labels()}, allow_pickle=True), 'it has no array "masks"'),
    "masks that are none": (cellpose([1, 2]), 'it has no array "masks"'),
    "masks of fractions": (cellpose(labels() / 2), "the label image has float64 values (a_seg.npy)"),
    "a stack": (cellpose(STACKED), "is an array of shape (3, 120, 160), not (height, width)"),
    "a list": (npy(np.array([1, {}], object), allow_pickle=True), 'it has no array "masks"'),
    "texts": (npy(np.array([["a"]])), "its header tells no array of numbers"),
    "records": (npy(np.zeros((3, 4), "i4,f4")), "its header tells no array of numbers"),
    "cut short": (npy(labels())[:-1], "bytes for (120, 160) uint8"),
    "cut short, pickled": (cellpose(labels())[:-9], "damaged"),
    "no header": (b"\x93NUMPY\x01\0\xff\xff{     ", "its header is cut short"),
    "a broken header": (b"\x93NUMPY\x01\0\x02\0{(", "its header is damaged"),
    "a pickle alone": (pickle.dumps({"masks": labels()}), "no .npy file"),
    "another size": (cellpose(labels()[:-1]), "the label image has 160 x 119 pixels, the image has 160 x 120"),
    "below 0": (npy(labels().astype(np.int16) - 1), "the label image holds -1 (a_seg.npy); number the cells"),
}


@pytest.mark.parametrize(("content", "told"), BAD_NPY.values(), ids=BAD_NPY)
def test_an_npy_that_holds_no_labels_is_refused_unexecuted(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path / "images")
    (folder / "a_seg.npy").write_bytes(content)
    (line,) = problems(folder, folder, None)
    assert line.startswith("a.png: the label image ")
    assert told in line
    assert not Path("attacked").exists()


def test_a_header_that_claims_much_takes_no_memory(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(labels()).replace(b"(120, 160)", b"(2**9, 99)"))
    with pytest.raises(Fault, match="damaged"):
        read_labels(tmp_path / "a.npy", "it", 2**29)
    (tmp_path / "a.npy").write_bytes(npy(labels()))
    with pytest.raises(Fault, match="has 19200 pixels, and 19199 are allowed"):
        read_labels(tmp_path / "a.npy", "it", HEIGHT * WIDTH - 1)


@given(masks=arrays(st.sampled_from(["u1", "u2", "i4", "<i8", ">u4"]), (7, 9), elements=st.integers(0, 120)))
def test_cellposes_masks_of_any_type_are_what_was_saved(tmp_path_factory, masks):
    path = tmp_path_factory.getbasetemp() / "a_seg.npy"
    path.write_bytes(cellpose(masks))
    np.testing.assert_array_equal(read_labels(path, "it", 100).numbers, masks)


# Suspects


@pytest.mark.parametrize("kind", ["inverted", "across", "large"])
def test_a_cell_that_covers_its_field_is_worth_a_look(tmp_path, kind):
    drawn = labels()
    if kind == "inverted":
        drawn[drawn == 0] = 3
    elif kind == "across":
        drawn[[0, -1]], drawn[:, [0, -1]] = 3, 3
    else:
        drawn[10:110, 10:150] = 3
    found = read_as(tmp_path, png(drawn))
    measures = [measure(field) for field in found.fields]
    told = [s for s in suspects_of_cells(measures, tabulate(measures), ["cell"]) if "cover" in s.kind]
    assert len(told) == 1
    share = round(100 * float((drawn == 3).mean()))
    assert told[0].problem.found == f"covers {share} % of the field" + ", from border to border" * (kind != "large")


def test_a_set_of_labels_in_cocos_place_is_not_taken_for_one(tmp_path):
    """A document beside masks is what was annotated."""
    folder = folder_of(tmp_path / "images")
    (folder / "a_masks.png").write_bytes(png(labels()))
    (folder / "set.json").write_text(json.dumps({"images": []}))
    with pytest.raises(Fault, match="holds"):
        recognise(folder, folder)
