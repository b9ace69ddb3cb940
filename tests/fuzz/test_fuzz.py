"""A small, repeatable part of the attacks: see `annotations` and `weights` for the whole of them.

What no reader may do is raise anything but its documented error, hang, take memory beyond measure, or write a file.
"""

import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import annotations, image_samples, tool_samples, weights
from tests.fuzz.annotations import READERS
from tests.fuzz.sandbox import Escape, folder, watch
from tests.weights.pickled import write_torch
from wbcjax.smear.read import read


@pytest.fixture(scope="module")
def place():
    with folder() as place:
        annotations.prepare(place)
        yield place


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_document_is_read_or_refused(place, reader, data):
    def choose(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    annotations.attempt(place, reader, READERS[reader][2](choose), choose)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_documents_changed_at_random_are_read_or_refused(place, reader):
    for number in range(200):
        choose = random.Random(number).randrange
        annotations.attempt(place, reader, READERS[reader][2](choose), choose)


@pytest.mark.parametrize("kind", weights.KINDS)
def test_weights_files_changed_at_random_are_read_or_refused(place, kind):
    whole = weights.WHOLE.get(kind) or write_torch(place / "whole", weights.ARRAYS).read_bytes()
    for number in range(100):
        weights.attempt(place / "weights", weights.make(kind, whole, random.Random(number).randrange))


GOOD = {
    "via": [{"": json.dumps(document).encode()} for document in annotations.VIA],
    "via_3": [{"": json.dumps(annotations.VIA_3).encode()}],
    "via_csv": [{"": annotations.CSV}, {"": annotations.CSV_3}],
    "coco": [{"": json.dumps(document).encode()} for document in annotations.COCO],
    "labelme": [{"a.json": json.dumps(document).encode()} for document in annotations.LABELME],
    "voc": [{"a.xml": annotations.VOC}],
    "cvat": [{"": tool_samples.CVAT}],
    "label_studio": [{"": json.dumps(document).encode()} for document in tool_samples.LABEL_STUDIO],
    "yolo": [{"data.yaml": tool_samples.YAML, "train/labels/a.txt": tool_samples.LABEL_LINES}],
    "xyc": [{"a.xyc": tool_samples.XYC}],
    "label_images": [{"a.png": image_samples.IMAGES[0]}, {"b.tif": image_samples.IMAGES[3]}],
    "npy": [{"a_seg.npy": content} for content in image_samples.NPYS],
    "mask_folders": [{"a_1.png": image_samples.IMAGES[0], "a_2.bmp": image_samples.IMAGES[4]}],
    "geojson": [{"a.geojson": json.dumps(document).encode()} for document in annotations.GEOJSON],
    "imagej_rois": [{"a.roi": roi.tobytes()} for roi in annotations.ROIS if roi.roitype.name != "POINT"],
}


@pytest.mark.parametrize("reader", READERS)
def test_the_documents_are_good_before_they_are_changed(place, reader):
    for files in GOOD[reader]:
        path = annotations.put(place, reader, files)
        found = read(path, place / "images", file_format=READERS[reader][0])
        assert sum(len(field.cells) + len(field.points) for field in found.fields) > 0


def test_the_watch_sees_a_file_written_elsewhere_and_a_program_started(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    with watch(inside):
        (inside / "a").write_text("")
    with pytest.raises(Escape, match="open"), watch(inside):
        (tmp_path / "b").write_text("")
    with pytest.raises(Escape, match="open"), watch(inside):
        (inside / "../c").write_text("")
    with pytest.raises(Escape, match=r"os\.mkdir"), watch(inside):
        (tmp_path / "d").mkdir()


def test_the_watch_ends_what_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.sandbox.SECONDS", 0.05)
    with pytest.raises(Escape, match="took longer"), watch(tmp_path):
        time.sleep(10)
