"""Round outlines against the areas and points of the curves they stand for."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wbcjax.smear.formats.checks import Fault, shoelace_area
from wbcjax.smear.formats.shapes import SAGITTA, circle, cut, ellipse

SIZE = (60, 80)
radii, centres, angles = st.floats(0.5, 300), st.floats(-50, 50), st.floats(-7, 7)


@given(cx=centres, cy=centres, r=radii)
def test_a_circles_polygon_is_within_a_fiftieth_pixel(cx, cy, r):
    """A circle strays from the curve by less than a fiftieth of a pixel."""
    points = circle(cx, cy, r)
    np.testing.assert_allclose(np.linalg.norm(points - (cx, cy), axis=1), r)
    middles = (points + np.roll(points, 1, axis=0)) / 2
    assert np.linalg.norm(middles - (cx, cy), axis=1).min() >= r - SAGITTA


@given(rx=radii, ry=radii)
def test_an_ellipse_has_the_area_of_the_curve(rx, ry):
    assert shoelace_area(ellipse(5, 6, rx, ry)) == pytest.approx(np.pi * rx * ry, rel=0.05)
    if min(rx, ry) > 10:
        assert shoelace_area(ellipse(5, 6, rx, ry)) == pytest.approx(np.pi * rx * ry, rel=0.005)


@given(rx=radii, ry=radii, theta=angles)
def test_an_ellipse_is_turned_from_x_towards_y(rx, ry, theta):
    turn = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])  # rows: where x and y go
    np.testing.assert_allclose(ellipse(0, 0, rx, ry, theta), ellipse(0, 0, rx, ry) @ turn, atol=1e-9)
    np.testing.assert_allclose(ellipse(3, 4, rx, ry, theta)[0], [3 + rx * np.cos(theta), 4 + rx * np.sin(theta)])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((5, 5, 0), "the radius is 0: zero area"),
        ((5, 5, -3), "the radius is -3"),
        ((5, 5, float("nan")), "the centre, radius or angle is not finite (5, 5, nan"),
        ((float("inf"), 5, 3), "is not finite (inf, 5, 3"),
        ((5, "5", 3), "the coordinate '5' is not a number"),
    ],
)
def test_a_circle_that_is_none_is_refused(values, found):
    with pytest.raises(Fault) as caught:
        circle(*values)
    assert found in caught.value.found


def test_a_huge_circle_has_no_more_points_than_the_limit():
    assert len(circle(0, 0, 1e12)) == 360


@given(cx=st.floats(1, 79), cy=st.floats(1, 59), rx=st.floats(1, 200), ry=st.floats(1, 200), theta=angles)
def test_a_round_outline_is_cut_at_the_border_and_nowhere_else(cx, cy, rx, ry, theta):
    whole = ellipse(cx, cy, rx, ry, theta)
    part = cut(whole, SIZE)
    assert (part >= 0).all()
    assert (part <= (SIZE[1], SIZE[0])).all()
    frame = shapely.box(0, 0, SIZE[1], SIZE[0])
    assert shoelace_area(part) == pytest.approx(shapely.Polygon(whole).intersection(frame).area)


@pytest.mark.parametrize("points", [circle(40, 30, 20), circle(-5, 30, 20), circle(500, 500, 3)])
def test_a_round_outline_wholly_inside_or_centred_outside_is_left_as_it_is(points):
    assert cut(points, SIZE) is points


def test_a_round_outline_without_an_image_is_left_as_it_is():
    points = circle(0, 0, 5)
    assert cut(points, None) is points
