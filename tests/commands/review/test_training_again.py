"""Training again on fields that are done: its config, what it refuses, and for real, by the command and by the page."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.review.browser import CHROMIUM, ROOT, Hand, Server
from tests.commands.review.make import CLASSES, act, review, write_images
from wbcjax import cli
from wbcjax.commands.config_file import load_config_file
from wbcjax.commands.review.cells import Refused
from wbcjax.commands.review.serve import held
from wbcjax.commands.review.training import Training, config_text, models_of
from wbcjax.smear.read import read

TINY = (
    *("--config.dataset.synthetic.count=4", "--config.dataset.canvas=(64, 64)", "--config.dataset.synthetic.height=64"),
    *("--config.dataset.synthetic.width=64", "--config.dataset.synthetic.pixels_per_micron=2.0"),
    *("--config.dataset.synthetic.cells=(1,2)", "--config.model.backbone.width=8", "--config.model.fpn.channels=16"),
    *("--config.model.rpn.channels=16", "--config.model.box_head.channels=16", "--config.model.mask_head.channels=16"),
    *("--config.train.epochs=0.0", "--config.train.steps=2", "--config.train.batch_size=1"),
)


def run_of(folder: Path, *changes: str) -> Path:
    """The folder of a run, as far as its config."""
    config = load_config_file("smear_demo", changes)
    (folder / "run").mkdir()
    (folder / "run/config.json").write_text(config.to_json())
    return folder / "run"


def test_the_config_is_the_runs_own_on_the_corrected_fields_from_its_weights(tmp_path):
    run = run_of(tmp_path, "--config.model.fpn.channels=16", "--config.train.learning_rate=0.01")
    reviewed = review(tmp_path)
    start = {"run": str(run), "trust_parts": False, "steps": 70}
    fields = [field.as_field() for field in reviewed.fields[:2]]
    (tmp_path / "config.py").write_text(config_text(reviewed, tmp_path, fields, start))
    config = load_config_file(str(tmp_path / "config.py"))
    assert config.init_from == str(run)
    assert config.model.fpn.channels == 16
    assert config.dataset.name == "via"
    assert config.dataset.annotations == str(tmp_path / "via.json")
    assert config.dataset.images == str(tmp_path / "images")
    assert tuple(config.dataset.classes) == CLASSES
    assert (config.train.steps, config.train.epochs) == (70, 0.0)
    assert config.train.learning_rate == pytest.approx(0.003)
    assert config.dataset.max_cells == 16


def test_a_training_makes_room_for_the_most_crowded_field(tmp_path):
    run = run_of(tmp_path)
    reviewed = review(tmp_path)
    for k in range(40):
        points = [[2 + 3 * k, 100], [4 + 3 * k, 100], [4 + 3 * k, 110], [2 + 3 * k, 110], [2 + 3 * k, 101]]
        act(reviewed, 2, "stroke", label=1, points=points)
    start = {"run": str(run), "trust_parts": False, "steps": 70}
    (tmp_path / "config.py").write_text(config_text(reviewed, tmp_path, [reviewed.fields[2].as_field()], start))
    config = load_config_file(str(tmp_path / "config.py"))
    assert config.dataset.max_cells == 40
    assert (config.model.detection.per_image, config.model.rpn.proposals_test) == (120, 240)


def test_a_training_without_enough_done_fields_or_a_run_is_refused(tmp_path):
    reviewed = review(tmp_path)
    with pytest.raises(Refused, match="no model to start from"):
        Training(reviewed, []).start()
    exported = tmp_path / "model.bin"
    exported.touch()
    with pytest.raises(Refused, match="is an exported model"):
        Training(reviewed, [str(exported)]).start()
    run = run_of(tmp_path)
    act(reviewed, 0, "done")
    with pytest.raises(Refused, match="1 fields are done"):
        Training(reviewed, [str(run)]).start()
    assert not (tmp_path / "review/training").exists()


def test_a_training_that_fails_is_told_with_its_last_line(tmp_path):
    reviewed = review(tmp_path)
    for number in (0, 1):
        act(reviewed, number, "done")
    (tmp_path / "run").mkdir()
    training = Training(reviewed, [str(tmp_path / "run")])
    training.start().join()
    assert training.progress.state == "failed"
    assert "config.json does not exist" in training.progress.message
    fields = read(tmp_path / "review/training/1/via.json", tmp_path / "images").fields
    assert [field.name for field in fields] == ["a.png", "b.png"]


def test_the_models_of_a_review_are_kept_in_their_order(tmp_path):
    assert models_of(tmp_path, None) == []
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert models_of(tmp_path, tmp_path / "first") == [first]
    assert models_of(tmp_path, tmp_path / "second") == [first, second]
    assert models_of(tmp_path, tmp_path / "first") == [first, second]


def test_a_training_that_ended_after_its_review_was_killed_is_the_next_model(tmp_path):
    first = str(tmp_path / "first")
    models_of(tmp_path, tmp_path / "first")
    for number, reason in ((1, "finished"), (2, "SIGTERM")):
        run = tmp_path / f"training/{number}/run"
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text(json.dumps({"kind": "stop", "step": 9, "reason": reason}) + "\n")
    (tmp_path / "training/3").mkdir()
    assert models_of(tmp_path, tmp_path / "first") == [first, str(tmp_path / "training/1/run")]


def test_a_second_review_of_a_folder_is_refused(tmp_path):
    with held(tmp_path), pytest.raises(ValueError, match="is open in another"), held(tmp_path):
        pass


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("images", "--out", "images"), "where the images lie"),
        (("images", "--out", "other"), "holds something else"),
        (("run", "images", "--out", "new", "--classes", "L1"), "--classes is for a review without a run"),
        (("nothing", "--out", "new"), "no image there"),
        (("images", "--out", "new", "--port", "70000"), "--port is 70000"),
        (("a", "b", "images", "--out", "new"), "one folder of images"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(tmp_path, monkeypatch, capsys, arguments, told):
    review(tmp_path)
    run_of(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["review", *arguments])
    assert told in str(ended.value)
    assert not (tmp_path / "new/journal.jsonl").exists()


def test_a_missing_extra_is_told_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit, match=r"the page needs uvicorn: pip install 'wbcjax\[review\]'"):
        cli.main(["review", str(tmp_path), "--out", str(tmp_path / "new")])


@pytest.fixture(scope="module")
def one_device() -> Iterator[None]:
    """For child processes: a batch of one field is not divided among eight devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"))
        yield


def wbcjax(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "wbcjax", *map(str, arguments)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory, one_device) -> Path:
    run = tmp_path_factory.mktemp("tiny") / "run"
    wbcjax("train", "--config", "smear_demo", "--workdir", run, *TINY)
    return run


def models_and_last_step(folder: Path) -> tuple[list[Path], int]:
    models = list(map(Path, json.loads((folder / "models.json").read_text())))
    records = [json.loads(line) for line in (models[-1] / "metrics.jsonl").read_text().splitlines()]
    return models, records[-1]["step"]


@pytest.mark.slow
def test_a_review_trains_two_steps_and_keeps_the_new_run_as_its_model(tmp_path, tiny_run):
    reviewed = review(tmp_path, ("L1", "L2", "L3"))
    for number in (0, 1):
        act(reviewed, number, "done")
    out = tmp_path / "review"
    said = wbcjax("review", tiny_run, tmp_path / "images", "--out", out, "--train", "--train-steps", "2")
    assert "Trained" in said
    assert models_and_last_step(out) == ([tiny_run, out / "training/1/run"], 2)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_corrects_trains_two_steps_and_sorts_by_the_new_model(tmp_path, tiny_run, request):
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright, of the extra `test`, drives the browser"
    )
    images, out = tmp_path / "images", tmp_path / "review"
    write_images(images, ("a.png", "b.png", "c.png", "d.png"))
    server = Server("wbcjax", "review", tiny_run, images, "--out", out, "--train-steps", 2, "--no-browser")
    request.addfinalizer(server.kill)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        hand = Hand(browser.new_page(viewport={"width": 1400, "height": 900}), patience=240)
        hand.load(server.address)
        for name in ("a.png", "b.png"):
            hand.open(name)
            before = hand.cells()
            hand.draw((50, 50), (80, 50), (80, 80), (50, 80), (50, 52))
            assert hand.cells() != before
            hand.press("f")
            hand.wait(f"review.field().name !== '{name}'")  # the next one, by itself
        first = searched_by(hand, 0)
        hand.page.click("#train")
        hand.wait("/trained on|ended with/.test(document.getElementById('training').textContent)")
        assert "trained on 2 fields" in hand.page.inner_text("#training")
        then = searched_by(hand, 1)
        browser.close()
    assert then != first
    assert models_and_last_step(out) == ([tiny_run, out / "training/1/run"], 2)


def searched_by(hand: Hand, model: int) -> list[str]:
    """The open fields with their doubts, as the page shows them, when a model has searched all of them."""
    queue = "fetch('api/queue').then(answer => answer.json()).then(told => told.fields.filter(one => !one.done)"
    hand.wait(f"{queue}.every(one => one.model === {model}))")
    told = f"{queue}.map(one => `${{one.name}} doubt ${{one.doubt}}`))"
    lines = "[...document.querySelectorAll('.field:not(.done)')]"
    shown = f"{lines}.map(one => `${{one.title}} ${{one.querySelector('.doubt').title}}`)"
    hand.wait(f"{told}.then(told => told.join() === {shown}.join())")
    return hand.page.evaluate(shown)
