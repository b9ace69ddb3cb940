"""The model at work beside a review: which fields it searches, and what it cannot."""

import subprocess
import sys

import numpy as np

from tests.commands.review.make import act
from tests.oracle import CLASSES, oracle, paint
from wbcjax.commands.review.reviewed_set import ImageFile, ReviewedSet, ReviewSettings
from wbcjax.commands.review.searching import Searching
from wbcjax.system.files import write_png

SIZE = (64, 96)
ONE, OTHER = (10, 10, 30, 30), (40, 20, 60, 50)
NAMES = ("a.png", "b.png", "c.png")


def painted(folder) -> ReviewedSet:
    images = [ImageFile(name, folder / "images" / name, *SIZE) for name in NAMES]
    for image in images:
        write_png(image.path, paint(*SIZE, {ONE: 1, OTHER: 2}))
    return ReviewedSet(folder / "review", images, ReviewSettings(CLASSES))


def run(reviewed: ReviewedSet, number: int = 0) -> Searching:
    searching = Searching(reviewed, oracle(SIZE, (1.0, 1.0)), number)
    searching.run()
    return searching


def test_every_open_field_is_searched_and_none_that_is_done(tmp_path):
    reviewed = painted(tmp_path)
    act(reviewed, 1, "done")
    searching = run(reviewed)
    assert [len(field.review.cells) for field in reviewed.fields] == [2, 0, 2]
    assert searching.waiting() == []
    boxes = [np.array(cell.outlines[0]) for cell in reviewed.fields[0].review.cells.values()]
    assert [(*box.min(axis=0), *box.max(axis=0)) for box in boxes] == [ONE, OTHER]
    act(reviewed, 1, "open")
    assert searching.waiting() == [1]


def test_the_field_that_is_looked_at_comes_next(tmp_path):
    searching = Searching(painted(tmp_path), oracle(SIZE, (1.0, 1.0)), 0)
    assert searching.waiting() == [0, 1, 2]
    searching.prefer(2)
    assert searching.waiting() == [2, 0, 1]


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_searched(tmp_path):
    reviewed = painted(tmp_path)
    reviewed.fields[1].image.path.write_bytes(b"no image")
    searching = run(reviewed)
    assert list(searching.failed) == [1]
    assert "b.png" in searching.failed[1]
    assert [len(field.review.cells) for field in reviewed.fields] == [2, 0, 2]


def test_an_image_on_which_the_model_fails_leaves_the_others_searched(tmp_path, monkeypatch):
    reviewed = painted(tmp_path)
    model = oracle(SIZE, (1.0, 1.0))
    layout = model.layout
    sizes = []

    def failing(height, width, pixel_size=0.0, zoom=1.0):
        sizes.append((height, width))
        if len(sizes) in (2, 4):  # the second image, and again when it is tried alone
            raise RuntimeError("no such layout")
        return layout(height, width, pixel_size, zoom)

    monkeypatch.setattr(model, "layout", failing)
    searching = Searching(reviewed, model, 0)
    searching.run()
    assert [len(field.review.cells) for field in reviewed.fields].count(2) >= 2
    assert searching.waiting() == []


def test_a_model_is_asked_for_the_cell_at_a_place(tmp_path):
    searching = Searching(painted(tmp_path), oracle(SIZE, (1.0, 1.0)), 0)
    found = searching.at(0, (50.0, 30.0))
    assert found is not None
    assert found.label == 2
    assert searching.at(0, (80.0, 60.0)) is None


IMPORTS_OF_THE_LOADING_THREAD = """
import sys, threading, types
from wbcjax.commands.review.serve import Models

class Spy:
    def find_spec(self, name, path, target=None):
        if threading.current_thread().name == "load":
            print("imported", name)

training = types.SimpleNamespace(models=[sys.argv[1]], progress=types.SimpleNamespace(message=""))
desk = types.SimpleNamespace(training=training, loading=False)
sys.meta_path.insert(0, Spy())
Models(desk, "best", False).begin()
for thread in threading.enumerate():
    if thread.name == "load":
        thread.join()
print(training.progress.message)
"""


def test_a_model_is_loaded_without_imports_beside_the_server(tmp_path):
    command = [sys.executable, "-c", IMPORTS_OF_THE_LOADING_THREAD, str(tmp_path / "none")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "config.json does not exist" in said
    assert "imported" not in said
