"""Tiles of a field, and cells joined over their seams: by an oracle that finds in each tile just what is there."""

import functools
import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from wbcjax.evaluate.detections import FieldDetections
from wbcjax.predict.tiles import COMPARABLE, merge, tiles
from wbcjax.smear.field import text_rle

MARGIN = 2.0
Tile = tuple[int, int]  # top, left


def oracle(numbers: np.ndarray, labels: dict[int, int], tile: Tile, canvas: tuple[int, int]) -> FieldDetections:
    """What a perfect network finds in a tile of a field whose pixels are cell numbers: cells cut to the tile.

    Its scores are comparable: what a tile sees of a cell may score more or less than what another does.
    """
    (top, left), (height, width) = tile, canvas
    seen = np.zeros_like(numbers)
    seen[top : top + height, left : left + width] = numbers[top : top + height, left : left + width]
    present = [number for number in np.unique(seen).tolist() if number]
    masks = [seen == number for number in present]
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    return FieldDetections(
        name="field.png",
        height=numbers.shape[0],
        width=numbers.shape[1],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([labels[number] for number in present], np.int32),
        scores=np.random.default_rng((top, left)).uniform(1.01 * COMPARABLE, 1.0, len(present)).astype(np.float32),
        rles=[rle(mask) for mask in masks],
    )


def rle(mask: np.ndarray) -> dict:
    return text_rle(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def views(field: np.ndarray, corners: list[Tile], canvas: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    height, width = field.shape
    return [
        (float(left), float(top), float(min(left + canvas[1], width)), float(min(top + canvas[0], height)))
        for top, left in corners
    ]


def found_in(numbers: np.ndarray, canvas: tuple[int, int], overlap: int, labels: dict | None = None) -> FieldDetections:
    """What comes out of a field's tiles, when each is seen by the oracle."""
    labels = labels or dict.fromkeys(range(1, int(numbers.max()) + 1), 1)
    height, width = numbers.shape
    corners = tiles(height, width, canvas, overlap)
    seen_in = [oracle(numbers, labels, tile, canvas) for tile in corners]
    return merge(seen_in, views(numbers, corners, canvas), MARGIN, nucleus=0)


def assert_every_cell_once_and_whole(numbers: np.ndarray, found: FieldDetections, labels: dict | None = None) -> None:
    cells = {rle(numbers == number)["counts"]: number for number in np.unique(numbers).tolist() if number}
    assert sorted(r["counts"] for r in found.rles) == sorted(cells)
    for row, box in enumerate(found.boxes.tolist()):
        number = cells[found.rles[row]["counts"]]
        y, x = np.nonzero(numbers == number)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert labels is None or found.labels[row] == labels[number]


def disc(numbers: np.ndarray, number: int, centre: tuple[int, int], radius: int) -> None:
    cv2.circle(numbers, centre, radius, number, cv2.FILLED)


@given(st.integers(1, 400), st.integers(1, 400), st.tuples(st.integers(8, 96), st.integers(8, 96)), st.floats(0.0, 0.9))
def test_tiles_cover_the_field_evenly_and_share_at_least_the_overlap(height, width, canvas, share):
    overlap = int(share * min(canvas))
    corners = tiles(height, width, canvas, overlap)
    assert corners == sorted(set(corners))
    tops, lefts = (sorted(set(starts)) for starts in zip(*corners, strict=True))
    for length, tile, starts in ((height, canvas[0], tops), (width, canvas[1], lefts)):
        assert starts[0] == 0
        if length <= tile:
            assert starts == [0]
            continue
        assert starts[-1] == length - tile, "the last tile ends where the field does"
        steps = np.diff(starts)
        assert steps.max() <= tile - overlap
        assert steps.max() - steps.min() <= 1
        assert (len(starts) - 2) * (tile - overlap) < length - tile, "no tile too many"


def test_one_pixel_beyond_the_canvas_takes_two_tiles():
    """A field of just the canvas is one tile and a pixel more takes two."""
    assert tiles(64, 96, (64, 96), 16) == [(0, 0)]
    assert tiles(64, 97, (64, 96), 16) == [(0, 0), (0, 1)]
    assert tiles(65, 97, (64, 96), 16) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("overlap", [-1, 64, 100])
def test_an_overlap_that_leaves_nothing_to_go_on_is_refused(overlap):
    with pytest.raises(ValueError, match=r"tiles of \(64, 96\) cannot overlap"):
        tiles(100, 100, (64, 96), overlap)


def test_what_is_found_in_one_tile_is_handed_on_as_it_is():
    numbers = np.zeros((64, 96), np.uint8)
    disc(numbers, 1, (0, 0), 20)
    only = oracle(numbers, {1: 3}, (0, 0), (64, 96))
    assert merge([only], [(0.0, 0.0, 96.0, 64.0)], MARGIN, nucleus=0) is only


def test_a_field_without_cells_has_none_in_any_tile():
    found = found_in(np.zeros((100, 150), np.uint8), (64, 64), 16)
    assert (len(found.rles), found.height, found.width) == (0, 100, 150)


# Tiles of 64 pixels that overlap by 28 pixels and more: they begin at 0, 36 and 72.
SEAMS = {
    "on a seam, whole in one tile": ((70, 30), 8),
    "on a seam, whole in no tile": ((50, 30), 20),
    "on a corner of four tiles, whole in one": ((50, 50), 10),
    "on a corner of four tiles, whole in none": ((50, 50), 20),
    "in the part that two tiles see": ((50, 20), 8),
    "in the part that four tiles see": ((50, 50), 8),
    "larger than a tile": ((68, 68), 50),
    "on the field's own corner": ((0, 0), 12),
}


@pytest.mark.parametrize("case", SEAMS)
def test_a_cell_comes_out_once_and_whole(case):
    numbers = np.zeros((136, 136), np.uint8)
    assert tiles(136, 136, (64, 64), 28) == list(itertools.product((0, 36, 72), repeat=2))
    disc(numbers, 1, *SEAMS[case])
    assert_every_cell_once_and_whole(numbers, found_in(numbers, (64, 64), 28))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    canvas=st.tuples(st.integers(24, 64), st.integers(24, 64)),
    size=st.tuples(st.integers(1, 160), st.integers(1, 160)),
    overlap=st.integers(6, 20),
    largest=st.integers(3, 70),
)
def test_every_cell_of_a_random_field_comes_out_once_and_whole(seed, canvas, size, overlap, largest):
    rng = np.random.default_rng(seed)
    numbers, labels = np.zeros(size, np.uint8), {}
    for _ in range(60):
        number = len(labels) + 1
        cell = np.zeros(size, np.uint8)
        centre, axes = rng.integers(0, size)[::-1].tolist(), rng.integers(1, largest + 1, 2).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(cell, centre, axes, int(rng.integers(180)), 0, 360, number, cv2.FILLED)
        else:
            cv2.rectangle(cell, centre, [c + a for c, a in zip(centre, axes, strict=True)], number, cv2.FILLED)
        if cell.any() and not (numbers[cell > 0]).any():  # cells may touch, never overlap
            numbers += cell
            labels[number] = int(rng.integers(1, 4))
    assert_every_cell_once_and_whole(numbers, found_in(numbers, canvas, overlap, labels), labels)


@pytest.mark.parametrize("side", [5, 12, 31, 50])
def test_touching_cells_that_leave_no_background_stay_apart(side):
    rows, columns = np.divmod(np.arange(120 * 150).reshape(120, 150), 150)
    numbers = (1 + columns // side + 100 * (rows // side)).astype(np.int32)
    labels = {number: 1 + number % 3 for number in np.unique(numbers).tolist()}
    assert_every_cell_once_and_whole(numbers, found_in(numbers, (48, 64), 16, labels), labels)


def seen(box: tuple[int, int, int, int], label: int, score: float) -> FieldDetections:
    """A tile's one detection, a rectangle, in a field of 100 x 60 that two tiles of 60 x 60 see."""
    x1, y1, x2, y2 = box
    mask = np.zeros((60, 100), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return FieldDetections(
        "field.png",
        60,
        100,
        np.array([box], np.float32),
        np.array([label], np.int32),
        np.array([score], np.float32),
        [rle(mask)],
    )


ONE = [((20, 10, 60, 30), 0.8), ((40, 10, 80, 30), 0.9)]  # a cell that goes on beyond either tile
NOTHING = seen((0, 0, 1, 1), 1, 0.5).select(np.zeros(0, np.int64))
LEFT, RIGHT = (0.0, 0.0, 60.0, 60.0), (40.0, 0.0, 100.0, 60.0)


def merged(left: FieldDetections, right: FieldDetections, nucleus: int = 0) -> list[tuple[list[float], int, float]]:
    found = merge([left, right], [LEFT, RIGHT], MARGIN, nucleus)
    return [
        (box, int(label), round(float(score), 3))
        for box, label, score in zip(found.boxes.tolist(), found.labels, found.scores, strict=True)
    ]


def test_the_surest_whole_view_of_each_class_stays():
    """Of a cell that two tiles see whole the surest detection of each class stays."""
    box = (44, 10, 55, 30)
    assert merged(seen(box, 1, 0.7), seen((44, 10, 55, 29), 1, 0.9)) == [([44, 10, 55, 29], 1, 0.9)]
    assert merged(seen(box, 1, 0.7), seen(box, 2, 0.9)) == [(list(box), 2, 0.9), (list(box), 1, 0.7)]


def test_a_whole_view_beats_a_surer_cut_one():
    """A cut view of a cell that another tile sees whole is dropped though it is surer."""
    assert merged(seen((45, 10, 60, 30), 1, 0.9), seen((45, 10, 70, 30), 2, 0.6)) == [([45, 10, 70, 30], 2, 0.6)]
    assert merged(seen((45, 10, 60, 30), 1, 0.7), seen((45, 10, 70, 30), 2, 0.8)) == [([45, 10, 70, 30], 2, 0.8)]


def test_a_sliver_outlined_badly_is_no_second_cell():
    # One tile sees four columns of the cell, and outlines three of them and half of their height.
    assert merged(seen((57, 20, 60, 30), 1, 0.9), seen((56, 10, 80, 30), 1, 0.8)) == [([56, 10, 80, 30], 1, 0.8)]
    assert merged(seen((20, 10, 44, 30), 1, 0.8), seen((40, 20, 43, 30), 1, 0.9)) == [([20, 10, 44, 30], 1, 0.8)]


def test_an_unsure_fragment_hides_no_sure_cell():
    """An unsure fragment seen whole leaves the sure cell that two tiles see cut."""
    left, right, fragment = (30, 10, 60, 30), (40, 10, 70, 30), (43, 11, 57, 29)
    found = merged(seen(left, 1, 0.98), together(seen(right, 1, 0.97), seen(fragment, 1, 0.06)))
    assert found == [([30, 10, 70, 30], 1, 0.98)]


@pytest.mark.parametrize("whole", [(43, 10, 70, 30), (43, 10, 90, 30), (45, 12, 57, 28)])
def test_a_sure_cut_view_outlives_an_unsure_whole_one_of_any_size(whole):
    cut = (43, 10, 60, 30)
    for unsure in (0.06, 0.49):
        found = merged(seen(cut, 1, 0.99), seen(whole, 2, unsure))
        assert found[0] == (list(cut), 1, 0.99)
        assert found[1:] in ([], [(list(whole), 2, pytest.approx(unsure))])


def test_a_fragment_seen_whole_cuts_no_cell_however_sure_it_is():
    # Of the cell, which begins in the left tile alone, the right tile has a part that comes near none of its edges.
    cell, fragment = (5, 10, 60, 30), (43, 10, 57, 30)
    assert merged(seen(cell, 1, 0.8), seen(fragment, 1, 0.7)) == [(list(cell), 1, 0.8)]
    found = merged(seen(cell, 1, 0.8), seen(fragment, 1, 0.9))
    assert found == [(list(fragment), 1, 0.9), (list(cell), 1, 0.8)]


def test_an_unsure_cut_view_adds_no_pixels_to_a_sure_one():
    assert merged(seen((30, 10, 60, 30), 1, 0.9), seen((40, 10, 99, 30), 1, 0.06))[0] == ([30, 10, 60, 30], 1, 0.9)


THREE = ((0.0, 0.0, 60.0, 60.0), (20.0, 0.0, 80.0, 60.0), (40.0, 0.0, 100.0, 60.0))  # tiles of the same field
SCORES = st.floats(0.0625, 1.0, width=32)


@st.composite
def junk(draw: st.DrawFn) -> list[FieldDetections]:
    """What three overlapping tiles could find at the worst: rectangles of any place, class and score."""
    found = []
    for left, _, right, _ in THREE:
        ends = st.integers(int(left), int(right))
        boxes = draw(st.lists(st.tuples(ends, ends, SCORES, st.integers(1, 2)), min_size=1, max_size=3))
        rectangles = [seen((min(x), 20, max(x) + 1, 40), label, score) for *x, score, label in boxes if max(x) < right]
        found.append(functools.reduce(together, rectangles, NOTHING))
    return found


def cells_of(found: list[FieldDetections], least: float = 0.0) -> list[tuple[float, int, str]]:
    """Score, class and outline of the cells that score more than `least`."""
    cells = merge(found, THREE, MARGIN, nucleus=0)
    parts = zip(cells.scores.tolist(), cells.labels.tolist(), [one["counts"] for one in cells.rles], strict=True)
    return sorted(cell for cell in parts if cell[0] > least)


@pytest.mark.slow
@settings(max_examples=300)
@given(junk(), st.integers(0, 2), junk())
def test_a_detection_more_changes_no_cell_that_scores_well_above_it(found, tile, others):
    for row in range(len(others[tile].rles)):
        added = others[tile].select(np.array([row]))
        more = [together(one, added) if number == tile else one for number, one in enumerate(found)]
        well_above = float(added.scores[0]) / COMPARABLE + 1e-6
        assert cells_of(more, well_above) == cells_of(found, well_above)


@settings(max_examples=300)
@given(junk(), SCORES)
def test_leaving_out_what_scores_low_brings_no_cell_back(found, threshold):
    surer = [one.select(np.flatnonzero(one.scores >= threshold)) for one in found]
    all_cells = cells_of(found)
    for score, _, counts in cells_of(surer):
        assert any(before >= COMPARABLE * score - 1e-6 and share_a_pixel(counts, at) for before, _, at in all_cells)


def share_a_pixel(*outlines: str) -> bool:
    rles: list = [{"size": [60, 100], "counts": counts.encode()} for counts in outlines]
    return bool(coco_mask.area(coco_mask.merge(rles, intersect=True)))


def test_the_fields_own_border_cuts_no_cell():
    box = (44, 0, 55, 30)
    assert merged(seen(box, 1, 0.7), seen(box, 2, 0.9)) == [(list(box), 2, 0.9), (list(box), 1, 0.7)]


def test_cells_whose_outlines_overlap_a_little_stay_apart():
    # Whole and whole; cut and whole; cut and cut: two fifths of the smaller outline lie in the other.
    for left, right in [
        ((43, 10, 53, 30), (49, 10, 59, 30)),
        ((50, 10, 60, 30), (56, 10, 80, 30)),
        ((30, 10, 60, 30), (45, 22, 75, 60)),
    ]:
        assert len(merged(seen(left, 1, 0.9), seen(right, 1, 0.8))) == 2


def test_cut_views_are_united_under_the_surest_ones_class_and_score():
    assert merged(seen((30, 10, 60, 30), 1, 0.6), seen((40, 9, 70, 30), 2, 0.8)) == [([30, 9, 70, 30], 2, 0.8)]


def test_a_united_cell_is_described_by_its_surest_view():
    """Outputs of further heads for a united cell are those of its view of the highest score."""
    views = [replace(seen(box, 1, score), said={"roundness": np.array([score / 2], np.float32)}) for box, score in ONE]
    found = merge(views, [LEFT, RIGHT], MARGIN, 0)
    assert found.boxes.tolist() == [[20, 10, 80, 30]]
    np.testing.assert_allclose(found.said["roundness"], [0.45])


def test_cut_views_of_cells_side_by_side_are_not_united():
    # Two cells across the seam, the upper found by the left tile alone, the lower by the right tile alone.
    assert len(merged(seen((30, 10, 60, 30), 1, 0.6), seen((40, 30, 70, 50), 1, 0.8))) == 2


def test_detections_of_one_tile_are_never_compared():
    one = seen((5, 10, 25, 30), 1, 0.9)
    twice = one.select(np.array([0, 0]))
    assert len(merge([twice, seen((70, 10, 90, 30), 1, 0.7)], [LEFT, RIGHT], MARGIN, nucleus=0).rles) == 3


CELL, NUCLEUS = 1, 2


def test_tiles_lose_neither_nucleus_nor_cell():
    """A nucleus that fills its cell is not lost for a cut view of the cell nor the cell for it."""
    cell, nucleus = (30, 10, 60, 30), (40, 11, 70, 29)  # the one by the left tile alone, the other by the right
    found = merged(seen(cell, CELL, 0.9), seen(nucleus, NUCLEUS, 0.8), NUCLEUS)
    assert found == [(list(cell), CELL, 0.9), (list(nucleus), NUCLEUS, 0.8)]
    whole = (42, 11, 58, 29)
    found = merged(seen((40, 10, 60, 30), CELL, 0.9), seen(whole, NUCLEUS, 0.8), NUCLEUS)
    assert found == [([40, 10, 60, 30], CELL, 0.9), (list(whole), NUCLEUS, 0.8)]


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    canvas=st.tuples(st.integers(24, 64), st.integers(24, 64)),
    size=st.tuples(st.integers(20, 160), st.integers(20, 160)),
    overlap=st.integers(6, 20),
    filled=st.floats(0.3, 1.0),
)
def test_cells_and_the_nuclei_that_fill_them_come_out_once_and_whole(seed, canvas, size, overlap, filled):
    rng = np.random.default_rng(seed)
    cells, nuclei = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for number in range(1, 20):
        cell = np.zeros(size, np.uint8)
        centre, radius = rng.integers(0, size)[::-1].tolist(), int(rng.integers(4, 40))
        disc(cell, number, centre, radius)
        if not cells[cell > 0].any():
            cells += cell
            disc(nuclei, number, centre, int(filled * radius))
    corners = tiles(size[0], size[1], canvas, overlap)
    labels = {label: dict.fromkeys(range(1, 20), label) for label in (CELL, NUCLEUS)}
    seen_in = [
        together(oracle(cells, labels[CELL], tile, canvas), oracle(nuclei, labels[NUCLEUS], tile, canvas))
        for tile in corners
    ]
    found = merge(seen_in, views(cells, corners, canvas), MARGIN, NUCLEUS)
    for numbers, label in ((cells, CELL), (nuclei, NUCLEUS)):
        assert_every_cell_once_and_whole(numbers, found.select(np.flatnonzero(found.labels == label)))


def together(one: FieldDetections, other: FieldDetections) -> FieldDetections:
    """What a tile sees of both."""
    parts = ("boxes", "labels", "scores")
    joined = {part: np.concatenate([getattr(one, part), getattr(other, part)]) for part in parts}
    return replace(one, **joined, rles=one.rles + other.rles)


def test_neighbours_that_an_edge_makes_one_of_are_no_third_cell():
    """The lower tile's edge cuts two cells through their middles, and its network takes them for one."""
    numbers = np.zeros((136, 64), np.uint8)
    disc(numbers, 1, (24, 40), 10)
    disc(numbers, 2, (45, 40), 10)
    views_ = [(0.0, 0.0, 64.0, 64.0), (0.0, 36.0, 64.0, 100.0)]
    upper = replace(oracle(numbers, {1: 1, 2: 1}, (0, 0), (64, 64)), scores=np.array([0.9, 0.95], np.float32))
    below = numbers > 0
    below[:36] = False
    y, x = np.nonzero(below)
    lower = FieldDetections(
        name="field.png",
        height=136,
        width=64,
        boxes=np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32),
        labels=np.array([1], np.int32),
        scores=np.array([0.8], np.float32),
        rles=[rle(below)],
    )
    found = merge([upper, lower], views_, MARGIN, nucleus=0)
    assert_every_cell_once_and_whole(numbers, found)
    sure = replace(lower, scores=np.array([0.99], np.float32))
    assert len(merge([upper, sure], views_, MARGIN, nucleus=0).rles) == 3, "what scores more is never hidden"
