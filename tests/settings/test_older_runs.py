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
