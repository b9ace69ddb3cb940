"""What `wbcjax predict` does with images that cannot be read, places that cannot be written, and other faults."""

import errno
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.commands.told_folder import ONE, Teller, image_folder, labels_in, search, table_in
from tests.oracle import oracle, paint
from wbcjax.commands.predict.folder import predict_folder
from wbcjax.enhance import METHODS
from wbcjax.evaluate.cells_csv import cell_rows
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict import detector as predict
from wbcjax.predict.search import ahead
from wbcjax.system.files import write_png


def test_images_that_cannot_be_read_are_named_and_stop_nothing(tmp_path):
    images = image_folder(tmp_path / "images", "b.png", "d.png")
    (images / "a.png").write_bytes(b"no picture")
    (images / "c.png").write_bytes(b"")
    outcome = predict_folder(Teller({"b.png": [ONE], "d.png": []}), images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["b.png", "d.png"]
    assert len(outcome.failed) == 2
    for line, name in zip(outcome.failed, ("a.png", "c.png"), strict=True):
        assert line.count(str(images / name)) == 1
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["b.png", "d.png"]


def test_every_image_that_annotations_may_name_is_searched_and_hidden_files_are_not(tmp_path):
    images = image_folder(tmp_path / "images", "a.webp", "b.jp2", "C.PNG")
    (images / "._a.webp").write_bytes(b"left there by macOS")
    outcome = predict_folder(Teller({}), images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["C.PNG", "a.webp", "b.jp2"]
    assert not outcome.failed


def test_a_link_to_an_image_that_is_gone_is_named(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    (images / "b.png").symlink_to(tmp_path / "gone.png")
    (line,) = predict_folder(Teller({}), images, tmp_path / "out", 0.5).failed
    assert str(images / "b.png") in line
    assert "No such file" in line


def test_nothing_is_written_where_no_image_could_be_read(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert len(predict_folder(Teller({}), broken, tmp_path / "out", 0.5).failed) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_output_folders_place_is_told_first(tmp_path):
    """A file in the place of the output folder is an error before any work."""
    images = image_folder(tmp_path / "images", "a.png")
    (tmp_path / "out").write_text("precious")
    model = Teller({})
    with pytest.raises(NotADirectoryError, match="out, which is a file: choose another folder"):
        predict_folder(model, images, tmp_path / "out", 0.5)
    assert not model.shown


def test_an_image_too_large_to_be_shown_is_named_and_stops_nothing(tmp_path):
    images = image_folder(tmp_path / "images", "a.png")
    cv2.imwrite(str(images / "long.png"), np.zeros((2, 33000, 3), np.uint8))
    model = Teller({})
    model.scales = (1.0, 1.0)
    outcome = predict_folder(model, images, tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["a.png"]
    (line,) = outcome.failed
    assert line.startswith(f"{images / 'long.png'}: the image is 33000 x 2 pixels")


def test_grey_transparent_and_16_bit_images_are_shown_as_rgb(tmp_path):
    images = image_folder(tmp_path / "images", "rgb.jpg")
    grey = np.full((20, 30), 7, np.uint8)
    cv2.imwrite(str(images / "grey.bmp"), grey)
    cv2.imwrite(str(images / "rgba.png"), np.dstack([grey, grey + 1, grey + 2, grey * 0]))
    cv2.imwrite(str(images / "deep.TIFF"), np.full((20, 30, 3), 40000, np.uint16))
    model = Teller({})
    outcome = predict_folder(model, images, tmp_path / "out", 0.5)
    assert not outcome.failed
    assert set(model.shown) == {"rgb.jpg", "grey.bmp", "rgba.png", "deep.TIFF"}
    assert {image.dtype.name for image in model.shown.values()} == {"uint8"}
    assert model.shown["grey.bmp"][0, 0].tolist() == [7, 7, 7]
    assert model.shown["rgba.png"][0, 0].tolist() == [9, 8, 7]
    assert model.shown["deep.TIFF"][0, 0].tolist() == [156, 156, 156]


def test_what_was_found_before_an_interruption_is_written(tmp_path):
    class Interrupted(Teller):
        def detect(self, image: np.ndarray, name: str = "image", pixel_size: float = 0.0) -> FieldDetections:
            if name == "b.png":
                raise KeyboardInterrupt
            return super().detect(image, name)

    images = image_folder(tmp_path / "images", "a.png", "b.png", "c.png")
    with pytest.raises(KeyboardInterrupt):
        predict_folder(Interrupted({"a.png": [ONE]}), images, tmp_path / "out", 0.5)
    assert len((tmp_path / "out/cells.csv").read_text().splitlines()) == 1 + 1
    for name in ("predictions.json", "coco.json"):
        written = json.loads((tmp_path / "out" / name).read_text())
        assert [image["file_name"] for image in written["images"]] == ["a.png"]


@pytest.mark.parametrize("step", ["enhance", "network", "describe"])
def test_an_error_that_nobody_foresaw_leaves_out_its_image_and_no_other(tmp_path, monkeypatch, step):
    (tmp_path / "images").mkdir()
    boxes = {f"{i}.png": (5 * i, 4, 5 * i + 12, 30) for i in range(8)}
    for name, box in boxes.items():
        write_png(tmp_path / "images" / name, paint(65 if name == "3.png" else 64, 96, {box: 1}))
    model = oracle((64, 96), (1.0, 1.0))

    def breaking(true):
        def run(image, *others, **named):
            if len(image) == 65:
                raise ZeroDivisionError("nobody foresaw it")
            return true(image, *others, **named)

        return run

    if step == "enhance":
        monkeypatch.setitem(METHODS, "none", breaking(lambda image: image))
    elif step == "network":
        monkeypatch.setattr(predict, "fit", breaking(predict.fit))
    else:
        monkeypatch.setattr("wbcjax.commands.predict.folder.cell_rows", breaking(cell_rows))
    outcome = predict_folder(model, tmp_path / "images", tmp_path / "out", 0.5)
    assert outcome.failed == [f"{tmp_path}/images/3.png: ZeroDivisionError: nobody foresaw it"]
    others = [name for name in boxes if name != "3.png"]
    assert [image.path.name for image in outcome.searched] == others
    for image in outcome.searched:
        np.testing.assert_allclose(image.found.boxes, [boxes[image.path.name]], atol=1)
    assert [row["image"] for row in table_in(tmp_path / "out")] == others
    assert sorted(path.name for path in (tmp_path / "out/outlines").iterdir()) == others


def test_an_error_of_no_image_ends_the_call(tmp_path):
    class Broken(Teller):
        def detect_each(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[FieldDetections]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        predict_folder(Broken({}), image_folder(tmp_path / "images", "a.png"), tmp_path / "out", 0.5)


def test_more_cells_than_a_label_image_numbers_are_refused_with_the_remedy(tmp_path, monkeypatch):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    cells = [((x, y, x + 1, y + 1), 1, 0.9) for x in range(20) for y in range(20)]
    monkeypatch.setattr(np, "iinfo", lambda dtype: SimpleNamespace(max=399))  # of 65,535 the test would take minutes
    outcome = predict_folder(Teller({"a.png": cells, "b.png": cells[:399]}), images, tmp_path / "out", 0.5)
    (line,) = outcome.failed
    assert line.startswith(f"{images}/a.png: 400 cells, more than the 399 that a label image can number: raise")
    assert not (tmp_path / "out/outlines/a.png").exists()
    assert labels_in(tmp_path / "out", "b.png").max() == 399


def test_a_write_error_is_no_unreadable_image(tmp_path, monkeypatch):
    """An error in writing is not taken for an image that cannot be read."""
    images = image_folder(tmp_path / "images", "a.png", "b.png")

    def full(path: Path, image: np.ndarray):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("wbcjax.commands.predict.folder.write_png", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.png'"):
        predict_folder(Teller({}), images, tmp_path / "out", 0.5)


def test_one_image_may_be_given_instead_of_a_folder(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "b.png")
    outcome = predict_folder(Teller({}), images / "b.png", tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == ["b.png"]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("nothing here")
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=r"no image there; give one, or a folder with \.bmp"):
            predict_folder(Teller({}), place, tmp_path / "out", 0.5)


def test_images_whose_pictures_would_be_one_file_are_refused(tmp_path):
    images = image_folder(tmp_path / "images", "a.png", "a.jpg", "b.png")
    with pytest.raises(ValueError, match=r"differ in suffix only would be drawn into one file: \['a'\]"):
        predict_folder(Teller({}), images, tmp_path / "out", 0.5)


@pytest.mark.parametrize("place", ["", "outlines", "splash", "labels"])
def test_no_picture_replaces_an_image_that_is_read(tmp_path, place):
    (tmp_path / "out").mkdir()
    images = image_folder(tmp_path / "out/outlines", "a.png") if place else image_folder(tmp_path / "own", "a.png")
    if place:
        images = images.rename(tmp_path / "out" / place)
    before = (images / "a.png").read_bytes()
    with pytest.raises((ValueError, FileExistsError), match=r"choose a(nother| new) folder"):
        predict_folder(Teller({}), images, tmp_path / "out" if place else images, 0.5)
    assert (images / "a.png").read_bytes() == before


def test_cells_on_the_seams_of_tiles_are_written_once_and_whole(tmp_path):
    cells = {(80, 20, 110, 50): 2, (10, 70, 60, 90): 1, (30, 55, 200, 62): 1}
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images/a.png", paint(120, 230, cells))
    outcome = predict_folder(oracle((64, 96), (1.0, 1.0)), tmp_path / "images", tmp_path / "out", 0.5)
    assert len(outcome.searched[0].layout.tiles) == 9
    labels = labels_in(tmp_path / "out", "a.png")
    numbers = [row["cell"] for row in table_in(tmp_path / "out")]
    assert numbers == ["1", "2", "3"]
    for number, (x1, y1, x2, y2) in enumerate(cells, start=1):
        rows, columns = np.nonzero(labels == number)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)


def test_results_of_an_earlier_run_are_neither_replaced_nor_added_to(tmp_path):
    _, out = search(tmp_path, {"a.png": [ONE]})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    write_png(tmp_path / "others/b.png", paint(64, 96, {(5, 4, 17, 30): 1}))
    with pytest.raises(FileExistsError, match=r"out, which is not empty: choose a new folder, or empty"):
        predict_folder(Teller({"b.png": [ONE]}), tmp_path / "others", out, 0.5)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_reading_ahead_mixes_no_images_cells(tmp_path):
    """Images of a folder are found with their own cells whatever is read ahead."""
    (tmp_path / "images").mkdir()
    boxes = {f"{i}.png": (5 * i, 4, 5 * i + 12, 30) for i in range(8)}
    for name, box in boxes.items():
        write_png(tmp_path / "images" / name, paint(64, 96, {box: 1 + int(name[0]) % 3}))
    (tmp_path / "images/3a.png").write_bytes(b"no picture")
    outcome = predict_folder(oracle((64, 96), (1.0, 1.0)), tmp_path / "images", tmp_path / "out", 0.5)
    assert [image.path.name for image in outcome.searched] == list(boxes)
    assert len(outcome.failed) == 1
    for image in outcome.searched:
        assert image.found.name == image.path.name
        np.testing.assert_allclose(image.found.boxes, [boxes[image.path.name]], atol=1)
        assert image.found.labels.tolist() == [1 + int(image.path.name[0]) % 3]


@pytest.mark.parametrize("most", [1, 2, 9])
def test_what_is_made_ahead_comes_in_order_and_its_error_where_it_happened(most):
    made = []

    def items():
        for i in range(5):
            made.append(i)
            yield i
        raise ValueError("the sixth")

    taken = ahead(items(), most)
    first = next(taken)
    assert first == 0
    assert [first, *(next(taken) for _ in range(4))] == [0, 1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the sixth"):
        next(taken)
