"""What is promised on Windows, macOS and ARM, as far as another machine can show it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import windows
from tests.input.sets import write_via_set

ROOT = Path(__file__).parents[1]
TOY = (
    "--config.dataset.synthetic.count=8",
    "--config.dataset.synthetic.height=96",
    "--config.dataset.synthetic.width=128",
    "--config.dataset.canvas=(128, 128)",
    "--config.model.backbone.width=8",
    *(f"--config.model.{part}.channels=16" for part in ("fpn", "rpn", "box_head", "mask_head")),
    "--config.model.mask_head.bins=7",
    "--config.train.epochs=0.0",
    "--config.train.steps=2",
    "--config.train.batch_size=8",
)


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A folder with a VIA set, whose images have a name that code page 1252 lacks."""
    write_via_set(tmp_path / "set", [1, 2])
    return tmp_path


@pytest.mark.slow
def test_commands_without_a_model_need_nothing_that_windows_lacks(annotated):
    (annotated / "set/images/0.png").rename(annotated / "set/images/клетка.png")
    via = annotated / "set/via.json"
    via.write_text(via.read_text(encoding="utf-8").replace("0.png", "клетка.png"), encoding="utf-8")
    said = windows.run(
        [
            ["config", "smear_demo", "--write", "mine.py"],
            ["inspect", "set/via.json", "set/images", "--out", "report"],
            ["convert", "set/via.json", "set/images", "cells", "--to", "geojson"],
            ["enhance", "set/images", "--out", "enhanced"],
            ["crop", "set/via.json", "set/images", "--out", "crops"],
        ],
        annotated,
    )
    assert "mine.py has every setting" in said
    assert (annotated / "report/index.html").exists()
    assert sorted(path.name for path in (annotated / "cells").glob("*.geojson")) == [
        "1.png.geojson",
        "клетка.png.geojson",
    ]
    assert len(list((annotated / "enhanced").glob("*.png"))) >= 2
    assert len(list((annotated / "crops").rglob("*.png"))) == 3


@pytest.mark.slow
def test_a_model_is_trained_and_predicts_without_what_windows_lacks(annotated):
    windows.run([["train", "--config", "smear_demo", "--workdir", "run", *TOY]], annotated)
    windows.run(
        [
            ["evaluate", "--workdir", "run"],
            ["predict", "run", "set/images", "--out", "predicted"],
            ["export", "run", "--out", "model"],
            ["plan", "--config", "smear_demo", *TOY],
        ],
        annotated,
    )
    assert (annotated / "run/evaluation/val/scores.json").exists()
    assert (annotated / "predicted/cells.csv").exists()
    assert list((annotated / "cache/parquet").rglob("*.parquet-*"))


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize(
    "platform", ["windows", "aarch64-apple-darwin", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"]
)
def test_every_dependency_has_a_wheel_for_each_platform(platform, python):
    _resolve(platform, python)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "platform"),
    [("cuda13", "x86_64-manylinux_2_31"), ("cuda13", "aarch64-manylinux_2_31"), ("tpu", "x86_64-manylinux_2_31")],
)
def test_jax_for_gpus_and_tpus_has_wheels_for_linux(platform, extra):
    _resolve(platform, "3.11", "--extra", extra)


def _resolve(platform: str, python: str, *options: str) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which resolves for other platforms, is not installed")
    # promise, of tensorflow-datasets, is pure Python and published as source alone.
    wheels = ["--only-binary", ":all:", "--no-binary", "promise"]
    command = [uv, "pip", "compile", "--quiet", *wheels, "--python-platform", platform, "--python-version", python]
    done = subprocess.run([*command, *options, str(ROOT / "pyproject.toml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_dockerfile_copies_is_there():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied
    ignored = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line]
    assert ignored[0] == "*"
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert f"!{path}" in ignored, path


def test_commands_of_the_install_page_name_extras_that_exist():
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    named = {name for names in re.findall(r"\[([\w,]+)\](?=[\"'])", page) for name in names.split(",")}
    assert named
    assert named <= set(extras)
