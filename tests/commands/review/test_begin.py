"""How a review begins: its images and classes, what is left out, and what a second opening reads again."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from tests.commands.review.make import CLASSES, SIZE, square, write_images
from wbcjax.commands.review import begin
from wbcjax.commands.review.begin import begun, check_folder
from wbcjax.commands.review.exports import Exporter
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.formats.via import write_via
from wbcjax.smear.read import read


def options(folder: Path, **values) -> argparse.Namespace:
    given = {"annotations": None, "classes": None, "group_attribute": None, "min_score": None, "reviewer": None}
    given |= {"place": [folder / "images"], "out": folder / "review", "max_pixels": 10**6}
    return argparse.Namespace(**given | values)


def annotate(folder: Path) -> Path:
    """Two fields of a patient and one of another; the last has no cell."""
    images = write_images(folder / "images", ("a.png", "b.png", "c.png"))
    cells = [(Cell(2, (np.array(square(10, 10)),)), Cell(1, (np.array(square(60, 10)),))), (), ()]
    fields = [
        SmearField(image.name, *SIZE, of_field, path=image.path, group=group)
        for image, of_field, group in zip(images, cells, ("p", "p", "q"), strict=True)
    ]
    write_via(folder / "via.json", fields, CLASSES)
    return folder / "via.json"


def test_a_review_of_annotations_begins_with_their_cells_classes_and_patients(tmp_path):
    reviewed, models, left = begun(options(tmp_path, annotations=annotate(tmp_path), group_attribute="group"))
    assert reviewed.settings.classes == CLASSES
    assert [[cell.label for cell in field.review.cells.values()] for field in reviewed.fields] == [[2, 1], [], []]
    assert (models, left) == ([], [])
    Exporter(reviewed).write()
    written = read(tmp_path / "review/via.json", tmp_path / "images", group_attribute="group").fields
    assert [field.group for field in written] == ["p", "p", "q"]


def test_what_a_review_does_not_keep_of_annotations_is_told(tmp_path):
    _, _, left = begun(options(tmp_path, annotations=annotate(tmp_path)))
    assert left == ["not kept: 3 group(s), which --group-attribute would keep"]


def test_an_image_that_cannot_be_read_is_told_and_left_out(tmp_path):
    write_images(tmp_path / "images", ("a.png", "b.png"))
    (tmp_path / "images/b.png").write_bytes(b"no image")
    reviewed, _, left = begun(options(tmp_path, classes=list(CLASSES)))
    assert [field.image.name for field in reviewed.fields] == ["a.png"]
    assert "b.png" in left[0]
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(ValueError, match="none of its images can be read"):
        begun(options(tmp_path, classes=list(CLASSES)))


def test_a_second_opening_decodes_new_images_alone(tmp_path, monkeypatch):
    write_images(tmp_path / "images", ("a.png",))
    begun(options(tmp_path))
    write_images(tmp_path / "images", ("b.png",))
    decoded = []
    monkeypatch.setattr(begin, "read_image", lambda path, most: decoded.append(path.name) or np.zeros((*SIZE, 3)))
    reviewed, _, _ = begun(options(tmp_path))
    assert decoded == ["b.png"]
    assert [(field.image.height, field.image.width) for field in reviewed.fields] == [SIZE, SIZE]


def test_the_score_that_a_review_began_with_stays(tmp_path):
    write_images(tmp_path / "images", ("a.png",))
    assert begun(options(tmp_path, min_score=0.3))[0].settings.threshold == 0.3
    assert begun(options(tmp_path))[0].settings.threshold == 0.3
    with pytest.raises(ValueError, match=r"began with --min-score 0\.3"):
        begun(options(tmp_path, min_score=0.4))


def test_a_folder_that_holds_something_else_is_no_place_for_a_review(tmp_path):
    write_images(tmp_path / "images", ("a.png",))
    check_folder(tmp_path / "review", tmp_path / "images")
    begun(options(tmp_path))
    check_folder(tmp_path / "review", tmp_path / "images")
    with pytest.raises(ValueError, match="where the images lie"):
        check_folder(tmp_path / "images", tmp_path / "images/a.png")
    with pytest.raises(FileExistsError, match="holds something else"):
        check_folder(tmp_path, tmp_path / "images")
