"""A run from strangers: nothing that its config names outside of wbcjax is imported unless it is trusted."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import wbcjax
from tests.runs.starting import start_of
from wbcjax import cli
from wbcjax.commands.export.model import export_run
from wbcjax.commands.weights.files import contents, convert_weights
from wbcjax.configs import smear_demo
from wbcjax.models.settings import TORCHVISION
from wbcjax.predict.classifier import load_classifier
from wbcjax.runs.folder import load_config
from wbcjax.runs.initial_weights import settings_of, start_from
from wbcjax.runs.model_file import write_model_file
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.parts import Untrusted, as_values, completed, part
from wbcjax.system.terminal import plain
from wbcjax.tasks.choose import evaluate
from wbcjax.tasks.settings import DetectionConfig
from wbcjax.train.workdir import ConfigChanged, KeptConfig, config_json, settle_config
from wbcjax.weights.ours import TRAINED_WITH
from wbcjax.weights.safetensors_file import write_safetensors

EVIL = """
from pathlib import Path

from wbcjax.models.resnet import ResNet

Path("imported").write_text("")


class Backbone(ResNet): ...
"""
SAID = r"uses parts from outside of wbcjax: config\.model\.backbone\.part is 'evil:Backbone': .*--trust-parts"
VERBS: dict[str, Callable[[Path], object]] = {  # what is done with a folder that has a run, an export and weights
    "load": lambda at: wbcjax.load(at / "run"),
    "load_classifier": lambda at: load_classifier(at / "run"),
    "load an export": lambda at: wbcjax.load(at / "model.stablehlo"),
    "evaluate": lambda at: evaluate(at / "run", "best"),
    "export": lambda at: export_run(at / "run", at / "out"),
    "convert a run": lambda at: convert_weights(at / "run", at / "out.safetensors"),
    "convert a file": lambda at: convert_weights(at / "weights.safetensors", at / "out.safetensors"),
    "start from a run": lambda at: start_from(at / "run", {}, TORCHVISION),
    "start from a file": lambda at: start_from(at / "weights.safetensors", {}, TORCHVISION),
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working folder, with a module that leaves a file where it is imported, and what uses it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "evil.py").write_text(EVIL)
    config = write_run(tmp_path / "run", "model.backbone.part", "evil:Backbone")
    made = {"config": config, "facts": {}, "made": {"wbcjax": "1"}}
    write_model_file(tmp_path / "model.stablehlo", made, b"", b"")
    note = json.dumps({"kind": "MaskRCNNSettings", "settings": config["model"]})
    write_safetensors(
        tmp_path / "weights.safetensors", {"params": {"a": np.zeros(1, np.float32)}}, {TRAINED_WITH: note}
    )
    return tmp_path


def write_run(folder: Path, key: str, value: object) -> dict:
    """A run's folder whose config has one value of its own; returns that config."""
    config = smear_demo.get_config().unlock()
    *groups, name = key.split(".")
    group = config
    for one in groups:
        group = group[one]
    with group.ignore_type():
        group[name] = value
    folder.mkdir()
    (folder / "config.json").write_text(config_json(config.to_dict()))
    return json.loads(config_json(config.to_dict()))


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_imports_what_a_strangers_run_names(place, verb):
    with pytest.raises(ValueError, match=SAID):
        VERBS[verb](place)
    assert not (place / "imported").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "command", ["predict run . --out out", "export run --out out", "weights convert run a.safetensors"]
)
def test_commands_refuse_a_strangers_run_in_a_line(place, command):
    with pytest.raises(SystemExit, match=f"wbcjax: run {SAID}"):
        cli.main(command.split())
    assert not (place / "imported").exists()


def test_shown_weights_of_strangers_import_nothing_and_say_why(place):
    assert "of no use here: the file uses parts from outside" in plain(*contents(place / "weights.safetensors"))
    assert not (place / "imported").exists()


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("task", "evil:task", "config.task is 'evil:task'"),
        ("dataset.name", "evil:read", "config.dataset.name is 'evil:read'"),
        ("augment.more", (part("evil:Blur"),), "config.augment.more[0].part is 'evil:Blur'"),
        ("model.heads", {"x": part("evil:Head")}, "config.model.heads.x.part is 'evil:Head'"),
        ("model.box_head.box_loss", part("evil:loss"), "config.model.box_head.box_loss.part is 'evil:loss'"),
        (
            "model.backbone",
            part("wbcjax.models.resnet:ResNet", block=part("evil:Block")),
            "config.model.backbone.block.part is 'evil:Block'",
        ),
    ],
)
def test_paths_of_strangers_are_found_wherever_a_config_has_them(place, key, value, found):
    write_run(place / "other", key, value)
    with pytest.raises(Untrusted) as refusal:
        wbcjax.load(place / "other")
    assert str(refusal.value).startswith(f"{place}/other uses parts from outside of wbcjax: {found}: if you trust it")
    assert not (place / "imported").exists()


def test_a_training_that_goes_on_in_a_strangers_folder_imports_nothing_of_it(place):
    complete = partial(completed, DetectionConfig)
    with pytest.raises(ConfigChanged, match=r"model\.backbone\.part: evil:Backbone in the workdir, resnet now"):
        settle_config(KeptConfig(smear_demo.get_config().to_dict(), complete), place / "run", started=True)
    assert not (place / "imported").exists()


def test_a_trusted_run_is_built_of_the_parts_that_it_names(place):
    settings = settings_of(load_config(place / "run", trust_parts=True))
    assert (place / "imported").exists()
    assert as_values(settings)["backbone"]["part"] == "evil:Backbone"


def test_weights_may_be_of_parts_that_the_config_itself_names(place, caplog):
    ours = smear_demo.get_config().unlock()
    ours.init_from = str(place / "run")
    start = start_of(ours)
    with pytest.raises(ValueError, match=rf"config\.init_from is '.*/run': .*{SAID}.*config\.init_trust_parts=True"):
        start({})
    assert not (place / "imported").exists()
    for change in ({"init_trust_parts": True}, {"augment": {"more": (part("evil:Backbone"),)}}):
        trusting = ours.copy_and_resolve_references()
        trusting.update(change)
        with pytest.raises(ValueError, match="checkpoint"):  # it has none: the next thing that is asked for
            start_of(trusting)({})


def test_a_trusted_part_that_is_not_installed_is_named_with_the_remedy(place):
    write_run(place / "other", "model.backbone.part", "my_lab.net:Net")
    with pytest.raises(ConfigError) as refusal:
        settings_of(load_config(place / "other", trust_parts=True))
    assert str(refusal.value) == (
        "config.model.backbone.part is 'my_lab.net:Net': there is no module 'my_lab': install it, or start where it "
        f"lies, not in {place}"
    )
