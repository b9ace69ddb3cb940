"""ConvNeXt, a cascade, GIoU and class-agnostic masks, named on a command line: trained, resumed, predicted."""

import json
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import wbcjax
from wbcjax.commands.config_file import load_config_file
from wbcjax.models.settings import MaskRCNNSettings, from_dict
from wbcjax.runs.folder import load_config
from wbcjax.tasks.choose import experiment_of, make_task, train
from wbcjax.train.checkpoint import load_variables

pytestmark = pytest.mark.slow  # it compiles three steps

PARTS = {
    "backbone.part": "convnext",
    "backbone.size": "atto",
    "backbone.width": 4,
    "backbone.blocks": (1, 1, 1, 1),
    "rpn.box_loss.part": "giou",
    "box_head.part": "cascade",
    "box_head.head.part": "box_head",
    "box_head.head.channels": 16,
    "box_head.head.box_loss.part": "giou",
    "mask_head.class_agnostic": True,
}
SMALLER = {"fpn.channels": 8, "rpn.channels": 8, "mask_head.channels": 8, "mask_head.bins": 4}
OTHERS = {
    "dataset.synthetic.count": 12,
    "dataset.synthetic.height": 96,
    "dataset.synthetic.width": 96,
    "dataset.canvas": (96, 96),
    "train.batch_size": 8,
    "train.epochs": 0,
    "train.log_every": 1,
}


def trained(workdir: Path, *lengths: int) -> Path:
    """A run of so many steps, one training after the other."""
    file = Path(__file__).parents[2] / "configs/smear_demo.py"
    named = {f"model.{key}": value for key, value in (PARTS | SMALLER).items()} | OTHERS
    for steps in lengths:
        overrides = [f"--config.{key}={value}" for key, value in (named | {"train.steps": steps}).items()]
        config = load_config_file(str(file), overrides)
        assert train(config, make_task(config), workdir, allow_config_change=True) is None
    return workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        chex.assert_trees_all_equal(
            load_variables(trained(folder / "straight", 2), "latest"),
            load_variables(trained(folder / "pieces", 1, 2), "latest"),
        )
    return folder / "pieces"


def test_a_detector_of_named_parts_resumes_to_the_bit_and_records_every_loss(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in steps] == [1, 2]
    settings = from_dict(MaskRCNNSettings, json.loads((run / "config.json").read_text())["model"])
    assert settings.losses[2:] == ("class", "box", "class_2", "box_2", "class_3", "box_3", "mask")
    for record in steps:
        assert record["loss"] == pytest.approx(sum(record[name] for name in settings.losses), rel=1e-5)
        assert 0 < record["rpn_box"] < 2, "GIoU of a box is from 0 to 2"
    assert experiment_of(load_config(run)).title == "Mask R-CNN on ConvNeXt-A"


def test_a_detector_of_named_parts_trains_all_of_them(run):
    variables, _ = load_variables(run, "latest")
    config = load_config(run)
    fresh = make_task(config).init_variables(config.seed)
    moved = jax.tree.map(lambda new, old: bool(np.any(new != old)), variables["params"], fresh["params"])
    for part in ("stages_0", "stages_1", "stages_2"):
        assert all(jax.tree.leaves(moved["box_head"][part]))
    flat: Any = flatten_dict(moved["backbone"], sep="/")
    # A step that LAYER_SCALE makes so small is lost on scales of 1, and not on biases of 0.
    assert [path for path, is_moved in flat.items() if path.endswith("bias") and not is_moved] == []
    assert variables["params"]["mask_head"]["logits"]["kernel"].shape == (8, 1)


def test_a_detector_of_named_parts_predicts(run):
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    found = wbcjax.load(run, which="latest").detect(image)
    assert len(found.scores) > 0
    assert np.isfinite(found.scores).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 96).all()
