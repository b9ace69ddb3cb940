"""A review on the disk: nothing that was shown as done is lost, and its annotation files are whole."""

import json
import math
import os
import sys

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.commands.review.make import CLASSES, FOUND, SIZE, act, area, candidate, review, square, write_images
from wbcjax.commands.review.candidates import Candidates, candidates_of
from wbcjax.commands.review.exports import Exporter
from wbcjax.commands.review.journal import Journal
from wbcjax.commands.review.reviewed_set import ReviewedSet, ReviewSettings, Stale, as_review_cells
from wbcjax.evaluate.detections import FieldDetections
from wbcjax.smear.field import Cell, SmearField
from wbcjax.smear.read import read

CIRCLE = [[120 + 12 * math.cos(turn / 3), 90 + 12 * math.sin(turn / 3)] for turn in range(19)]


def state(reviewed: ReviewedSet) -> list:
    return [(dict(field.review.cells), field.review.done, field.revision) for field in reviewed.fields]


def test_a_review_begins_with_the_cells_above_the_threshold(tmp_path):
    reviewed = review(tmp_path)
    assert [[cell.score for cell in field.review.cells.values()] for field in reviewed.fields] == [
        [0.95, 0.9],
        [0.55],
        [],
    ]
    assert [[place for place, _ in field.ghosts] for field in reviewed.fields] == [[2], [], []]


def test_a_review_opens_again_as_it_was_whenever_it_was_killed(tmp_path):
    reviewed = review(tmp_path)
    for values in (
        {"action": "stroke", "label": 2, "points": CIRCLE},
        {"action": "remove", "cell": 1},
        {"action": "take", "candidate": 2},
        {"action": "undo"},
        {"action": "undo"},
        {"action": "redo"},
        {"action": "done"},
    ):
        act(reviewed, 0, **values)
        assert state(review(tmp_path)) == state(reviewed)  # what was there is not closed: it might as well be killed
    assert sorted(reviewed.fields[0].review.cells) == [2, 3]


def test_the_journal_says_who_corrected_what_and_when(tmp_path):
    reviewed = review(tmp_path)
    act(reviewed, 1, "name", cell=1, label=2)
    (entry,) = map(json.loads, (tmp_path / "review/journal.jsonl").read_text().splitlines())
    assert (entry["who"], entry["field"], entry["action"], entry["drop"]) == ("a reviewer", "b.png", "name", [1])
    assert entry["put"][0]["label"] == 2
    assert entry["at"][:2] == "20"


def test_a_correction_of_a_field_as_it_no_longer_is_is_refused(tmp_path):
    reviewed = review(tmp_path)
    seen = reviewed.fields[0].revision
    reviewed.act(0, {"action": "remove", "cell": 1, "revision": seen})
    with pytest.raises(Stale):
        reviewed.act(0, {"action": "remove", "cell": 2, "revision": seen})
    assert sorted(reviewed.fields[0].review.cells) == [2]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    reviewed = review(tmp_path)
    act(reviewed, 0, "remove", cell=1)
    journal = tmp_path / "review/journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[: len(whole) // 2])
    again = review(tmp_path)
    assert sorted(again.fields[0].review.cells) == [2]
    act(again, 0, "undo")
    assert sorted(review(tmp_path).fields[0].review.cells) == [1, 2]


def test_a_journal_cut_off_anywhere_opens_as_the_review_was_after_some_action(tmp_path):
    reviewed = review(tmp_path)
    journal = tmp_path / "review/journal.jsonl"
    sizes, states = [0], [state(reviewed)]
    for values in (
        {"action": "stroke", "label": 2, "points": CIRCLE},
        {"action": "remove", "cell": 1},
        {"action": "undo"},
        {"action": "done"},
    ):
        act(reviewed, 0, **values)
        sizes.append(journal.stat().st_size)
        states.append(state(reviewed))
    whole = journal.read_bytes()
    for size in range(0, len(whole) + 1, 5):
        journal.write_bytes(whole[:size])
        done = max(k for k, end in enumerate(sizes) if end <= size)
        assert state(review(tmp_path)) == states[done]


@pytest.mark.parametrize("line", ["no json", "[]", '{"field": 1, "action": "undo"}', '{"action": "undo"}'])
def test_a_broken_line_of_the_journal_is_named(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text(f'{{"field": "a", "action": "done"}}\n{line}\n')
    with pytest.raises(ValueError, match=r"journal.jsonl, line 2: no entry"):
        Journal(tmp_path / "journal.jsonl")


def test_a_journal_of_other_candidates_is_named(tmp_path):
    act(review(tmp_path), 0, "remove", cell=1)
    for path in (tmp_path / "review/candidates").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"journal.jsonl, line 1: does not fit the field a.png"):
        review(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/full to compare with")
def test_a_full_disk_loses_no_correction_and_shows_none_as_done(tmp_path, monkeypatch):
    reviewed = review(tmp_path)
    act(reviewed, 0, "remove", cell=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            act(reviewed, 0, "remove", cell=2)
    assert sorted(reviewed.fields[0].review.cells) == [2]
    assert state(review(tmp_path)) == state(reviewed)


def test_the_annotation_files_hold_the_cells_as_they_stand(tmp_path):
    reviewed = review(tmp_path)
    act(reviewed, 0, "stroke", label=2, points=CIRCLE)
    act(reviewed, 1, "name", cell=1, label=2)
    Exporter(reviewed).write()
    out = tmp_path / "review"
    for file in ("via.json", "coco.json", "geojson"):
        found = read(out / file, tmp_path / "images", {"L1": 1, "L2": 2})
        fields = {field.name: field for field in found.fields}
        assert [cell.label for cell in fields["a.png"].cells] == [1, 2, 2], file
        assert [cell.label for cell in fields["b.png"].cells] == [2], file
        drawn = fields["a.png"].cells[2].mask(*SIZE).sum()
        assert drawn == pytest.approx(area(reviewed.fields[0].review.cells[3]), rel=0.03), file
    assert [len(COCO(out / "coco.json").getAnnIds(imgIds=[k])) for k in (1, 2, 3)] == [3, 1, 0]


def test_a_failed_write_of_the_files_is_told_and_made_up_for(tmp_path):
    reviewed = review(tmp_path)
    exporter = Exporter(reviewed)
    (tmp_path / "review/via.json").mkdir()
    exporter.write()
    assert "via.json" in exporter.failure
    (tmp_path / "review/via.json").rmdir()
    exporter.note(0)
    exporter.write()
    assert exporter.failure == ""
    assert (tmp_path / "review/geojson/c.png.geojson").exists()


def test_a_new_model_replaces_the_cells_of_untouched_fields_alone(tmp_path):
    reviewed = review(tmp_path)
    act(reviewed, 0, "remove", cell=1)
    for number in (0, 1):
        reviewed.searched(number, Candidates(1, (candidate(40, 40, 0.8),)))
    again = review(tmp_path)
    assert state(again) == state(reviewed)
    assert sorted(again.fields[0].review.cells) == [2]
    assert [cell.outlines for cell in again.fields[1].review.cells.values()] == [(square(40, 40),)]
    assert [one.score for _, one in again.fields[0].ghosts] == [0.8]
    act(again, 0, "undo")
    assert sorted(again.fields[0].review.cells) == [1, 2]
    again.searched(1, Candidates(0, ()))  # by the model before, which was still at it
    assert len(again.fields[1].review.cells) == 1


def test_the_most_doubtful_open_field_comes_first_and_done_ones_last(tmp_path):
    reviewed = review(tmp_path)
    assert reviewed.queue() == [1, 0, 2]  # a score near the threshold, near enough, none
    act(reviewed, 1, "done")
    assert reviewed.queue() == [0, 2, 1]


@pytest.mark.parametrize(
    ("scores", "doubt"), [((0.5,), 1.0), ((0.625,), 0.5), ((0.99, 0.01), 0.0), ((0.5, 0.5), 2.0), ((), 0.0)]
)
def test_doubt_is_the_nearness_of_scores_to_the_threshold(scores, doubt):
    found = tuple(candidate(10 * k, 0, score) for k, score in enumerate(scores))
    assert Candidates(0, found).doubt(0.5) == pytest.approx(doubt)


def test_detections_become_one_candidate_for_each_cell_with_its_runner_up():
    cell = Cell(1, (np.array(square(10, 10)),))
    rle, far = cell.to_rle(*SIZE), Cell(1, (np.array(square(100, 50)),)).to_rle(*SIZE)
    boxes = np.array([[10, 10, 30, 30]] * 2 + [[100, 50, 120, 70]], np.float32)
    scores = np.array([0.7, 0.6, 0.3], np.float32)
    found = FieldDetections("a.png", *SIZE, boxes, np.array([2, 1, 1], np.int32), scores, [rle, rle, far])
    first, second = candidates_of(found, CLASSES, 3).found
    assert (first.label, first.score, first.runner_up, first.runner_up_score) == (2, 0.7, 1, 0.6)
    assert (second.label, second.score, second.runner_up) == (1, 0.3, 0)
    assert Cell(2, tuple(map(np.array, first.outlines))).mask(*SIZE).sum() == pytest.approx(400, rel=0.05)


def test_annotated_cells_of_every_kind_come_back_as_they_were(tmp_path):
    (image,) = write_images(tmp_path / "images", ("a.png",))
    polygon = (np.array(square(10, 10)), np.array(square(60, 10)))
    mask = Cell(1, (np.array(square(100, 50)),)).to_rle(*SIZE)
    cells = (Cell(1, polygon), Cell(2, box=(5.0, 60.0, 25.0, 90.0)), Cell(1, rle=mask, crowd=True))
    field = SmearField("a.png", *SIZE, cells, path=image.path)
    reviewed = ReviewedSet(tmp_path / "review", [image], ReviewSettings(CLASSES), {"a.png": as_review_cells(field)})
    back = reviewed.fields[0].as_field().cells
    assert [(cell.label, cell.crowd, cell.box) for cell in back] == [
        (1, False, None),
        (2, False, (5.0, 60.0, 25.0, 90.0)),
        (1, True, None),
    ]
    assert all((cell.mask(*SIZE) == before.mask(*SIZE)).all() for cell, before in zip(back[:2], cells[:2], strict=True))
    assert back[2].mask(*SIZE).sum() == pytest.approx(400, rel=0.05)


def test_a_folder_of_other_classes_is_refused(tmp_path):
    review(tmp_path)
    with pytest.raises(ValueError, match="is a review of the classes L1, L2, and these are L1"):
        review(tmp_path, ("L1",))


def test_corrections_of_images_that_are_gone_are_kept_and_told(tmp_path):
    reviewed = review(tmp_path)
    act(reviewed, 0, "remove", cell=1)
    fewer = ReviewedSet(tmp_path / "review", write_images(tmp_path / "images", ("b.png",)), reviewed.settings)
    assert fewer.missing == ["a.png"]
    act(fewer, 0, "remove", cell=1)
    assert [len(field.review.cells) for field in review(tmp_path).fields] == [1, 0, len(FOUND["c.png"])]
