"""Configs that start from the starter: its weights fit them, all or those of the parts that are named."""

import jax
import pytest

from wbcjax.commands.config_file import load_config_file
from wbcjax.configs import base
from wbcjax.models import mask_rcnn
from wbcjax.runs.initial_weights import start_from
from wbcjax.runs.located import located
from wbcjax.tasks.choose import experiment_of


@pytest.mark.parametrize(
    ("config", "overrides", "fresh"),
    [
        ("smear_demo:starter", (), {"box_head", "mask_head"}),  # three classes
        ("segpc_mask_rcnn:r18_quick", (), set()),
        ("segpc_mask_rcnn:r18_middle", (), set()),
        ("segpc_mask_rcnn:r18", (), set()),
        ("segpc_mask_rcnn:r18", ("--config.init_parts=('backbone','fpn')",), {"rpn", "box_head", "mask_head"}),
    ],
)
def test_the_starter_fills_all_but_heads_of_other_classes(config, overrides, fresh):
    settings = experiment_of(load_config_file(config, overrides)).settings
    model = mask_rcnn.build(settings.model, len(settings.dataset.classes) + 1)
    shapes = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    found = start_from(located(settings.init_from), shapes, settings.model, settings.init_parts)
    assert {path.split("/")[1] for path in found.report.initial} == fresh


def test_a_proposal_with_other_anchors_leaves_the_rpn_out():
    config = load_config_file("segpc_mask_rcnn:r18_scratch")
    with config.unlocked():
        config.model.rpn.aspect_ratios = (1.0,)
        base.from_starter(config)
    assert config.init_parts == ("backbone", "fpn", "box_head", "mask_head")
