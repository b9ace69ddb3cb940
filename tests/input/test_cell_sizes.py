"""What a run notes of the sizes of its cells and pixels."""

import logging

import numpy as np
import pytest

from wbcjax.input.cell_sizes import CellSides, cell_sides, noted_sizes, training_pixel_size
from wbcjax.input.field_set import Measures


def field(*sides: float, height: int = 100, width: int = 100, pixel_size: float = 0.0) -> Measures:
    return Measures(height, width, len(sides), 0, sides, pixel_size)


def test_sides_of_cells_are_those_on_the_canvas():
    found = cell_sides([field(*range(101)), field(*range(0, 202, 2), height=200, width=50)], (100, 100))
    assert found == pytest.approx(tuple(np.percentile([*range(101)] * 2, (5, 50, 95))))
    assert cell_sides([field()], (100, 100)) is None


@pytest.mark.parametrize(
    ("given", "stated", "expected"),
    [
        (0.0, [0.25, 0.25, 0.26], 0.25),
        (0.0, [0.25, 0.0], 0.0),  # not all state one
        (0.0, [0.25, 0.5], 0.0),
        (0.0, [0.0, 0.0], 0.0),
        (0.3, [0.0, 0.0], 0.3),
        (0.25, [0.25, 0.0], 0.25),
        (0.3, [0.25, 0.25], 0.0),
    ],
)
def test_the_pixel_size_of_a_training_is_the_configs_or_what_all_files_state(given, stated, expected):
    assert training_pixel_size([field(1, pixel_size=size) for size in stated], given) == expected


def test_a_config_that_contradicts_its_files_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        training_pixel_size([field(1, pixel_size=0.25), field(1, pixel_size=0.5)], 1.0)
    assert "config.dataset.pixel_size is 1 micrometres, and the files state 0.25 to 0.5" in caplog.text
    assert "are not scaled by what their files state" in caplog.text


def test_what_was_noted_is_read_back_and_older_runs_have_none():
    assert noted_sizes({"pixel_size": 0.25, "cell_sides": [1, 2, 3]}, "run") == (0.25, CellSides(1.0, 2.0, 3.0))
    assert noted_sizes({"scale": [1, 1]}, "run") == (0.0, None)
    assert noted_sizes({"pixel_size": 0.0, "cell_sides": None}, "run") == (0.0, None)
    for broken in ({"pixel_size": "x"}, {"cell_sides": [1, 2]}, {"cell_sides": 3}):
        with pytest.raises(ValueError, match=r"run/data\.json: its 'pixel_size' or 'cell_sides' is broken"):
            noted_sizes(broken, "run")
