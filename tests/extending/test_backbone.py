"""Backbones from outside of the package, as docs/extending.md prints them, from training to the exported model."""

import dataclasses
import json
import signal
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge
from ml_collections import ConfigDict

import wbcjax
from tests.extending.recipes import ROOT, example, write
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.models.backbone import nothing_trains
from wbcjax.models.resnet import ResNet
from wbcjax.tasks.choose import make_task, train
from wbcjax.train.checkpoint import load_variables
from wbcjax.train.task import Task

pytestmark = pytest.mark.slow

SMALL = (
    "--config.dataset.synthetic.count=12",
    "--config.dataset.synthetic.height=64",
    "--config.dataset.synthetic.width=64",
    "--config.dataset.canvas=(64,64)",
    "--config.model.fpn.channels=16",
    "--config.model.rpn.channels=16",
    "--config.model.box_head.channels=16",
    "--config.model.mask_head.channels=16",
    "--config.model.mask_head.bins=7",
    "--config.train.batch_size=8",
    "--config.train.epochs=0",
    "--config.train.steps=3",
    "--config.train.log_every=1",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside of the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def config_of(*overrides: str) -> ConfigDict:
    return load_config_file(str(ROOT / "configs/smear_demo.py"), (*SMALL, *overrides))


def records(run: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def moved(before: dict, after: dict) -> set[str]:
    """Modules of the backbone whose weights have changed."""
    return {
        name
        for name in before
        if any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), before[name], after[name])))
    }


def stopped_at(trace: int, task: Task) -> Task:
    """`task` whose process is asked to stop while its step is traced for so many times: in that phase's first step."""
    traces = []

    def losses(*arguments):
        traces.append("losses")
        if len(traces) == trace:
            signal.raise_signal(signal.SIGTERM)
        return task.losses(*arguments)

    return dataclasses.replace(task, losses=losses)


def test_a_backbone_from_outside_goes_through_phases_resume_prediction_export_and_plan(place, capsys):
    write("my_backbone.py", place)
    config = config_of("--config.model.backbone.part=my_backbone:LittleNet", "--config.model.backbone.width=8")
    names = {"config": config}
    with config.unlocked():
        exec(example("config.train.phases = ("), names)
        for phase, epochs in zip(config.train.phases, (1, 1, 1), strict=True):
            phase["epochs"] = epochs  # of nine fields, in batches of eight: a step each
    task = make_task(config)
    fresh = task.init_variables(config.seed)
    assert train(config, task, place / "whole") is None
    assert train(config, stopped_at(2, task), place / "pieces") == signal.SIGTERM
    stopped, _ = load_variables(place / "pieces", "latest")
    assert train(config, task, place / "pieces") is None
    whole, step = load_variables(place / "whole", "latest")
    assert step == 3
    chex.assert_trees_all_equal(load_variables(place / "pieces", "latest")[0], whole)

    stages = {f"stage{level}_{kind}" for level in (2, 3, 4, 5) for kind in ("down", "block")}
    upper = {name for name in stages if name[len("stage")] in "45"}
    assert moved(fresh["params"]["backbone"], stopped["params"]["backbone"]) == upper  # after "heads" and "4+"
    assert moved(fresh["params"]["backbone"], whole["params"]["backbone"]) == stages
    blocks = {name for name in stages if name.endswith("block")}
    assert moved(fresh["batch_stats"]["backbone"], whole["batch_stats"]["backbone"]) == blocks

    model = wbcjax.load(place / "whole", trust_parts=True)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = model.detect(image)
    cli.main(["export", str(place / "whole"), "--out", str(place / "exported"), "--trust-parts"])
    exported = wbcjax.load(place / "exported/model.stablehlo", trust_parts=True).detect(image)
    np.testing.assert_allclose(exported.scores, found.scores, atol=1e-4)
    assert "LittleNet of width 8" in (place / "exported/model_card.md").read_text()
    capsys.readouterr()


def test_a_backbone_from_outside_is_planned_for(place, capsys):
    write("my_backbone.py", place)
    backbone = ("--config.model.backbone.part=my_backbone:LittleNet", "--config.model.backbone.width=8")
    cli.main(["plan", "--config", str(ROOT / "configs/smear_demo.py"), *SMALL, *backbone, "--devices", "2"])
    assert "2 devices" in capsys.readouterr().out


def test_an_nnx_backbone_is_trained_and_predicts(place):
    write("my_nnx_backbone.py", place)
    part = "--config.model.backbone.part=my_nnx_backbone:NnxNet"
    config = config_of(part, "--config.model.backbone.width=8", "--config.train.steps=2")
    task = make_task(config)
    fresh = task.init_variables(config.seed)
    assert train(config, task, place / "run") is None
    trained, step = load_variables(place / "run", "latest")
    assert step == 2
    convolutions = [variables["params"]["backbone"]["convolutions"] for variables in (fresh, trained)]
    assert moved(*convolutions) == {f"conv{level}" for level in range(1, 6)}
    assert [task.stage_of(("backbone", "convolutions", f"conv{k}", "kernel")) for k in range(1, 6)] == [1, 2, 3, 4, 5]


def test_our_resnet_is_an_nnx_module_by_flaxs_bridge():
    resnet = ResNet(depth=18, width=8, norm="bn")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    bridged = bridge.ToNNX(resnet, rngs=nnx.Rngs(0)).lazy_init(x, nothing_trains)
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    variables = {name: nnx.to_pure_dict(nnx.state(bridged, kind)) for name, kind in kinds.items()}
    chex.assert_trees_all_close(bridged(x, nothing_trains), resnet.apply(variables, x, nothing_trains), rtol=1e-6)
