"""Proposed settings: by hand for simple sets, anchors against all of them laid out, lines as a config takes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.experiments import model_of
from wbcjax.commands.inspect.proposed_config import anchor_table, config_lines, notes
from wbcjax.commands.inspect.proposed_settings import (
    CANVAS_AREA,
    best_ious,
    propose_anchors,
    propose_canvas,
    propose_settings,
)
from wbcjax.configs import base
from wbcjax.input.settings import FieldSetSettings, class_map
from wbcjax.models.limits import PLACES, needed
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.ops.anchors import pyramid_anchors


def boxes_of(*sides: float) -> np.ndarray:
    """Square boxes at the origin."""
    return np.array([(0, 0, side, side) for side in sides], float)


def canvas_for(field: tuple[int, int], cell: float) -> tuple[int, int]:
    return propose_canvas(np.array([field]), boxes_of(cell), np.array([0]))


def lines_for(proposal, class_of, file_format="via", group=None) -> list[str]:
    return config_lines(proposal, file_format, "a/via.json", "a/images", class_of, "cell", group, {})


@pytest.mark.parametrize(
    ("field", "cell", "canvas"),
    [
        ((384, 512), 56.5, (384, 512)),
        ((1920, 2560), 285.0, (384, 512)),  # the cells are large enough at a fifth of the size
        ((2560, 1920), 285.0, (512, 384)),
        ((480, 640), 42.0, (480, 640)),  # more would add no detail
        ((1000, 1000), 56.0, (1024, 1024)),  # the first that holds the field whole
        ((1920, 2560), 20.0, (864, 1152)),  # as large as memory allows
        ((20, 20), 10.0, (32, 32)),
    ],
)
def test_the_canvas_is_the_smallest_that_resolves_the_cells(field, cell, canvas):
    assert canvas_for(field, cell) == canvas


def test_fields_of_two_sizes_share_one_canvas():
    """Fields of two sizes share a canvas that resolves 95 percent of all their cells."""
    fields = np.array([[960, 1280], [480, 640]])
    boxes, field = boxes_of(*[200.0] * 95, *[100.0] * 4, 5.0), np.array([0] * 95 + [1] * 5)
    assert propose_canvas(fields, boxes, field) == (288, 384)  # 60 and 60 pixels


@given(height=st.integers(10, 6000), width=st.integers(10, 6000), cell=st.floats(1, 5000), flat=st.floats(0.2, 5))
def test_a_proposed_canvas_fits_memory_and_shape(height, width, cell, flat):
    """A canvas has sides of 32s an area within memory and the fields shape."""
    boxes = np.array([(0, 0, cell, cell * flat)])
    canvas = propose_canvas(np.array([[height, width]]), boxes, np.array([0]))
    assert canvas[0] % 32 == canvas[1] % 32 == 0
    assert min(canvas) > 0
    assert canvas[0] * canvas[1] <= CANVAS_AREA or min(canvas) == 32
    if min(canvas) > 32:
        assert canvas[0] / canvas[1] == pytest.approx(height / width, rel=16 / min(canvas) * 1.2)


@given(
    boxes=st.lists(
        st.tuples(st.floats(0, 150), st.floats(0, 90), st.floats(4, 100), st.floats(4, 100)), min_size=1, max_size=5
    ),
    levels=st.sampled_from([(2,), (2, 3), (3, 4, 5)]),
)
def test_the_best_overlaps_are_those_of_all_anchors_laid_out(boxes, levels):
    cells = np.array([(x, y, x + width, y + height) for x, y, width, height in boxes])
    strides = tuple(2**level for level in levels)
    shapes, sizes = tuple((96 // s, 160 // s) for s in strides), (20.0, 33.0, 70.0)[: len(levels)]
    ratios = (0.7, 1.0, 1.43)
    laid_out = pyramid_anchors(shapes, strides, tuple((size,) for size in sizes), ratios, rounded=True)
    anchors = np.concatenate(laid_out).astype(float)[:, None]  # (a, 1, 4)
    shared = (np.minimum(anchors[..., 2:], cells[:, 2:]) - np.maximum(anchors[..., :2], cells[:, :2])).clip(0).prod(2)
    areas = [(corners[..., 2:] - corners[..., :2]).prod(-1) for corners in (anchors, cells)]
    expected = (shared / (areas[0] + areas[1] - shared)).max(axis=0)
    assert best_ious(cells, shapes, strides, sizes, ratios) == pytest.approx(expected)


def test_one_cell_size_gets_one_anchor_size():
    """Anchors for cells of one size are of that size on the coarsest level that is dense enough."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (500, 2))
    anchors = propose_anchors((512, 512), np.concatenate([corners, corners + 64], axis=1))
    assert anchors.levels == (4,)  # half a stride of 32 off in x and y would leave an IoU of 0.39
    assert anchors.sizes == (64.0,)
    assert anchors.ratios == (0.91, 1.0, 1.1)
    assert anchors.count == 32 * 32 * 3
    assert anchors.positive >= 0.9
    assert anchors.loose == 1


def test_two_cell_sizes_get_two_anchor_sizes():
    """Anchors for cells of two sizes have both and ratios on both sides of one."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (400, 2))
    sizes = np.where(np.arange(400)[:, None] % 2, (40, 20), (200, 100))  # twice as wide as high
    anchors = propose_anchors((512, 512), np.concatenate([corners, corners + sizes], axis=1))
    assert anchors.sizes == (28.0, 141.0)
    assert anchors.ratios == (0.5, 1.0, 2.0)
    assert anchors.positive >= 0.9


def test_too_many_cell_sizes_get_the_nearest_anchors():
    """Cells of too many sizes get the anchors that come nearest and are told."""
    rng = np.random.default_rng(0)
    sides, corners = np.exp(rng.uniform(np.log(8), np.log(500), 600)), rng.uniform(0, 500, (600, 2))
    boxes = np.concatenate([corners, corners + sides[:, None]], axis=1)
    proposal = propose_settings(np.array([[1000, 1000]]), boxes, np.zeros(600, int), 600)
    assert proposal.anchors.positive < 0.9
    assert proposal.anchors.positive > proposal.fpn_anchors.positive
    assert "No anchors reach that" in notes(proposal)[-1]


def test_cells_too_small_to_see_are_told():
    proposal = propose_settings(np.array([[512, 512]]), boxes_of(*[20.0] * 10), np.zeros(10, int), 10)
    assert proposal.canvas == (512, 512)
    assert "less than 20 pixels across on this canvas" in notes(proposal)[1]


def test_a_set_without_cells_is_refused():
    with pytest.raises(ValueError, match="without cells there is nothing to fit anchors to"):
        propose_settings(np.array([[512, 512]]), np.zeros((0, 4)), np.zeros(0, int), 0)


def test_the_lines_make_a_config_that_a_model_takes():
    fields = np.array([[480, 640]])
    boxes = boxes_of(*[80.0] * 20)
    proposal = propose_settings(fields, boxes, np.zeros(20, int), 100)
    class_of = {"L1.2": "L1.2", 'a "quoted"\\name\n': 'a "quoted"\\name\n', "debris": ""}
    config = base.mask_rcnn()
    exec("\n".join(lines_for(proposal, class_of, group="patient")), {"config": config})
    assert config.dataset.name == "via"
    assert (config.dataset.annotations, config.dataset.images) == ("a/via.json", "a/images")
    assert config.dataset.classes == ("L1.2", 'a "quoted"\\name\n')
    assert class_map(FieldSetSettings.from_config(config.dataset)) == {"L1.2": 1, 'a "quoted"\\name\n': 2, "debris": 0}
    assert config.dataset.group_attribute == "patient"
    assert config.dataset.canvas == proposal.canvas
    assert config.dataset.max_cells == 112  # 10 % above the most, in fours
    assert {name: model_of(config).limits[name] for name in PLACES} == {
        "rpn.before_nms_train": 2000,  # torchvision's, which is more
        "rpn.before_nms_test": 1344,
        "rpn.proposals_train": 2000,
        "rpn.proposals_test": 1000,
        "roi.samples": 512,
        "detection.candidates": 2240,
        "detection.per_image": 336,
    }
    settings = from_dict(MaskRCNNSettings, config.model.to_dict())
    assert settings.rpn.levels == proposal.anchors.levels
    assert settings.rpn.anchor_sizes == proposal.anchors.sizes
    assert settings.rpn.aspect_ratios == proposal.anchors.ratios


def test_a_small_models_limits_are_raised_for_crowded_fields():
    """A field of 90 cells gave 32: the proposal looked at max_cells alone, and only above a hundred."""
    proposal = propose_settings(np.array([[480, 640]]), boxes_of(*[40.0] * 90), np.zeros(90, int), 90)
    config = base.mask_rcnn()
    base.small(config)
    exec("\n".join(lines_for(proposal, {"cell": "cell"})), {"config": config})
    assert config.dataset.max_cells == 100
    assert {name: model_of(config).limits[name] for name in PLACES} == needed(100)


def test_one_class_is_a_tuple_and_few_cells_leave_the_limits_alone():
    proposal = propose_settings(np.array([[480, 640]]), boxes_of(80.0), np.zeros(1, int), 7)
    lines = lines_for(proposal, {"cell": "cell"}, "coco")
    assert 'config.dataset.classes = ("cell",)' in lines
    assert "config.dataset.max_cells = 8" in lines
    assert not any("max(" in line or "attribute" in line for line in lines)


def test_the_proposed_anchors_stand_beside_those_of_the_fpn_paper():
    proposal = propose_settings(np.array([[480, 640]]), boxes_of(*[80.0] * 20), np.zeros(20, int), 20)
    table = anchor_table(proposal)
    assert table.head == ("", "proposed", "FPN paper")
    assert [row[2] for row in table.rows][:3] == ["P2, P3, P4, P5, P6", "32, 64, 128, 256, 512", "0.5, 1, 2"]
