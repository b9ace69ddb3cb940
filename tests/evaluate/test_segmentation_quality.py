"""Quality of outlines: by hand, by counting pixels, and what must always hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.evaluate.dense import CLASSES, SCORES, build, cover, drawn_fields, mask, outcome
from tests.evaluate.make import HEIGHT, WIDTH, annotated, detected
from wbcjax.evaluate.detections import FieldAnnotations, FieldDetections, annotate
from wbcjax.evaluate.segmentation_quality import segmentation_quality
from wbcjax.smear.field import Cell, text_rle


def quality(annotations, detections, classes=("a",), min_score=0.5):
    return segmentation_quality(annotations, detections, classes, min_score)


def test_qualities_worked_by_hand():
    # 8 of 10 columns (IoU .8), 4 of 10 (IoU .4), and a false detection of 50 pixels.
    cells = annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 1)])
    found = detected([((0, 0, 8, 10), 1, 0.9), ((20, 0, 24, 10), 1, 0.8), ((40, 20, 50, 25), 1, 0.7)])
    result = quality([cells], [found])
    assert result["sq"] == pytest.approx(0.8)
    assert result["rq"] == pytest.approx(1 / (1 + 2 / 2 + 1 / 2))  # one pair, two detections and a cell left over
    assert result["pq"] == pytest.approx(0.8 / 2.5)
    assert result["aji"] == pytest.approx((80 + 40) / (100 + 100 + 50))
    assert result["segpc_miou"] == pytest.approx((0.8 + 0.4) / 2)
    keys = ("pq", "sq", "rq", "segpc_miou", "segpc_miou_any_score")
    assert result["per_class"] == {"a": {key: result[key] for key in keys}}


def test_a_detection_of_low_score_counts_for_the_mean_iou_of_any_score_alone():
    cells = annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 1)])
    found = detected([((20, 0, 29, 10), 1, 0.3), ((0, 0, 8, 10), 1, 0.9), ((20, 0, 24, 10), 1, 0.8)])
    result = quality([cells], [found])
    assert result["segpc_miou"] == pytest.approx((0.8 + 0.4) / 2)
    assert result["segpc_miou_any_score"] == pytest.approx((0.8 + 0.9) / 2)


def test_a_nucleus_does_not_cover_its_cell():
    """The nucleus is not an outline of its cell nor a cell to cover."""
    cells = annotated([((0, 0, 10, 10), 1), ((0, 0, 10, 6), 2)])
    found = detected([((0, 0, 10, 6), 2, 0.9), ((0, 0, 10, 4), 2, 0.8)])
    result = quality([cells], [found], ("myeloma", "nucleus"))
    assert (result["aji"], result["segpc_miou"]) == (0, 0)
    assert result["per_class"]["nucleus"]["segpc_miou"] == 1
    result = quality([cells], [detected([((0, 0, 10, 8), 1, 0.9), ((0, 0, 10, 10), 2, 0.8)])], ("myeloma", "nucleus"))
    assert (result["aji"], result["segpc_miou"]) == pytest.approx((0.8, 0.8))


@settings(max_examples=60)
@given(drawn_fields())
def test_nuclei_change_nothing_of_the_index_and_the_mean_iou_of_cells(drawn):
    cells, found = build(drawn)
    chosen = cells.labels != 3
    parts = {part: getattr(cells, part)[chosen] for part in ("boxes", "labels", "crowd", "outlined")}
    alone = replace(cells, **parts, rles=[cells.rles[row] for row in np.flatnonzero(chosen)])
    result = quality([cells], [found], ("a", "b", "nucleus"))
    expected = quality([alone], [found.select(np.flatnonzero(found.labels != 3))], ("a", "b"))
    for score in ("aji", "segpc_miou"):
        assert result[score] == pytest.approx(expected[score], nan_ok=True)


def test_an_iou_of_exactly_a_half_is_no_match():
    cells = [annotated([((0, 0, 10, 10), 1)])]
    half, more = ([detected([((0, 0, 10, rows), 1, 0.9)])] for rows in (5, 6))
    assert quality(cells, half)["pq"] == 0
    assert quality(cells, more)["pq"] == pytest.approx(0.6)


def test_the_better_score_counts_not_the_better_outline():
    """Of two detections of one cell the better score counts not the better outline."""
    cells = [annotated([((0, 0, 10, 10), 1)])]
    found = [detected([((0, 0, 10, 10), 1, 0.6), ((0, 0, 6, 10), 1, 0.7)])]
    result = quality(cells, found)
    assert (result["sq"], result["rq"]) == pytest.approx((0.6, 1 / 1.5))
    assert result["aji"] == pytest.approx(100 / (100 + 60))  # it goes by outlines alone
    assert result["segpc_miou"] == 1


def test_classes_are_averaged_and_one_that_is_nowhere_is_left_out():
    cells = [annotated([((0, 0, 10, 10), 1), ((20, 0, 30, 10), 2)])]
    found = [detected([((0, 0, 10, 10), 1, 0.9), ((20, 0, 30, 10), 3, 0.9)])]
    result = quality(cells, found, ("right", "taken for false", "false", "nowhere"))
    assert {name: of_class["pq"] for name, of_class in result["per_class"].items()} == pytest.approx(
        {"right": 1, "taken for false": 0, "false": 0, "nowhere": np.nan}, nan_ok=True
    )
    assert result["pq"] == result["rq"] == pytest.approx(1 / 3)
    assert result["sq"] == 1  # of the one class with a pair
    assert (result["aji"], result["segpc_miou"]) == (1, 1)  # whatever the classes
    assert [of_class["segpc_miou"] for of_class in result["per_class"].values()] == pytest.approx(
        [1, 0, np.nan, np.nan], nan_ok=True
    )


def test_panoptic_quality_pools_fields_and_the_jaccard_index_averages_them():
    annotations = [annotated([((0, 0, 10, 10), 1)], name="a"), annotated([((0, 0, 20, 20), 1)], name="b")]
    detections = [detected([((0, 0, 10, 10), 1, 0.9)], name="a"), detected([((0, 0, 20, 5), 1, 0.9)], name="b")]
    result = quality(annotations, detections)
    assert result["pq"] == pytest.approx(1 / (1 + 1 / 2 + 1 / 2))
    assert result["aji"] == pytest.approx((1 + 1 / 4) / 2)
    assert result["segpc_miou"] == pytest.approx((1 + 1 / 4) / 2)


def test_one_detection_serves_two_cells_in_the_jaccard_index_and_is_counted_twice():
    cells = [annotated([((0, 0, 10, 10), 1), ((10, 0, 20, 10), 1)])]
    result = quality(cells, [detected([((0, 0, 20, 10), 1, 0.9)])])
    assert result["aji"] == pytest.approx((100 + 100) / (200 + 200))
    assert result["segpc_miou"] == pytest.approx(0.5)
    assert result["pq"] == 0


def test_equal_fits_give_the_jaccard_index_the_better_score():
    """Of two detections that fit a cell equally the jaccard index takes the better score."""
    cells = [annotated([((0, 0, 10, 10), 1)])]
    inside, around = ((0, 0, 10, 5), 1), ((0, 0, 20, 10), 1)
    for scores, expected in (((0.6, 0.9), 100 / (200 + 50)), ((0.9, 0.6), 50 / (100 + 200))):
        assert quality(cells, [detected([(*inside, scores[0]), (*around, scores[1])])])["aji"] == pytest.approx(
            expected
        )


def test_more_than_half_in_a_crowd_is_not_false():
    """What lies in a crowd region by more than half is not false and by half it is."""
    cells = [annotated([((0, 0, 10, 10), 1)], crowds=[((20, 0, 40, 20), 1)])]

    def with_second(rectangle, label=1):
        return quality(cells, [detected([((0, 0, 10, 10), 1, 0.9), (rectangle, label, 0.9)])], ("a", "b"))

    inside, half, other_class = (
        with_second((15, 0, 27, 10)),
        with_second((14, 0, 26, 10)),
        with_second((20, 0, 30, 10), 2),
    )
    assert (inside["pq"], inside["aji"]) == (1, 1)
    assert (half["pq"], half["aji"]) == pytest.approx((1 / 1.5, 100 / 220))
    assert (other_class["per_class"]["b"]["pq"], other_class["aji"]) == (0, 1)  # AJI ignores classes


def test_cells_without_outline_are_like_crowd_regions():
    boxed = annotated([((0, 0, 10, 10), 1)], boxes=[((20, 0, 40, 20), 1)])
    as_crowd = annotated([((0, 0, 10, 10), 1)], crowds=[((20, 0, 40, 20), 1)])
    found = [detected([((0, 0, 8, 10), 1, 0.9), ((20, 0, 40, 20), 1, 0.9), ((45, 0, 50, 10), 1, 0.9)])]
    assert quality([boxed], found) == quality([as_crowd], found)
    assert quality([boxed], found)["segpc_miou"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "cells",
    [annotated([]), annotated([], crowds=[((0, 0, 30, 30), 1)]), annotated([], boxes=[((0, 0, 30, 30), 1)])],
    ids=["empty", "all crowd", "boxes only"],
)
def test_without_an_outlined_cell_or_a_false_detection_nothing_is_defined(cells: FieldAnnotations):
    nothing = dict.fromkeys(("pq", "sq", "rq", "segpc_miou", "segpc_miou_any_score"), np.nan)
    for found in (detected([]), detected([((2, 2, 9, 9), 1, 0.1)])):
        result = quality([cells], [found])
        assert result.pop("per_class")["a"] == pytest.approx(nothing, nan_ok=True)
        assert result == pytest.approx(nothing | {"aji": np.nan}, nan_ok=True)
    false = quality([cells], [detected([((40, 0, 50, 10), 1, 0.9)])])
    assert (false["pq"], false["rq"], false["aji"]) == (0, 0, 0)
    assert np.isnan([false["sq"], false["segpc_miou"]]).all()


def test_cells_of_a_field_without_detections_score_zero():
    result = quality([annotated([((0, 0, 10, 10), 1)])], [detected([])])
    assert (result["pq"], result["rq"], result["aji"], result["segpc_miou"]) == (0, 0, 0, 0)
    assert np.isnan(result["sq"])


def test_a_detection_with_an_empty_mask_is_a_false_one_without_area():
    found = detected([((0, 0, 10, 10), 1, 0.9), ((0, 0, 0, 0), 1, 0.9)])
    result = quality([annotated([((0, 0, 10, 10), 1)], crowds=[((20, 0, 30, 10), 1)])], [found])
    assert (result["pq"], result["aji"], result["segpc_miou"]) == pytest.approx((1 / 1.5, 1, 1))


def test_pixels_of_a_field_of_five_megapixels_are_counted_exactly():
    height, width = 1944, 2592

    def square(x: int, side: int) -> dict:
        return text_rle(coco_mask.frPyObjects([[x, 0, x + side, 0, x + side, side, x, side]], height, width)[0])

    cells = annotate("large.png", height, width, [Cell(1, rle=square(0, 1501)), Cell(1, rle=square(1700, 3))])
    found = FieldDetections(
        "large.png", height, width, cells.boxes, cells.labels, np.array([0.9, 0.8], np.float32),
        [square(0, 1500), square(1702, 3)],
    )  # fmt: skip
    areas = 1501**2, 1500**2
    shared = areas[1] + 3
    assert quality([cells], [found])["aji"] == pytest.approx(shared / (sum(areas) + 9 + 9 - shared), rel=1e-14)


@given(st.lists(drawn_fields(), max_size=3), SCORES)
def test_scores_equal_those_from_counted_pixels(drawn, min_score):
    pairs = [build(field) for field in drawn]
    annotations, detections = [cells.for_masks() for cells, _ in pairs], [found for _, found in pairs]
    result = quality([cells for cells, _ in pairs], detections, CLASSES, min_score)
    per_class = [panoptic_reference(annotations, detections, label, min_score) for label in range(1, len(CLASSES) + 1)]
    for name, expected in zip(CLASSES, per_class, strict=True):
        ours = {score: result["per_class"][name][score] for score in ("pq", "sq", "rq")}
        assert ours == pytest.approx(expected, nan_ok=True)
        assert np.isnan(ours["sq"]) or ours["pq"] == pytest.approx(ours["sq"] * ours["rq"])
    expected = {score: mean([of_class[score] for of_class in per_class]) for score in ("pq", "sq", "rq")}
    expected["aji"] = mean([aji_reference(*field, min_score) for field in zip(annotations, detections, strict=True)])
    expected["segpc_miou"] = segpc_reference(annotations, detections, min_score)
    assert {score: result[score] for score in expected} == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_where_masks_do_not_overlap_panoptic_quality_is_that_of_the_unique_matching(seed):
    rng = np.random.default_rng(seed)
    cells = painted(rng)
    found = [np.roll(mask, int(rng.integers(0, 3)), axis=1) for mask in cells if rng.random() < 0.8] + painted(rng)
    found = [mask & ~np.any([np.zeros_like(mask), *found[:i]], axis=0) for i, mask in enumerate(found)]
    found = [mask for mask in found if mask.any()] or [~np.any([np.zeros((HEIGHT, WIDTH), bool), *cells], axis=0)]
    ious = np.array([[(a & b).sum() / (a | b).sum() for b in cells] for a in found]).reshape(len(found), len(cells))
    assert (ious > 0.5).sum(axis=0).max(initial=0) <= 1
    annotations = annotate("field.png", HEIGHT, WIDTH, [Cell(1, rle=encoded(mask)) for mask in cells])
    detections = replace(
        detected([((0, 0, 1, 1), 1, float(rng.random())) for _ in found]), rles=[encoded(mask) for mask in found]
    )
    result = quality([annotations], [detections], min_score=0.0)
    pairs = ious[ious > 0.5]
    assert result["pq"] == pytest.approx(pairs.sum() / ((len(cells) + len(found)) / 2))
    assert result["rq"] == pytest.approx(len(pairs) / ((len(cells) + len(found)) / 2))


@settings(max_examples=40)
@given(drawn_fields(), st.randoms(use_true_random=False))
def test_quality_scores_are_bounded_and_order_free(drawn, random):
    """Scores lie within their bounds and do not depend on the order of cells."""
    cells, found = build(drawn)
    found.scores[:] = np.linspace(0.1, 1, len(found.scores))  # of equal ones the first counts
    order = random.sample(range(len(cells.labels)), len(cells.labels))
    shuffled = replace(
        cells, **{part: getattr(cells, part)[order] for part in ("boxes", "labels", "crowd", "outlined")},
        rles=[cells.rles[i] for i in order],
    )  # fmt: skip
    rows = np.array(random.sample(range(len(found.labels)), len(found.labels)), np.int64)
    result, again = quality([cells], [found], CLASSES), quality([shuffled], [found.select(rows)], CLASSES)
    for scores, same in zip(flat(result), flat(again), strict=True):
        assert scores == pytest.approx(same, nan_ok=True)
        assert np.isnan(scores) or 0 <= scores <= 1


@settings(max_examples=40)
@given(drawn_fields())
def test_cells_detected_as_they_were_annotated_score_one(drawn):
    cells = build(drawn)[0].for_masks()
    first = {str(cells.rles[row]): row for row in np.flatnonzero(~cells.crowd)[::-1]}  # no cell twice
    rows = np.array(sorted(first.values()), np.int64)
    crowd = np.isin(np.arange(len(cells.crowd)), rows, invert=True)
    found = FieldDetections(
        cells.name, cells.height, cells.width, cells.boxes[rows], cells.labels[rows],
        np.ones(len(rows), np.float32), [cells.rles[row] for row in rows],
    )  # fmt: skip
    assert all(
        np.isnan(score) or score == 1 for score in flat(quality([replace(cells, crowd=crowd)], [found], CLASSES))
    )


def flat(result: dict) -> list[float]:
    per_class = [score for of_class in result["per_class"].values() for score in of_class.values()]
    return [score for name, score in result.items() if name != "per_class"] + per_class


def mean(values: list[float]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else np.nan


def panoptic_reference(annotations, detections, label, min_score) -> dict[str, float]:
    ious, left_over = [], 0
    for cells, found in zip(annotations, detections, strict=True):
        result = outcome(cells, found, min_score, same_class=True, over_half=True)
        covers = [cover(cells, cell, found, row) for cell, row in result.pairs if cells.labels[cell] == label]
        ious += [shared / both for shared, both in covers]
        left_over += sum(cells.labels[cell] == label for cell in result.missed)
        left_over += sum(found.labels[row] == label for row in result.false)
    if not ious and not left_over:
        return {"pq": np.nan, "sq": np.nan, "rq": np.nan}
    total = len(ious) + 0.5 * left_over
    return {"pq": sum(ious) / total, "sq": mean(ious), "rq": len(ious) / total}


def aji_reference(cells, found, min_score) -> float:
    """Algorithm 1 of Kumar et al. over masks."""
    rows = [
        row
        for row in sorted(range(len(found.scores)), key=lambda i: -found.scores[i])
        if found.scores[row] >= min_score
    ]
    used, shared, covered = set(), 0, 0
    for cell in np.flatnonzero(~cells.crowd).tolist():
        covers = {row: cover(cells, cell, found, row) for row in rows}
        best = max(rows, key=lambda row: covers[row][0] / covers[row][1], default=None)
        if best is None or covers[best][0] == 0:
            covered += mask(cells, cell).sum()
            continue
        used.add(best)
        shared += covers[best][0]
        covered += covers[best][1]
    for row in set(rows) - used:
        one = mask(found, row)
        if not any(2 * (one & mask(cells, crowd)).sum() > one.sum() for crowd in np.flatnonzero(cells.crowd).tolist()):
            covered += one.sum()
    return shared / covered if covered else np.nan


def segpc_reference(annotations, detections, min_score) -> float:
    """The best IoU of each cell, over the number of cells."""
    best = [
        max(
            [
                0.0,
                *(
                    np.divide(*cover(cells, cell, found, row))
                    for row in np.flatnonzero(found.scores >= min_score).tolist()
                ),
            ]
        )
        for cells, found in zip(annotations, detections, strict=True)
        for cell in np.flatnonzero(~cells.crowd).tolist()
    ]
    return sum(best) / len(best) if best else np.nan


def painted(rng: np.random.Generator) -> list[np.ndarray]:
    """Masks of up to six cells, painted over one another."""
    labels = np.zeros((HEIGHT, WIDTH), int)
    for number in range(1, int(rng.integers(1, 7))):
        x, y = rng.integers(0, 24), rng.integers(0, 14)
        labels[y : y + rng.integers(4, 14), x : x + rng.integers(4, 14)] = number
    return [labels == number for number in np.unique(labels[labels > 0])]


def encoded(one: np.ndarray) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(one, np.uint8)))
