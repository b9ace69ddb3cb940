"""Masks cut out of their run-length code, against the whole mask drawn by pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from wbcjax.smear.field import text_rle
from wbcjax.smear.rle import cut_out, cut_outs, run_lengths

SIDES = st.integers(1, 12)


def encoded(mask):
    return coco_mask.encode(np.asfortranarray(mask))


@given(mask=arrays.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1)), as_text=st.booleans())
def test_a_mask_cut_out_is_the_whole_mask_within_its_bounds(mask, as_text):
    rle = encoded(mask)
    patch, left, top = cut_out(text_rle(rle) if as_text else rle)
    height, width = patch.shape
    assert (patch == mask[top : top + height, left : left + width]).all()
    assert patch.sum() == mask.sum()
    if patch.size:
        assert all(side.any() for side in (patch[0], patch[-1], patch[:, 0], patch[:, -1])), "bounds are tight"


@given(st.lists(arrays.arrays(np.uint8, (9, 7), elements=st.integers(0, 1)), max_size=5))
def test_masks_cut_out_together_are_those_cut_alone(masks):
    rles = [encoded(mask) for mask in masks]
    for (patch, left, top), mask in zip(cut_outs(rles), masks, strict=True):
        height, width = patch.shape
        np.testing.assert_array_equal(patch, mask[top : top + height, left : left + width])
        assert patch.sum() == mask.sum()


def test_an_empty_mask_has_nothing_to_cut_out():
    patch, left, top = cut_out(encoded(np.zeros((5, 7), np.uint8)))
    assert (patch.shape, left, top) == ((0, 0), 0, 0)


def test_a_mask_of_a_large_field_is_found_at_its_place():
    mask = np.zeros((1920, 2560), np.uint8)
    mask[700:900, 2300:2560] = np.random.default_rng(0).integers(0, 2, (200, 260))
    mask[700, 2300] = mask[899, 2559] = 1
    patch, left, top = cut_out(encoded(mask))
    assert (left, top) == (2300, 700)
    np.testing.assert_array_equal(patch, mask[700:900, 2300:])


@given(mask=arrays.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1)))
def test_run_lengths_are_those_that_were_packed(mask):
    column_by_column = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(column_by_column, prepend=0, append=2))
    runs = run_lengths(text_rle(encoded(mask))["counts"])
    assert np.cumsum(runs).tolist() == edges.tolist() if mask[0, 0] == 0 else runs[0] == 0
    assert sum(runs[1::2]) == mask.sum()
    assert sum(runs) == mask.size


@pytest.mark.parametrize(("counts", "reason"), [("5P", "cut short"), ("5 ", "hold the character ' '")])
def test_counts_that_are_no_run_lengths_are_refused(counts, reason):
    with pytest.raises(ValueError, match=reason):
        run_lengths(counts)
