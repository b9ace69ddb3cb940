"""ALL-IDB's centroids: points that are counted by class and field, and that train nothing."""

import numpy as np
import pytest

from tests.input.sets import describe
from tests.smear import disc_arrays as discs
from tests.smear.disc_arrays import P1
from tests.smear.make import problems
from wbcjax.commands.inspect.annotated_set import inspect, inspection_blocks
from wbcjax.input.field_set import source
from wbcjax.smear.field import AnnotationError, Cell, SmearField
from wbcjax.smear.read import read, recognise
from wbcjax.system.terminal import plain

NAMES = ("Im001_1.jpg", "Im002_1.jpg", "Im003_0.jpg", "Im004_0.jpg")


@pytest.fixture
def images(tmp_path):
    return discs.image_folder(tmp_path / "im", *NAMES)


@pytest.fixture
def make(tmp_path):
    def write(files: dict[str, str]):
        (tmp_path / "xyc").mkdir()
        for name, text in files.items():
            (tmp_path / "xyc" / name).write_text(text)
        return tmp_path / "xyc"

    return write


def test_centroids_are_points_and_healthy_images_need_no_file(make, images):
    folder = make({"Im001_1.xyc": "40\t41\r\n110.5 70\r\n\r\n", "Im003_0.xyc": ""})
    assert recognise(folder, images) == "xyc"
    found = read(folder, images)
    assert found.classes == ("blast",)
    assert [(field.name, len(field.points), field.cells) for field in found.fields] == [
        ("Im001_1.jpg", 2, ()),
        ("Im003_0.jpg", 0, ()),
        ("Im004_0.jpg", 0, ()),
    ]
    np.testing.assert_array_equal(found.fields[0].points, [[40, 41], [110.5, 70]])
    assert list(found.fields[0].point_labels) == [1, 1]
    told = [(suspect.file, suspect.found) for suspect in found.suspects]
    assert ("Im002_1.jpg", "it has no annotations, and is left out") in told


def test_points_in_an_image_named_healthy_are_worth_a_look(make, images):
    found = read(make({"Im001_1.xyc": "1 1", "Im002_1.xyc": "", "Im003_0.xyc": "40 40"}), images)
    told = [(suspect.file, suspect.found) for suspect in found.suspects]
    assert ("Im003_0.jpg", "its name ends in _0, as those of healthy persons do, and it has 1 points") in told


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("40", "found '40' where x and y belong"),
        ("40 40 1", "found '40 40 1' where x and y belong"),
        ("40 x", "the point (40, nan) is not finite"),
        ("200 40", "the point (200, 40) lies outside the 160 x 120 image"),
    ],
)
def test_a_line_that_is_no_point_is_refused(make, images, line, expected):
    (told,) = problems(make({"Im001_1.xyc": f"1 1\n{line}\n"}), images, None)
    assert told.startswith(f"Im001_1.jpg, line 2: {expected}")


def test_points_of_a_class_to_leave_out_are_counted_as_such(make, images):
    found = read(make({"Im001_1.xyc": "40 41\n110 70\n"}), images, {"blast": 0})
    assert found.left_out == {"blast": 2}
    assert not any(len(field.points) for field in found.fields)


def test_inspect_counts_points_and_says_that_they_train_nothing(make, images):
    looked_over = inspect(make({"Im001_1.xyc": "40 41\n110 70\n", "Im002_1.xyc": "50 50"}), images)
    text = plain(*inspection_blocks(looked_over))
    assert "class  points  fields" in text
    assert "blast       3       2" in text
    assert "Cells that are points are counted, and train nothing" in " ".join(text.split())
    assert "left out 3 cells that are points: they are counted, and train nothing" in looked_over.found.omissions()


def test_a_class_of_points_can_be_left_out_of_an_inspection(make, images):
    looked_over = inspect(make({"Im001_1.xyc": "40 41"}), images, leave_out=["blast"])
    assert not any(len(field.points) for field in looked_over.fields)


def test_a_set_of_points_is_refused_for_training_with_the_remedy(make, images, tmp_path):
    config = describe(make({"Im001_1.xyc": "40 41\n110 70\n"}), images, "xyc", ("blast",))
    with pytest.raises(AnnotationError, match=r"its 2 cells are points.*draw their outlines or boxes"):
        source(config, "train", tmp_path / "cache")


def test_a_field_takes_a_label_for_each_point(images):
    with pytest.raises(ValueError, match="has 1 points and 0 labels of points"):
        SmearField("a.png", 9, 9, (Cell(1, (P1,)),), images / "a.png", points=np.zeros((1, 2)))
