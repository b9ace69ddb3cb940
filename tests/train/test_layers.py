"""The naming of layers, what freezing them means, and what no phase trains."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from tests.train import toy
from tests.train.test_step import run, settings
from tests.train.toy import train
from wbcjax.models.backbone import HEADS, STEM, Backbone
from wbcjax.models.settings import EFFICIENTNET_KERAS, TORCHVISION
from wbcjax.settings.checked import ConfigError
from wbcjax.train.layers import Layers, join_weights, never_trained, split_weights

TREE = {
    "backbone": {name: {"kernel": name} for name in ("stem", "layer1_0", "layer2_0", "layer3_22", "layer4_1")},
    "fpn": {"lateral3": {"kernel": "fpn"}},
    "rpn": {"kernel": "rpn"},
}
HEAD_WEIGHTS = {"fpn", "rpn"}


def trained(tree, named, stage_of=TORCHVISION.stage_of):
    return set(names(split_weights(tree, Layers(named, stage_of))[0]))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("heads", HEAD_WEIGHTS),
        ("5+", {*HEAD_WEIGHTS, "layer4_1"}),
        ("4+", {*HEAD_WEIGHTS, "layer4_1", "layer3_22"}),
        ("3+", {*HEAD_WEIGHTS, "layer4_1", "layer3_22", "layer2_0"}),
        ("all", {*HEAD_WEIGHTS, "layer4_1", "layer3_22", "layer2_0", "layer1_0", "stem"}),
        ("backbone/(stem|layer1)", {"stem", "layer1_0"}),
        ("rpn", {"rpn"}),
    ],
)
def test_layers_are_those_of_matterport(layers, expected):
    chosen, frozen = split_weights(TREE, Layers(layers, TORCHVISION.stage_of))
    assert set(names(chosen)) == expected
    assert set(names(frozen)) == set(names(TREE)) - expected
    assert join_weights(chosen, frozen) == TREE


def names(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from names(value)
        else:
            yield value


def test_layers_that_match_no_weight_are_refused():
    with pytest.raises(ValueError, match=r"layers 'fpm' of config.train.phases match no weight.*backbone, fpn, rpn"):
        split_weights(TREE, Layers("fpm", TORCHVISION.stage_of))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("heads", {"logits"}),
        ("5+", {"logits", "block6_0", "block7_1", "top_conv"}),
        ("4+", {"logits", "block6_0", "block7_1", "top_conv", "block4_0", "block5_2"}),
        ("3+", {"logits", "block6_0", "block7_1", "top_conv", "block4_0", "block5_2", "block3_1"}),
    ],
)
def test_layers_of_an_efficientnet_are_those_of_the_same_strides(layers, expected):
    blocks = ("stem_conv", "block2_0", "block3_1", "block4_0", "block5_2", "block6_0", "block7_1", "top_conv")
    tree = {"base": {name: {"kernel": name} for name in blocks}, "head": {"logits": {"kernel": "logits"}}}
    assert trained(tree, layers, EFFICIENTNET_KERAS["b0"].stage_of) == expected


class Silent(Backbone):
    """A backbone that does not say its stages."""


SILENT = dataclasses.replace(TORCHVISION, backbone=Silent())


@pytest.mark.parametrize("layers", ["3+", "4+", "5+"])
def test_stages_of_a_stageless_backbone_are_refused(layers):
    """Stages of a backbone that does not say them are refused in one line."""
    with pytest.raises(ConfigError) as refused:
        split_weights(TREE, Layers(layers, SILENT.stage_of))
    told = str(refused.value)
    assert told.startswith(f"layers {layers!r} of config.train.phases: the model gives no stage of backbone/")
    assert "method stage_of(path)" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", set(names(TREE))), ("heads", HEAD_WEIGHTS), ("backbone/layer[34]|rpn", {"layer3_22", "layer4_1", "rpn"})],
)
def test_a_stageless_backbone_trains_where_none_are_needed(layers, expected):
    """A backbone that does not say its stages is trained by what needs none."""
    assert trained(TREE, layers, SILENT.stage_of) == expected


@pytest.mark.parametrize(
    ("layers", "stage_of", "expected"),
    [
        ("all", TORCHVISION.stage_of, {STEM, 2, 3, 4, 5, HEADS}),
        ("4+", TORCHVISION.stage_of, {4, 5, HEADS}),
        ("heads", TORCHVISION.stage_of, {HEADS}),
        ("backbone/layer4|fpn", TORCHVISION.stage_of, {5}),  # of the heads, only a part of which trains, none does
        ("all", SILENT.stage_of, {STEM, 2, 3, 4, 5, HEADS}),
        ("heads", SILENT.stage_of, set()),
    ],
)
def test_a_stage_trains_whose_weights_all_do(layers, stage_of, expected):
    trains = Layers(layers, stage_of).stages(TREE)
    assert {stage for stage in range(STEM, HEADS + 1) if trains(stage)} == expected


@pytest.mark.parametrize(("layers", "trained"), [("heads", False), ("5+", False), ("backbone", True), ("all", True)])
def test_untrained_batch_norms_learn_no_statistics(layers, trained):
    """Batch norms of a stage that does not train neither use nor learn statistics."""
    variables, batch = toy.variables(0), next(toy.batches(toy.Images(), 8, seed=0))
    variables["batch_stats"]["backbone"]["norm"]["mean"] = np.full(5, 0.5, np.float32)
    keys = jax.random.split(jax.random.key(0), 8)
    found, after = {}, {}
    for stored in (1.0, 9.0):
        variables["batch_stats"]["backbone"]["norm"]["var"] = np.full(5, stored, np.float32)
        trains = toy.layers(layers).stages(variables["params"])
        found[stored], after[stored] = toy.losses(variables, batch, keys, trains, None)
    kept = after[9.0]["batch_stats"]["backbone"]["norm"]
    assert np.any(kept["mean"] != 0.5) == np.any(kept["var"] != 9.0) == trained
    assert (found[1.0]["square"] == found[9.0]["square"]) == trained


def test_a_phase_keeps_untrained_layers_statistics():
    """A step of a phase keeps the statistics of what it does not train."""
    before = toy.variables(3)["batch_stats"]
    moved = {layers: run(settings(), 1, layers=layers)[0][-1].collections["batch_stats"] for layers in ("heads", "all")}
    chex.assert_trees_all_equal(moved["heads"], before)
    assert np.abs(moved["all"]["backbone"]["norm"]["mean"] - before["backbone"]["norm"]["mean"]).max() > 0


def test_weights_of_no_phase_are_counted_by_their_module():
    params = toy.variables(0)["params"]
    assert never_trained(params, [toy.layers("heads")]) == {
        "backbone/stem": 3 * 5 + 5,
        "backbone/layer3_0": 5 * 5 + 5,
        "backbone/layer4_0": 5 * 5 + 5,
        "backbone/norm": 5 + 5,
    }
    assert never_trained(params, [toy.layers("heads"), toy.layers("5+"), toy.layers("backbone/stem")]) == {
        "backbone/layer3_0": 5 * 5 + 5,
        "backbone/norm": 5 + 5,
    }
    assert never_trained(params, [toy.layers("heads"), toy.layers("all")]) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "told"),
    [("5+", "backbone/layer3_0 (30), backbone/norm (10), backbone/stem (20)"), ("all", "")],
)
def test_weights_that_no_phase_trains_are_told_at_the_start(tmp_path, capfd, second, told):
    phases = ({"layers": "heads", "epochs": 0.4}, {"layers": second, "epochs": 0.4})
    train(toy.config(steps=0, phases=phases), toy.task(), tmp_path)
    said = f"no phase of config.train.phases trains these weights, which keep their first values: {told}"
    assert (said in capfd.readouterr().err) == bool(told)
