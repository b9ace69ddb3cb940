"""Label Studio's brush masks: by its own encoder's bytes, by one of ours, and cut short or blown up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.smear.brush_encoder import encode, of_mask
from wbcjax.smear.formats import brush
from wbcjax.smear.formats.checks import Fault

# From Label Studio's own tests of its encoder: label-studio-converter, tests/test_brush.py.
VALUES = [1, 1, 1, 1, 2, 3, 5, 6, 7, 8, 4, 4, 4, 4, 4, 4, 4, 4]
ENCODED = [0, 0, 0, 18, 57, 27, 252, 96, 32, 1, 0, 6, 0, 40, 0, 192, 3, 128, 17, 56, 32]
HEAD = [57, 27, 255]  # values of 8 bits, and the usual classes of lengths, in the first 21 bits


def test_the_bytes_of_label_studios_own_encoder_are_decoded():
    ends, values = brush.runs(ENCODED, len(VALUES))
    assert np.repeat(values, np.diff(ends, prepend=0)).tolist() == VALUES


masks = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 90, 127, 128, 255])
)


@settings(max_examples=300)
@given(alpha=masks)
def test_what_is_encoded_by_the_description_is_decoded(alpha):
    np.testing.assert_array_equal(brush.decode(of_mask(alpha), *alpha.shape), alpha >= 128)


@settings(max_examples=200)
@given(
    values=st.lists(st.integers(0, 3), min_size=1, max_size=300),
    sizes=st.permutations([2, 3, 5, 9]) | st.just((3, 4, 8, 16)),
)
def test_the_classes_of_lengths_are_those_of_the_head(values, sizes):
    ends, found = brush.runs(encode(values, tuple(sizes)), len(values))
    assert np.repeat(found, np.diff(ends, prepend=0)).tolist() == values


def test_runs_longer_than_the_largest_class_are_divided():
    alpha = np.full((300, 400), 255, np.uint8)  # 480 000 values, of at most 65 536 in a run
    assert brush.decode(of_mask(alpha), 300, 400).all()


FAULTS = {
    "cut short in the head": ([0, 0, 0, 16, 57], "the mask's runs are cut short"),
    "cut short in a value": (of_mask(np.full((2, 2), 255, np.uint8))[:-1], "the mask's runs are cut short"),
    "nothing": ([], "the mask's runs are cut short"),
    "the pixels of another image": (of_mask(np.zeros((2, 3), np.uint8)), "the mask has 24 values, and 16 belong to"),
    "a bomb": ([255, 255, 255, 255, *HEAD, 255, 255], "the mask has 4294967295 values, and 16 belong to"),
    "values of one bit": ([0, 0, 0, 16, 1, 27, 255, 255], "the mask has values of 1 bits, and 8 are read"),
    "a run too long": ([0, 0, 0, 16, *encode([7] * 17)[4:]], "a run of the mask goes beyond"),
    "a number too large": ([0, 0, 0, 256], 'the mask\'s "rle" holds something else than bytes'),
    "a fraction": ([0, 0, 0, 16.0], 'the mask\'s "rle" holds something else than bytes'),
    "a truth value": ([0, 0, 0, True], 'the mask\'s "rle" holds something else than bytes'),
}


@pytest.mark.parametrize(("rle", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_stream_that_is_broken_is_refused(rle, expected):
    with pytest.raises(Fault) as caught:
        brush.decode(rle, 2, 2)
    assert caught.value.found.startswith(expected)
