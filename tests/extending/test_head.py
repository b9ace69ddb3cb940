"""A further head of a lab's own: a file in the working folder, from its loss to its column in cells.csv."""

import csv
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import wbcjax
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.configs import smear_demo
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.parts import Untrusted
from wbcjax.smear import synthetic
from wbcjax.system.files import write_png
from wbcjax.tasks.choose import make_task, train
from wbcjax.train.checkpoint import load_variables

pytestmark = pytest.mark.slow

OVERRIDES = {
    "dataset.synthetic.count": 12,
    "dataset.synthetic.height": 96,
    "dataset.synthetic.width": 128,
    "dataset.canvas": (96, 128),
    "model.backbone.width": 8,
    "model.fpn.channels": 16,
    "model.rpn.channels": 16,
    "model.box_head.channels": 16,
    "model.mask_head.channels": 16,
    "model.mask_head.bins": 7,
    "model.heads.roundness.part": "roundness:RoundnessHead",
    "model.heads.roundness.channels": 8,
    "train.phases": ({"layers": "heads", "epochs": 10.0},),
    "train.batch_size": 8,
    "train.epochs": 0.0,
    "train.log_every": 1,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    """The working folder, with the head's file; what is imported of it is forgotten afterwards."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(Path(__file__).parent / "roundness.py", folder / "roundness.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "roundness", raising=False)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("WBCJAX_CACHE", str(folder / "cache"))
        yield folder
        sys.modules.pop("roundness", None)


def config(steps: int) -> ConfigDict:
    given = [f"--config.{key}={value}" for key, value in {**OVERRIDES, "train.steps": steps}.items()]
    return load_config_file(smear_demo.__file__, given)


def trained(steps: int, workdir: Path) -> Path:
    task = make_task(config(steps), workdir)
    assert train(config(steps), task, workdir, allow_config_change=True) is None
    return workdir


@pytest.fixture(scope="module")
def run(lab: Path) -> Path:
    """A run of two steps, begun and resumed."""
    trained(1, lab / "run")
    return trained(2, lab / "run")


def test_a_head_named_as_a_column_of_cells_csv_is_refused(lab):
    given = ["--config.model.heads.area.part=roundness:RoundnessHead"]
    with pytest.raises(ConfigError, match=r"config\.model\.heads\.area: cells\.csv has a column of that name"):
        load_config_file(smear_demo.__file__, given)


def test_the_head_has_its_own_loss_in_the_log(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in steps] == [1, 2]
    for record in steps:
        parts = [record[name] for name in ("rpn_objectness", "rpn_box", "class", "box", "mask", "roundness")]
        assert record["loss"] == pytest.approx(sum(parts), rel=1e-5)
        assert record["roundness"] > 0


def test_an_own_head_trains_and_resumes_exactly(run, lab):
    """The phase of the heads trains it and a resumed run equals a whole one."""
    (resumed, _), (whole, _) = (load_variables(path, "latest") for path in (run, trained(2, lab / "whole")))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    fresh = make_task(config(2)).init_variables(config(2).seed)["params"]
    for part, moves in (("roundness", True), ("backbone", False)):
        same = jax.tree.map(np.array_equal, resumed["params"][part], fresh[part])
        assert jax.tree.all(jax.tree.map(lambda equal, moves=moves: equal is not moves, same))


def test_what_it_says_of_each_cell_is_a_column_of_cells_csv(run, lab):
    field = next(iter(synthetic.fields(synthetic.SyntheticSmear(height=96, width=128), 1, 7)))
    write_png(lab / "images/a.png", field.image())
    with pytest.raises(Untrusted, match=r"config\.model\.heads\.roundness\.part is 'roundness:RoundnessHead'"):
        wbcjax.load(run)
    model = wbcjax.load(run, trust_parts=True)
    found = model.detect(field.image(), "a.png")
    cells = reported_cells(found, 0.0, model.classes)
    assert len(cells.rles) > 3

    cli.main(["predict", str(run), str(lab / "images"), "--out", str(lab / "out"), "--min-score", "0", "--trust-parts"])
    with (lab / "out/cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-1] == "roundness"
    np.testing.assert_allclose([float(row["roundness"]) for row in rows], cells.said["roundness"], rtol=1e-4)
    written = json.loads((lab / "out/predictions.json").read_text())["detections"]
    np.testing.assert_allclose([entry["said"]["roundness"] for entry in written], found.said["roundness"], rtol=1e-4)

    cli.main(["export", str(run), "--out", str(lab / "exported"), "--trust-parts"])
    exported = wbcjax.load(lab / "exported/model.stablehlo", trust_parts=True).detect(field.image(), "a.png")
    np.testing.assert_allclose(exported.said["roundness"], found.said["roundness"], atol=1e-4)
