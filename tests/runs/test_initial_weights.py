"""`config.init_from`: runs and files of ours as starting points; what does not fit is refused, and told by name."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from tests.experiments import model_of
from tests.runs.starting import start_of
from tests.train import toy
from wbcjax.configs import base, smear_demo
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models.settings import EFFICIENTNET_KERAS, MATTERPORT, TORCHVISION
from wbcjax.runs.initial_weights import UnusableWeights, settings_of, start_from, unnormalised
from wbcjax.weights.ours import note_settings
from wbcjax.weights.safetensors_file import write_safetensors


def toy_config() -> ConfigDict:
    config = smear_demo.get_config()
    config.model.backbone.width = 8
    for part in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        part.channels = 16
    return config


def fresh(config: ConfigDict, classes: int, seed: int) -> dict:
    return jax.device_get(mask_rcnn.init(mask_rcnn.build(model_of(config), classes), seed))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A file of our own, and the variables in it, for three classes."""
    config = toy_config()
    variables = fresh(config, 4, seed=1)
    path = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    classes = {"classes": json.dumps(["L1", "L2", "L3"])}
    write_safetensors(path, variables, note_settings(settings_of(config)) | classes)
    return path, variables


def test_all_weights_land_where_the_model_is_the_same(weights):
    path, saved = weights
    config = toy_config()
    started = start_from(path, fresh(config, 4, seed=2), settings_of(config))
    assert jax.tree.all(jax.tree.map(np.array_equal, started.variables, saved))
    assert started.report.initial == ()
    assert started.report.left_out == {}


def test_heads_of_other_classes_start_anew_and_nothing_else(weights):
    path, saved = weights
    config = toy_config()
    before = flatten_dict(fresh(config, 3, seed=2), sep="/")
    started = start_from(path, fresh(config, 3, seed=2), settings_of(config))
    after, saved = flatten_dict(started.variables, sep="/"), flatten_dict(saved, sep="/")
    anew = {name for name in after if "/class_logits/" in name or "/box_deltas/" in name or "mask_head/logits" in name}
    assert set(started.report.initial) == anew
    for name in after:
        np.testing.assert_array_equal(after[name], before[name] if name in anew else saved[name], err_msg=name)
    assert "start anew" in started.report.text()


def test_a_model_that_contradicts_the_weights_is_refused_naming_the_field(weights):
    config = toy_config()
    config.model.roi.convention = "legacy"
    with pytest.raises(ValueError, match=r"config\.model\.roi\.convention is 'legacy'; these weights need 'aligned'"):
        start_from(weights[0], fresh(config, 4, seed=2), settings_of(config))


@pytest.mark.slow
def test_parts_that_are_not_asked_for_stay_fresh_and_their_settings_may_differ(weights):
    path, saved = weights
    config = toy_config()
    config.model.rpn.aspect_ratios = (0.75, 1.0, 1.33)
    with pytest.raises(ValueError, match=r"config\.model\.rpn\.aspect_ratios"):
        start_from(path, fresh(config, 4, seed=2), settings_of(config))
    before = fresh(config, 4, seed=2)
    started = start_from(path, before, settings_of(config), ("backbone", "fpn"))
    for part in before["params"]:
        expected = saved if part in ("backbone", "fpn") else before
        same = jax.tree.map(np.array_equal, started.variables["params"][part], expected["params"][part])
        assert jax.tree.all(same), part
    assert set(started.report.left_out.values()) == {"of a part that was not asked for"}
    with pytest.raises(ValueError, match="no part 'neck'; they have backbone, box_head, fpn, mask_head, rpn"):
        start_from(path, before, settings_of(config), ("neck",))


@pytest.mark.slow
def test_what_was_loaded_is_told_in_the_log(weights, caplog):
    config = toy_config()
    config.init_from = str(weights[0])
    start = start_of(config)
    assert start is not None
    with caplog.at_level(logging.INFO, "wbcjax"):
        start(fresh(config, 4, seed=2))
    assert f"starting from {weights[0]}" in caplog.text
    assert "arrays loaded" in caplog.text
    assert "its classes are" not in caplog.text
    config.dataset.classes = ("small", "L2", "large")
    with caplog.at_level(logging.INFO, "wbcjax"):
        start_of(config)(fresh(config, 4, seed=2))
    assert "here ['small', 'L2', 'large']: their weights are loaded in this order" in caplog.text


@pytest.mark.slow
def test_weights_whose_classes_have_another_order_are_refused_unless_heads_are_left_out(weights):
    config = toy_config()
    config.init_from = str(weights[0])
    config.dataset.classes = ("L3", "L1", "L2")
    with pytest.raises(UnusableWeights, match=r"its classes are .*'L1', 'L2', 'L3'.* config.init_parts"):
        start_of(config)(fresh(config, 4, seed=2))
    config.init_parts = ("backbone", "fpn")
    start_of(config)(fresh(config, 4, seed=2))


def test_without_a_starting_point_a_run_starts_from_fresh_weights():
    config, variables = toy_config(), {"params": {}}
    assert start_of(config)(variables) is variables


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_weights_that_cannot_be_read_are_refused_naming_the_setting(tmp_path, content):
    config = toy_config()
    config.init_from = str(tmp_path / "weights.pth")
    if content is not None:
        (tmp_path / "weights.pth").write_bytes(content)
    start = start_of(config)
    assert start is not None
    with pytest.raises(UnusableWeights, match=r"config\.init_from is '.*weights\.pth': "):
        start(fresh(config, 4, seed=2))


@pytest.mark.slow
def test_a_note_that_is_not_whole_is_refused(tmp_path):
    config = toy_config()
    variables = fresh(config, 4, seed=1)
    notes = ("{", "[" * 10**5, json.dumps({"kind": "Unknown"}), json.dumps({"kind": "MaskRCNNSettings"}))
    for number, note in enumerate(notes):
        path = tmp_path / f"{number}.safetensors"
        write_safetensors(path, variables, {"trained_with": note})
        with pytest.raises(ValueError, match="the file's note 'trained_with' is not whole"):
            start_from(path, variables, settings_of(config))


@pytest.mark.slow
def test_a_classifier_starts_from_one_of_other_classes(tmp_path):
    config = base.classifier()
    config.model.update({"width": 0.2, "depth": 0.1})
    settings: Any = settings_of(config)
    saved = efficientnet.init(efficientnet.build(settings, 3), (64, 64), seed=1)
    write_safetensors(tmp_path / "ours.safetensors", saved, note_settings(settings))
    wanted = efficientnet.init(efficientnet.build(settings, 2), (64, 64), seed=2)
    started = start_from(tmp_path / "ours.safetensors", wanted, settings)
    same = jax.tree.map(np.array_equal, started.variables["params"]["base"], saved["params"]["base"])
    assert jax.tree.all(same)
    assert set(started.report.initial) == {"params/head/logits/kernel", "params/head/logits/bias"}


@pytest.mark.slow
def test_a_run_takes_its_starting_point_once_and_goes_on_without_it(tmp_path):
    calls = []

    def start(variables):
        calls.append("start")
        return jax.tree.map(lambda leaf: np.zeros_like(leaf), variables)

    task = dataclasses.replace(toy.task(), start=start)
    config = toy.config(steps=2, learning_rate=0.0)
    toy.train(config, task, tmp_path)
    config.train.steps = 4
    toy.train(config, task, tmp_path, allow_config_change=True)
    assert calls == ["start"]
    sizes = [record["size"] for record in toy.records(tmp_path, "train")]
    assert sizes == [0.0, 0.0]  # the mean size of what weights of zero put out


def statistics(*parts: str, mean: float = 0.0) -> dict:
    """Of a batch norm in each part, initial ones unless `mean` is another, and of an EfficientNet's pixels."""
    tree: dict = {part: {"bn1": {"mean": np.full(2, mean), "var": np.ones(2)}} for part in parts}
    pixels = {"mean": np.zeros(3), "var": np.ones(3), "count": np.zeros(())}
    return tree | {"base": tree.get("base", {}) | {"normalization": pixels}}


SCRATCH = dataclasses.replace(TORCHVISION, backbone=TORCHVISION.backbone.clone(norm="bn"))


@pytest.mark.parametrize(
    ("settings", "layers", "found", "expected"),
    [
        (TORCHVISION, "all", statistics("backbone"), ["backbone"]),
        (TORCHVISION, "heads", statistics("backbone", mean=0.1), []),
        (MATTERPORT, "all", statistics("backbone", "box_head", "mask_head"), ["backbone", "box_head", "mask_head"]),
        (MATTERPORT, "all", statistics("backbone", mean=1) | statistics("mask_head"), ["mask_head"]),
        (SCRATCH, "all", statistics("backbone"), []),
        (SCRATCH, "heads", statistics("backbone"), ["backbone"]),
        (EFFICIENTNET_KERAS["b0"], "all", statistics("base"), []),
        (EFFICIENTNET_KERAS["b0"], "heads", statistics("base"), ["base"]),
    ],
)
def test_frozen_norms_without_trained_statistics_are_found(settings, layers, found, expected):
    beside = {part: {"bn1": {"scale": np.ones(2)}} for part in found if "bn1" in found[part]}
    assert unnormalised({"params": beside, "batch_stats": found}, settings, layers) == expected
    assert unnormalised({"params": beside}, settings, layers) == []


def test_a_new_run_on_frozen_norms_without_weights_says_so_with_the_remedy(caplog):
    config, variables = base.mask_rcnn(), {"params": {}, "batch_stats": statistics("backbone")}
    assert start_of(config)(variables) is variables
    (told,) = caplog.messages
    assert told.startswith("nothing is normalised in backbone")
    assert "(config.init_from), or set --config.model.backbone.norm=gn" in told
    caplog.clear()
    config.model.backbone.norm = "bn"
    start_of(config)(variables)
    assert caplog.messages == []


def test_a_run_that_goes_on_is_not_told_of_how_it_started(tmp_path):
    told = []
    task = dataclasses.replace(toy.task(), start=lambda variables: told.append(1) or variables)
    for steps in (1, 2):
        toy.train(toy.config(steps=steps), task, tmp_path, allow_config_change=True)
    assert told == [1]
