"""The examples of the README and of the pages for users work as printed."""

import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import wbcjax
from tests.experiments import model_of
from tests.input.sets import write_format
from tests.oracle import oracle, paint
from wbcjax import cli
from wbcjax.configs import all_mask_rcnn, base, myeloma_mask_rcnn
from wbcjax.input.settings import FieldSetSettings
from wbcjax.models import mask_rcnn
from wbcjax.predict.detector import predictor
from wbcjax.smear.formats.known import FORMATS
from wbcjax.system.files import write_png

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("data", "quickstart", "configs"))


def block(containing: str) -> str:
    """The Python example that holds a text."""
    return next(code for code in re.findall(r"```python\n(.*?)```", README + PAGES, re.DOTALL) if containing in code)


def plain_net(config, folder: Path, monkeypatch) -> None:
    """Make the example backbone that of `config`, by the lines that say how."""
    (folder / "plain.py").write_text(block("class PlainNet"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "plain", raising=False)
    exec(block("config.model.backbone = "), {"config": config})


def test_the_readmes_backbone_makes_a_mask_rcnn(tmp_path, monkeypatch):
    config = base.mask_rcnn()
    plain_net(config, tmp_path, monkeypatch)
    model = mask_rcnn.build(model_of(config), 2)

    def found(key):
        image, size = jnp.zeros((1, 64, 96, 3), jnp.uint8), jnp.full((1, 2), 64.0)
        return model.init_with_output(key, image, size, method="predict")

    detections, variables = jax.eval_shape(found, jax.random.key(0))
    assert detections.boxes.shape == (1, 100, 4)
    assert set(variables["params"]["backbone"]) == {f"{part}{k}" for part in ("conv", "norm") for k in range(1, 6)}
    assert variables["params"]["fpn"]["lateral5"]["kernel"].shape == (1, 1, 4 * 32, 256)


def test_the_readmes_lines_for_own_data_make_a_config():
    config = base.mask_rcnn()
    exec(block("config.dataset.annotations"), {"config": config})
    assert predictor(model_of(config), FieldSetSettings.from_config(config.dataset)).classes == (
        "L1",
        "L2",
        "L3",
    )
    assert dict(config.dataset.class_of) == {"l1": "L1", "l2": "L2", "l3": "L3", "unsure": ""}


def test_the_readmes_prediction_from_python_works_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wbcjax, "load", lambda place: oracle((64, 96), (1.0, 1.0)), raising=False)
    image = paint(64, 96, {(10, 10, 30, 30): 1, (40, 20, 60, 50): 2})
    write_png(tmp_path / "folder/of/images/a.png", image)
    names = {}
    exec(block("wbcjax.load"), names)
    assert capsys.readouterr().out == "2 cells in 96 x 64 pixels: 1 L1, 1 L2; scores 0.92 to 0.96\n"
    assert names["picture"].shape == image.shape
    assert [cell["score"] > 0.9 for cell in names["coco"]["annotations"]] == [True, True]


def test_every_config_the_readme_lists_is_there():
    listed = set(re.findall(r"^\| `(configs/\w+\.py)`", PAGES, re.MULTILINE))
    present = {f"configs/{path.name}" for path in (Path(__file__).parents[1] / "configs").glob("*.py")}
    assert listed == present - {"configs/__init__.py", "configs/base.py"}


@pytest.mark.parametrize("config", [all_mask_rcnn, myeloma_mask_rcnn])
def test_scratch_variants_claim_no_figure_of_a_paper(config):
    entries = re.split(r"\n(?=[A-Z][\w ]*[:`])", config.__doc__)  # "Expected from them: ...", "Variant `:scratch`: ..."
    of_scratch = [entry for entry in entries if ":scratch`" in entry]
    assert len(of_scratch) == 1
    assert "%" not in of_scratch[0]
    assert "not trained" in of_scratch[0]


@pytest.mark.parametrize("name", FORMATS)
def test_the_readmes_command_for_each_format_looks_a_set_of_it_over(name, tmp_path, monkeypatch, capsys):
    (annotations, images) = re.findall(rf"^\.venv/bin/wbcjax inspect (\S+) (\S+) +# {name}\b", README, re.MULTILINE)[0]
    described = write_format(tmp_path / "made", name)
    for there, here in ((described.annotations, annotations), (described.images, images)):
        place = tmp_path / here
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            (shutil.copytree if Path(there).is_dir() else shutil.copy)(there, place)
    monkeypatch.chdir(tmp_path)
    cli.main(["inspect", annotations, images])
    shown = capsys.readouterr().out
    assert re.search(rf"^annotations +{annotations} \({name}\)$", shown, re.MULTILINE)
    assert re.search(r"^fields +2$", shown, re.MULTILINE)
