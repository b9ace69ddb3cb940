"""Average precision against pycocotools' COCOeval, and by hand."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluate.make import annotated, detected, random_set
from wbcjax.evaluate.average_precision import average_precision, cut_fields, max_detections
from wbcjax.evaluate.detections import save
from wbcjax.evaluate.overlap import box_overlaps, mask_overlaps

CLASSES = ("a", "b", "c", "never annotated")
OVERLAPS = {"bbox": box_overlaps, "segm": mask_overlaps}


class IgnoringCOCOeval(COCOeval):
    """COCOeval that ignores annotations marked `ignored`, as it does those of an area out of range."""

    def _prepare(self):
        super()._prepare()  # pyright: ignore[reportAttributeAccessIssue]
        for annotations in self._gts.values():  # pyright: ignore[reportAttributeAccessIssue]
            for annotation in annotations:
                annotation["ignore"] = annotation["iscrowd"] or annotation.get("ignored", 0)


def coco_averages(path: Path, kind: Any, ignore: list[np.ndarray], most: int = 100) -> list[float]:
    """AP, AP50, AP75 and AP by class as COCOeval gives them from a file that `save` wrote; -1 becomes NaN.

    `most` is the number of detections that count. COCOeval's own mean over all thresholds is always of 100.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO(path)
        for annotation, ignored in zip(truth.dataset["annotations"], np.concatenate(ignore), strict=True):
            annotation["ignored"] = int(ignored)
        evaluation = IgnoringCOCOeval(truth, truth.loadRes(json.loads(path.read_text())["detections"]), kind)
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]  # (iou, recall, class) of all areas and `most` detections
    per_class = [precision[:, :, label].mean() for label in range(precision.shape[2])]
    means = [part[part > -1].mean() for part in (precision, precision[0], precision[5])]  # as `summarize` has them
    return [np.nan if value == -1 else value for value in (*means, *per_class)]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_cocoevals(seed: int, kind: str, tmp_path: Path):
    annotations, detections = random_set(seed)
    save(tmp_path / "detections.json", CLASSES, annotations, detections)
    rng = np.random.default_rng(100 + seed)
    ignore = [rng.random(len(field.labels)) < (0.4 if seed % 2 else 0.0) for field in annotations]
    expected = coco_averages(tmp_path / "detections.json", kind, ignore)
    assert 0.05 < expected[0] < 0.9
    assert np.isnan(expected[-1])  # the class without cells

    overlaps = [OVERLAPS[kind](*field) for field in zip(annotations, detections, strict=True)]
    ours = average_precision(annotations, detections, overlaps, len(CLASSES), ignore)

    np.testing.assert_allclose([ours.ap, ours.ap50, ours.ap75, *ours.per_class], expected, rtol=0, atol=1e-9)


def crowded_set() -> tuple[list, list]:
    """260 cells in a field, all of them found, with 30 false detections among the surest; and a field of 99."""
    rng = np.random.default_rng(0)
    corners = [(x, y) for y in range(0, 40, 3) for x in range(0, 60, 3)][:260]
    cells = [((x, y, x + 2, y + 2), 1) for x, y in corners]
    false = [((x, y, x + 1, y + 1), 1, 0.9) for x, y in corners[:30]]
    found = [(*cell, float(score)) for cell, score in zip(cells, rng.random(260), strict=True)]
    annotations = [annotated(cells, name="260.png"), annotated(cells[:99], name="99.png")]
    return annotations, [detected(found + false, name="260.png"), detected(found[:99], name="99.png")]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("most", [100, 260])
def test_with_any_number_of_detections_counted_it_equals_cocoevals(tmp_path: Path, kind: str, most: int):
    annotations, detections = crowded_set()
    save(tmp_path / "detections.json", ("a",), annotations, detections)
    expected = coco_averages(tmp_path / "detections.json", kind, [np.zeros(260, bool), np.zeros(99, bool)], most)
    overlaps = [OVERLAPS[kind](*field) for field in zip(annotations, detections, strict=True)]
    ours = average_precision(annotations, detections, overlaps, 1, most=most)
    np.testing.assert_allclose([ours.ap, ours.ap50, ours.ap75, *ours.per_class], expected, rtol=0, atol=1e-9)
    assert (expected[0] > 0.5) == (most == 260)


def test_the_detection_limit_follows_the_most_crowded_field():
    """As many detections count as the most crowded field has cells and a hundred at least."""
    annotations, detections = crowded_set()
    assert max_detections(annotations) == 260
    assert max_detections(annotations[1:]) == max_detections([]) == 100
    assert cut_fields(detections, 260) == 1
    assert cut_fields(detections[1:], 100) == 0


def averages(annotations, detections, classes=1, ignore=None):
    overlaps = [mask_overlaps(*field) for field in zip(annotations, detections, strict=True)]
    return average_precision(annotations, detections, overlaps, classes, ignore)


def test_perfect_detections_score_one_and_none_score_zero():
    fields = [annotated([((0, 0, 10, 10), 1), ((20, 20, 30, 30), 2)])]
    perfect = averages(fields, [detected([((0, 0, 10, 10), 1, 0.9), ((20, 20, 30, 30), 2, 0.2)])], classes=2)
    assert (perfect.ap, perfect.ap50, perfect.ap75, *perfect.per_class) == pytest.approx((1, 1, 1, 1, 1))
    none = averages(fields, [detected([])], classes=2)
    assert (none.ap, none.ap50, none.ap75, none.per_class) == (0, 0, 0, (0, 0))


def test_a_detection_of_iou_0_6_counts_at_three_of_the_ten_thresholds():
    # 6 of 10 columns: IoU exactly 0.6, reached at 0.50, 0.55 and 0.60.
    result = averages([annotated([((0, 0, 10, 10), 1)])], [detected([((0, 0, 6, 10), 1, 0.9)])])
    assert (result.ap, result.ap50, result.ap75) == pytest.approx((0.3, 1.0, 0.0))


def test_a_false_detection_of_higher_score_halves_the_precision():
    fields = [annotated([((0, 0, 10, 10), 1)]), annotated([])]
    found = [detected([((0, 0, 10, 10), 1, 0.5)]), detected([((0, 0, 10, 10), 1, 0.6)])]
    assert averages(fields, found).ap == pytest.approx(0.5)


def test_a_detection_on_a_crowd_or_an_ignored_cell_counts_neither_way():
    fields = [annotated([((0, 0, 10, 10), 1), ((40, 0, 50, 10), 1)], crowds=[((20, 20, 50, 40), 1)])]
    found = [
        detected(
            [
                ((40, 0, 50, 10), 1, 0.95),  # on the ignored cell
                ((21, 21, 30, 30), 1, 0.9),  # in the crowd
                ((31, 21, 40, 30), 1, 0.8),  # in the crowd too: it takes any number
                ((0, 0, 10, 10), 1, 0.7),
            ]
        )
    ]
    assert averages(fields, found, ignore=[np.array([False, True, False])]).ap == pytest.approx(1.0)
    assert averages([annotated([((0, 0, 10, 10), 1), ((40, 0, 50, 10), 1)])], found).ap < 0.9


def test_a_second_detection_of_an_ignored_cell_is_false():
    fields = [annotated([((0, 0, 10, 10), 1), ((40, 0, 50, 10), 1)])]
    found = [detected([((40, 0, 50, 10), 1, 0.9), ((40, 0, 50, 10), 1, 0.8), ((0, 0, 10, 10), 1, 0.7)])]
    assert averages(fields, found, ignore=[np.array([False, True])]).ap == pytest.approx(0.5)


def test_a_detection_takes_the_cell_that_counts_before_a_better_covered_ignored_one():
    fields = [annotated([((0, 0, 10, 10), 1), ((0, 0, 10, 8), 1)])]
    found = [detected([((0, 0, 10, 10), 1, 0.9)])]
    result = averages(fields, found, ignore=[np.array([True, False])])
    assert (result.ap50, result.ap75) == pytest.approx((1.0, 1.0))  # IoU 0.8 with the cell that counts


def test_the_hundred_and_first_detection_of_a_class_is_not_heard():
    far = [((30, 20, 36, 26), 1, 0.9)] * 100
    cell = [((0, 0, 10, 10), 1, 0.1)]
    fields = [annotated([((0, 0, 10, 10), 1)])]
    assert averages(fields, [detected(far + cell)]).ap == 0
    assert averages(fields, [detected(far[1:] + cell)]).ap == pytest.approx(0.01)


def test_without_a_cell_to_find_the_average_is_nan_not_zero():
    result = averages([annotated([], crowds=[((0, 0, 10, 10), 1)])], [detected([((0, 0, 9, 9), 1, 0.9)])])
    assert np.isnan([result.ap, result.ap50, result.ap75, *result.per_class]).all()
    assert np.isnan(averages([], []).ap)
