"""Label images and folders of masks in both layouts, against the arrays they were written from; how a folder's format
is recognised; and every fault that is refused."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.smear.make import HEIGHT, WIDTH, image_folder, problems
from wbcjax.smear.formats.checks import Fault
from wbcjax.smear.formats.via_csv import COLUMNS
from wbcjax.smear.read import read, recognise

LABELS = np.zeros((HEIGHT, WIDTH), np.uint8)
LABELS[4:12, 5:15] = 1
LABELS[4:12, 15:20] = 7  # touches the first
LABELS[20:29, 30:40] = 255
CELL = {"cell": 1}
LONE = "it has no annotations, and is left out; "


@pytest.fixture
def images(tmp_path):
    return image_folder(tmp_path / "images", "a.png", "b.jpg")


def written(folder, **values):
    """A folder of image files by their names, in which a double underscore stands for the dot."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, value in values.items():
        cv2.imwrite(str(folder / name.replace("__", ".")), value)
    return folder


def assert_masks(field, expected):
    """The cells' masks are these, in this order."""
    assert len(field.cells) == len(expected)
    for cell, mask in zip(field.cells, expected, strict=True):
        np.testing.assert_array_equal(cell.mask(HEIGHT, WIDTH), mask)


def masks_of(labels):
    return [labels == value for value in np.unique(labels) if value]


# Label images


@pytest.mark.parametrize("file", ["a__png", "a__tif", "a__TIFF", "a__bmp"])
def test_each_value_of_a_label_image_is_a_cell(tmp_path, images, file):
    found = read(written(tmp_path / "labels", **{file: LABELS}), images, file_format="label_images")
    (field,) = found.fields
    assert (field.name, field.height, field.width, field.path) == ("a.png", HEIGHT, WIDTH, images / "a.png")
    assert_masks(field, masks_of(LABELS))
    assert {cell.label for cell in field.cells} == {1}
    assert found.classes == ("cell",)
    assert [str(suspect) for suspect in found.suspects] == [
        f"b.jpg: {LONE}add its label image, one of zeros if it shows no cell"
    ]


@given(labels=arrays(np.uint16, (HEIGHT, WIDTH), elements=st.sampled_from([0, 1, 2, 300, 65535]), fill=st.just(0)))
def test_label_images_of_16_bits_read_as_the_masks_they_are_made_of(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("labels")
    images = image_folder(folder / "images", "a.jpg")
    (field,) = read(written(folder / "labels", a__png=labels), images, CELL).fields
    assert_masks(field, masks_of(labels))


def test_a_label_image_of_32_bit_numbers_is_read(tmp_path, images):
    labels = LABELS.astype(np.int32) * 1000
    (field,) = read(written(tmp_path / "labels", a__tif=labels), images).fields
    assert_masks(field, masks_of(labels))


def test_a_label_image_of_zeros_is_a_field_without_cells(tmp_path, images):
    found = read(written(tmp_path / "labels", a__png=LABELS, b__png=LABELS * 0), images)
    assert [len(field.cells) for field in found.fields] == [3, 0]
    assert found.suspects == []


def test_a_single_label_image_is_read_alone(tmp_path, images):
    found = read(written(tmp_path / "labels", a__png=LABELS, b__png=LABELS) / "a.png", images)
    assert [field.name for field in found.fields] == ["a.png"]
    assert found.suspects == []


def test_pixels_of_one_value_that_lie_apart_are_one_cell_and_noted(tmp_path, images):
    labels = LABELS.copy()
    labels[LABELS > 0] = 3
    labels[0, 0] = 7
    labels[0, 3] = 7  # crumbs
    found = read(written(tmp_path / "labels", a__png=labels, b__png=LABELS), images)
    assert_masks(found.fields[0], masks_of(labels))
    assert [str(suspect) for suspect in found.suspects] == [
        "a.png: 1 of 2 cells are in parts that do not touch (the first: value 3); give each cell a number of its own"
    ]


def test_cells_that_the_class_map_leaves_out_are_counted(tmp_path, images):
    found = read(written(tmp_path / "labels", a__png=LABELS), images, {"cell": 0})
    assert [len(field.cells) for field in found.fields] == [0]
    assert found.left_out == {"cell": 3}


def test_a_class_map_without_the_class_of_label_images_is_one_problem(tmp_path, images):
    (line,) = problems(written(tmp_path / "labels", a__png=LABELS), images, {"myeloma": 1})
    assert line.startswith("labels, 3 cells: unknown class 'cell' (first a.png, value 1); correct it to one of 'myel")


BAD_LABELS = {
    "deep colours": (
        "a__png",
        np.dstack([LABELS, LABELS, LABELS * 0]).astype(np.uint16),
        "the label image has 3 channels of uint16 (a.png); export it with the cells' numbers as grey values",
    ),
    "fractions": ("a__tif", LABELS / np.float32(2), "the label image has float32 values (a.tif); save it as whole"),
    "below 0": ("a__tif", LABELS.astype(np.int16) - 1, "the label image holds -1 (a.tif); number the cells from 1"),
    "a JPEG": ("a__jpg", LABELS, "the label image is of a lossy format (a.jpg); export it as PNG or TIFF"),
    "another size": ("a__png", LABELS.T, "the label image has 30 x 40 pixels, the image has 40 x 30; use the image"),
}


@pytest.mark.parametrize(("file", "labels", "expected"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_a_bad_label_image_is_refused_by_its_image(tmp_path, images, file, labels, expected):
    folder = written(tmp_path / "labels", **{file: labels, "b__png": LABELS})
    (line,) = problems(folder, images, None)
    assert line.startswith("a.png: ")
    assert expected in line
    found = read(folder, images, on_error="skip")
    assert [field.name for field in found.fields] == ["b.jpg"]
    assert found.refused_fields == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_label_image_that_does_not_decode_is_refused(tmp_path, images, content):
    (written(tmp_path / "labels") / "a.png").write_bytes(content)
    (line,) = problems(tmp_path / "labels", images, None)
    assert line.startswith("a.png: the label image ")
    assert "not an image that OpenCV can decode" in line
    assert line.endswith("; export or save it again")


def test_a_label_image_of_several_pages_is_refused(tmp_path, images):
    cv2.imwritemulti(str(written(tmp_path / "labels") / "a.tif"), [LABELS, LABELS])
    (line,) = problems(tmp_path / "labels", images, None)
    assert line.startswith("a.png: the label image is a stack of 2 x 30 x 40 (QYX), not one image (a.tif); write the")


def test_all_problems_of_a_folder_of_label_images_are_listed_at_once(tmp_path, images):
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    (images / "c.jpg").write_bytes(b"no image")
    folder = written(tmp_path / "labels", a__png=LABELS.T, a__tif=LABELS, b__png=LABELS, c__png=LABELS.T, d__png=LABELS)
    assert [line.partition(";")[0] for line in problems(folder, images, None)] == [
        "a.png: the label image has 30 x 40 pixels, the image has 40 x 30",
        "a.png: the image is listed twice",
        "b.png: there are several images of this name: b.jpg, b.png",
        f"c.jpg: the image cannot be read ({images / 'c.jpg'}: not an image that OpenCV can decode",
        "d.png: there is no image d.* in the image folder",
    ]


# Masks named <image>_<number>


def test_segpc_masks_are_cells_in_numbered_order(tmp_path, images):
    """Masks of both values of segpc are cells in the order of their numbers."""
    first, second, third = masks_of(LABELS)
    cytoplasm_and_nucleus = np.uint8(20) * first
    cytoplasm_and_nucleus[6:9, 7:10] = 40
    colours = np.dstack([np.uint8(40) * second] * 3)
    with_alpha = np.dstack([*[np.uint8(255) * third] * 3, np.full_like(LABELS, 255)])
    folder = written(tmp_path / "y", a_2__bmp=colours, a_10__png=with_alpha, a_1__bmp=cytoplasm_and_nucleus)
    found = read(folder, images, CELL)
    assert [field.name for field in found.fields] == ["a.png"]
    assert_masks(found.fields[0], [first, second, third])
    assert [str(suspect) for suspect in found.suspects] == [f"b.jpg: {LONE}draw masks of its cells, if it has any"]


def test_masks_of_images_with_numbers_in_their_names_find_their_own(tmp_path):
    images = image_folder(tmp_path / "images", "smear_1.png", "smear.png")
    first, second, third = (np.uint8(255) * mask for mask in masks_of(LABELS))
    fields = read(written(tmp_path / "y", smear_1__png=first, smear_1_1__png=second, smear_2__png=third), images).fields
    assert [field.name for field in fields] == ["smear.png", "smear_1.png"]
    assert_masks(fields[0], [first > 0, third > 0])
    assert_masks(fields[1], [second > 0])


def test_masks_with_a_word_in_their_names_find_their_image(tmp_path, images):
    first, second, _ = (np.uint8(255) * mask for mask in masks_of(LABELS))
    folder = written(tmp_path / "y", a_mask_1__png=first, a_mask_2__png=second, b_1__png=first)
    assert recognise(folder, images) == "mask_folders"
    found = read(folder, images)
    assert [(field.name, len(field.cells)) for field in found.fields] == [("a.png", 2), ("b.jpg", 1)]
    assert found.suspects == []


def test_a_mask_that_holds_several_cells_is_noted(tmp_path, images):
    found = read(written(tmp_path / "y", a_1__png=LABELS, b_1__png=LABELS), images)
    assert str(found.suspects[0]) == (
        "a.png: 1 of 1 cells are in parts that do not touch (the first: a_1.png); save a mask for each cell"
    )


BAD_MASKS = {
    "empty": ("a_2__png", LABELS * 0, "a.png, mask a_2.png: the mask is empty; delete it or draw the cell"),
    "transparent": ("a_2__png", np.dstack([LABELS * 0] * 3 + [LABELS]), "a.png, mask a_2.png: the mask is empty"),
    "another size": ("a_2__png", LABELS.T, "a.png, mask a_2.png: the mask has 30 x 40 pixels, the image has 40 x 30"),
    "fractions": ("a_2__tif", LABELS / np.float32(2), "a.png, mask a_2.tif: the mask has float32 values (a_2.tif)"),
    "a JPEG": ("a_2__jpg", LABELS, "a.png, mask a_2.jpg: the mask is of a lossy format (a_2.jpg); export it as PNG"),
    "no number": ("a_x__png", LABELS, "y, mask a_x.png: its name is not <image>_<number>; name it after its image"),
}


@pytest.mark.parametrize(("file", "mask", "expected"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_bad_mask_is_refused_by_image_and_file(tmp_path, images, file, mask, expected):
    first = np.uint8(255) * masks_of(LABELS)[0]
    folder = written(tmp_path / "y", a_1__png=first, b_1__png=first, **{file: mask})
    (line,) = problems(folder, images, None)
    assert line.startswith(expected)
    found = read(folder, images, on_error="skip")
    assert [len(field.cells) for field in found.fields] == [1, 1]
    assert (found.refused_fields, found.refused_cells) == (0, 1)


def test_the_masks_of_a_missing_image_are_one_problem(tmp_path, images):
    first = np.uint8(255) * masks_of(LABELS)[0]
    folder = written(tmp_path / "y", a_1__png=first, b_1__png=first, gone_1__png=first, gone_2__png=first)
    (line,) = problems(folder, images, None)
    assert line == "gone_*: there is no image gone.* in the image folder; add the image or delete its annotations"


# The layout of the 2018 Data Science Bowl


def bowl(root, **masks):
    """A folder for each id with its image, and masks unless they are None."""
    for name, of_image in masks.items():
        (root / name).mkdir(parents=True)
        image_folder(root / name / "images", f"{name}.png")
        if of_image is not None:
            files = {f"{number:02d}f__png": np.uint8(255) * mask for number, mask in enumerate(of_image)}
            written(root / name / "masks", **files)
    return root


def test_each_mask_in_an_images_folder_is_a_cell(tmp_path):
    """A folder for each image gives a field with a cell for each mask."""
    root = bowl(tmp_path / "train", c=masks_of(LABELS), a=[], b=None)
    found = read(root, root, CELL)
    assert [(field.name, len(field.cells)) for field in found.fields] == [("a/images/a.png", 0), ("c/images/c.png", 3)]
    assert found.fields[1].path == root / "c/images/c.png"
    assert_masks(found.fields[1], masks_of(LABELS))
    assert [str(suspect) for suspect in found.suspects] == [
        f"b/images/b.png: {LONE}add its masks, or an empty folder named masks if it shows no cell"
    ]


def test_all_problems_of_folders_for_each_image_are_listed_at_once(tmp_path):
    root = bowl(tmp_path / "train", a=[LABELS > 0, LABELS > 255], b=[LABELS.T > 0], c=[], d=[])
    (root / "c/images/c.png").unlink()
    cv2.imwrite(str(root / "d/images/other.png"), LABELS)
    assert [line.partition(";")[0] for line in problems(root, root, None)] == [
        "a/images/a.png, mask 01f.png: the mask is empty",
        "b/images/b.png, mask 00f.png: the mask has 30 x 40 pixels, the image has 40 x 30",
        "c: its folder images holds 0 images",
        "d: its folder images holds 2 images",
    ]


def test_another_image_folder_beside_folders_for_each_image_is_refused(tmp_path, images):
    root = bowl(tmp_path / "train", a=[LABELS > 0])
    (line,) = problems(root, images, None)
    assert line.startswith("train: the images lie beside the masks, and another image folder is given; give this fol")


# Recognising the format


def test_each_layout_is_told_from_the_others(tmp_path, images):
    assert recognise(written(tmp_path / "labels", a__png=LABELS, other__png=LABELS), images) == "label_images"
    assert recognise(written(tmp_path / "y", a_1__png=LABELS, a_2__png=LABELS), images) == "mask_folders"
    assert recognise(bowl(tmp_path / "train", a=None, b=[]), tmp_path / "train") == "mask_folders"
    for name, content, expected in [
        ("x.xml", "<annotation/>", "voc"),
        ("l.json", '{"shapes": []}', "labelme"),
        ("broken.json", "{", "labelme"),
    ]:
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(content)
        written(folder, a__png=LABELS)  # images beside their annotations
        assert recognise(folder, images) == expected
        assert recognise(folder, folder) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.xml", "<annotation/>", "voc"),
        ("a.csv", ",".join(COLUMNS), "via"),
        ("a.json", '{"shapes": []}', "labelme"),
        ("a.json", '{"images": []}', "coco"),
        ("a.json", "{}", "via"),
    ],
)
def test_a_file_is_told_by_its_content(tmp_path, images, name, content, expected):
    (tmp_path / name).write_text(content)
    assert recognise(tmp_path / name, images) == expected


def refusal(folder, images):
    with pytest.raises(Fault) as caught:
        recognise(folder, images)
    return f"{caught.value.found}; {caught.value.remedy}"


def test_a_folder_without_annotations_is_refused_and_its_folders_are_named(tmp_path, images):
    expected = "the folder holds no annotations (*.xml, *.json, masks or label images); correct its path"
    assert refusal(images, images) == expected
    assert refusal(written(tmp_path / "empty"), images) == expected
    written(tmp_path / "root/masks")
    written(tmp_path / "root/images")
    assert refusal(tmp_path / "root", images) == f"{expected} (it holds the folders ['images', 'masks'])"


def test_a_folder_that_could_be_of_two_formats_is_refused(tmp_path, images):
    (written(tmp_path / "both") / "a.xml").write_text("<annotation/>")
    (tmp_path / "both/a.json").write_text('{"shapes": []}')
    assert refusal(tmp_path / "both", images).startswith("it may be of the formats labelme and voc; say which")
    mixed = written(tmp_path / "mixed", a__png=LABELS, b_1__png=LABELS)
    assert refusal(mixed, images) == (
        "1 of its 2 images are named after one of the image folder, as label images are, and 1 with _<number> added, "
        f"as masks are; say which they are, or correct the image folder {images}"
    )


def test_the_folder_of_a_via_or_coco_file_is_refused_with_its_name(tmp_path, images):
    (images / "via_project.json").write_text("{}")
    assert refusal(images, images) == (
        "the folder holds *.json files, and none is of LabelMe (the first: via_project.json); it is JSON of no known "
        "format; name the file itself if it is of VIA or COCO; else export the annotations from their tool as COCO, "
        "which keeps outlines and classes"
    )


@pytest.mark.parametrize("file_format", ["label_images", "mask_folders"])
def test_the_image_folder_given_for_its_own_annotations_is_refused(images, file_format):
    (line,) = problems(images, images, None, file_format=file_format)
    assert "lie in one folder; put the" in line


@pytest.mark.parametrize("file_format", ["label_images", "mask_folders", "labelme", "voc"])
def test_a_path_that_is_not_there_is_refused(tmp_path, images, file_format):
    (line,) = problems(tmp_path / "gone", images, None, file_format=file_format)
    assert line.startswith("gone: cannot be read (No such file or directory); correct the path")
    (line,) = problems(written(tmp_path / "empty"), images, None, file_format=file_format)
    assert line.startswith("empty: the folder holds no *.")
    (line,) = problems(tmp_path / "empty", tmp_path / "gone", None, file_format=file_format)
    assert line == f"empty: the image folder {tmp_path / 'gone'} is not a folder; correct its path"
