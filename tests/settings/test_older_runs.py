"""Configs of older runs, brought up to date."""

import pytest

from wbcjax.settings.older_runs import VERSION, upgrade


@pytest.mark.parametrize(
    ("train", "optimizer"),
    [
        (
            {"optimizer": "sgd", "momentum": 0.8, "adam_epsilon": 1e-7, "l2_per_array": True},
            {"part": "sgd", "momentum": 0.8},
        ),
        (
            {"optimizer": "adamw", "momentum": 0.8, "adam_epsilon": 1e-7, "l2_per_array": True},
            {"part": "adamw", "eps": 1e-7},
        ),
        ({"optimizer": "adamw", "momentum": 0.8, "l2_per_array": True}, {"part": "adamw", "eps": 1e-8}),
    ],
)
def test_an_optimizer_becomes_a_part_with_its_own_arguments_alone(train, optimizer):
    upgraded = upgrade({"train": {"steps": 3, **train}})
    assert upgraded["train"] == {"steps": 3, "l2_per_array": True, "optimizer": optimizer}
    assert upgraded["version"] == VERSION
    assert upgrade(upgraded) == upgraded


def test_runs_of_version_2_draw_blood_and_order_by_the_scores_of_boxes():
    detection = {"score_threshold": 0.05}
    model = {"backbone": {"part": "resnet"}, "detection": detection}
    config = {"version": 2, "dataset": {"name": "synthetic", "synthetic": {"count": 3}}, "model": model}
    upgraded = upgrade(config)
    assert upgraded["dataset"]["synthetic"] == {"tissue": "blood", "count": 3}
    assert upgraded["model"]["detection"] == {"maskness": 0.0, **detection}
    assert upgraded["version"] == VERSION
    kept = {**config, "version": VERSION}
    assert upgrade(kept) == kept


def test_a_classifier_of_version_2_stays_as_it_is():
    config = {"version": 2, "dataset": {"crops": "a"}, "model": {"width": 1.0, "remat": False}}
    assert upgrade(config) == {**config, "version": VERSION}
