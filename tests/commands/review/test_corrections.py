"""Corrections of a field: what a drawn line does, and that each can be undone."""

import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tests.commands.review.make import SIZE, area, candidate, square
from wbcjax.commands.review.actions import Asked, entry_of
from wbcjax.commands.review.cells import FieldReview, Refused, ReviewCell, cell_of_json
from wbcjax.commands.review.strokes import stroke, tidy

ONE, OTHER = ReviewCell(1, 1, (square(20, 20),), 0.9), ReviewCell(2, 2, (square(60, 20),), 0.8)
CANDIDATES = (candidate(110, 60, 0.2),)


def circle(x: float, y: float, radius: float, points: int = 24) -> list[list[float]]:
    turns = [2 * math.pi * k / points for k in range(points)]
    return [[x + radius * math.cos(turn), y + radius * math.sin(turn)] for turn in turns]


def after(review: FieldReview, **values) -> FieldReview:
    asked = Asked({"label": 1} | values, 2, SIZE)
    review.apply(entry_of(asked, review, CANDIDATES))
    return review


LOOP = circle(120, 80, 15)


def two() -> FieldReview:
    return FieldReview((ONE, OTHER))


def test_a_line_around_bare_ground_draws_a_cell_of_the_chosen_class():
    review = after(two(), action="stroke", label=2, points=circle(120, 80, 15))
    drawn = review.cells[3]
    assert drawn.label == 2
    assert drawn.score is None
    assert area(drawn) == pytest.approx(math.pi * 15**2, rel=0.02)


def test_a_line_around_a_cell_outlines_it_anew_and_keeps_its_class():
    review = after(two(), action="stroke", label=1, points=circle(70, 30, 12))
    assert sorted(review.cells) == [1, 2]
    assert review.cells[2].label == 2
    assert review.cells[2].score is None
    assert area(review.cells[2]) == pytest.approx(math.pi * 12**2, rel=0.02)


def test_a_line_through_a_cell_cuts_it_into_pieces_of_its_area():
    review = after(two(), action="stroke", points=[[10, 25], [50, 25]])
    assert sorted(review.cells) == [2, 3, 4]
    assert sorted(area(cell) for cell in review.cells.values() if cell.id > 2) == [100.0, 300.0]
    assert {cell.label for cell in review.cells.values() if cell.id > 2} == {1}


def test_a_line_through_two_cells_cuts_both():
    review = after(two(), action="stroke", points=[[10, 30], [90, 30]])
    assert [area(cell) for cell in review.cells.values()] == [200.0] * 4


def test_a_line_from_one_cell_into_another_joins_them_with_the_class_of_the_first():
    review = after(two(), action="stroke", points=[[65, 30], [35, 30]])
    (joined,) = review.cells.values()
    assert (joined.id, joined.label, len(joined.outlines)) == (2, 2, 1)
    assert area(joined) == pytest.approx(800 + 20 * 3, abs=1)  # a bridge of three pixels by twenty


def test_a_line_out_of_a_cell_and_back_adds_to_it():
    review = after(two(), action="stroke", points=[[30, 35], [30, 55], [38, 55], [38, 35]])
    assert sorted(review.cells) == [1, 2]
    assert area(review.cells[1]) == pytest.approx(400 + 8 * 15, abs=1)


def test_a_line_within_a_cell_draws_one_in_it_such_as_a_nucleus():
    review = after(two(), action="stroke", label=2, points=circle(30, 30, 5))
    assert sorted(review.cells) == [1, 2, 3]
    assert review.cells[3].label == 2


def test_what_is_drawn_beyond_the_image_is_cut_off():
    review = after(two(), action="stroke", points=circle(0, 60, 10))
    left, top, right, bottom = shapely.Polygon(review.cells[3].outlines[0]).bounds
    assert (left, right) == (0, 10)
    assert (top, bottom) == (50, 70)


def test_a_line_that_crosses_itself_becomes_an_outline_that_does_not():
    review = after(two(), action="stroke", points=[[100, 60], [140, 100], [140, 60], [100, 100]])
    assert all(shapely.Polygon(points).is_valid for points in review.cells[3].outlines)


@pytest.mark.parametrize(
    "points", [[[5, 5]], [[5, 5], [6, 5]], [[5, 5], [6, 5], [7, 5]], [[300, 300], [310, 300], [305, 310]]]
)
def test_a_line_that_encloses_nothing_is_refused(points):
    with pytest.raises(Refused, match="draw"):
        after(two(), action="stroke", points=points)


def test_naming_removing_and_moving_a_point_change_that_cell_alone():
    review = after(two(), action="name", cell=1, label=2)
    after(review, action="reshape", cell=1, part=0, points=[[20, 20], [44, 20], [40, 40], [20, 40]])
    after(review, action="remove", cell=2)
    (cell,) = review.cells.values()
    assert (cell.id, cell.label, cell.score) == (1, 2, None)
    assert area(cell) == pytest.approx(440)


def test_a_cell_and_all_that_score_less_are_removed_together_but_no_corrected_one():
    review = after(FieldReview((ONE, OTHER, ReviewCell(3, 1, (square(100, 20),), 0.7))), action="stroke", points=LOOP)
    after(review, action="remove_below", cell=2)
    assert sorted(review.cells) == [1, 4]
    with pytest.raises(Refused, match="has no score"):
        after(review, action="remove_below", cell=4)
    after(review, action="undo")
    assert sorted(review.cells) == [1, 2, 3, 4]


def test_a_candidate_that_is_taken_becomes_a_cell():
    review = after(two(), action="take", candidate=0)
    assert review.cells[3].outlines == CANDIDATES[0].outlines


def test_a_number_of_a_removed_cell_is_never_given_again():
    review = after(after(two(), action="remove", cell=2), action="take", candidate=0)
    assert sorted(review.cells) == [1, 3]


def test_a_cell_comes_back_from_json_as_it_was():
    cell = ReviewCell(7, 2, (square(1.25, 2), square(50, 60)), 0.5, crowd=True, box=True)
    assert cell_of_json(cell.as_json()) == cell


@pytest.mark.parametrize(
    "values",
    [
        {"action": "name", "cell": 9, "label": 1},
        {"action": "name", "cell": 1, "label": 3},
        {"action": "name", "cell": 1, "label": 0},
        {"action": "name", "cell": True, "label": 1},
        {"action": "take", "candidate": 1},
        {"action": "take", "candidate": -1},
        {"action": "reshape", "cell": 1, "part": 1, "points": [[0, 0], [9, 0], [9, 9]]},
        {"action": "reshape", "cell": 1, "part": 0, "points": [[0, 0], [9, 0]]},
        {"action": "stroke", "points": [[float("nan"), 0], [9, 0], [9, 9]]},
        {"action": "stroke", "points": [[1e300, 0], [9, 0], [9, 9]]},
        {"action": "stroke", "points": "no points"},
        {"action": "undo"},
        {"action": "redo"},
        {"action": "no such action"},
        {"action": ["no text"]},
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(values):
    review = two()
    with pytest.raises(Refused):
        after(review, **values)
    assert list(review.cells.values()) == [ONE, OTHER]
    assert review.entries == 0


places = st.tuples(st.floats(0, 160), st.floats(0, 120)).map(list)
actions = st.one_of(
    st.fixed_dictionaries({"action": st.just("stroke"), "points": st.lists(places, min_size=2, max_size=12)}),
    st.fixed_dictionaries({"action": st.just("remove"), "cell": st.integers(1, 6)}),
    st.fixed_dictionaries({"action": st.just("name"), "cell": st.integers(1, 6), "label": st.integers(1, 2)}),
    st.just({"action": "take", "candidate": 0}),
)


@given(st.lists(actions, max_size=12))
def test_undoing_all_gives_the_beginning_and_redoing_all_the_end(asked):
    review = two()
    done = 0
    for values in asked:
        try:
            after(review, **values)
            done += 1
        except Refused:
            pass
    end = dict(review.cells)
    for _ in range(done):
        after(review, action="undo")
    assert review.cells == {1: ONE, 2: OTHER}
    for _ in range(done):
        after(review, action="redo")
    assert review.cells == end


@given(st.lists(places, min_size=3, max_size=30))
def test_every_line_gives_sound_outlines_within_the_image(points):
    try:
        line = stroke([ONE, OTHER], tuple((x, y) for x, y in points), SIZE)
    except Refused:
        return
    for outlines in line.outlines:
        parts = [shapely.Polygon(outline) for outline in outlines]
        assert all(part.is_valid and part.area >= 3.9 for part in parts)
        assert shapely.union_all(parts).within(shapely.box(-0.01, -0.01, 160.01, 120.01))


def test_outlines_lose_their_holes_and_specks():
    ring = shapely.box(10, 10, 50, 50).difference(shapely.box(20, 20, 30, 30))
    (outline,) = tidy([ring, shapely.box(80, 80, 81, 81)], SIZE)
    assert shapely.Polygon(outline).area == 1600
