"""A model in a file of its own: it finds what the run's does, and files that are no such model are refused."""

import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from ml_collections import ConfigDict

import wbcjax
from tests.experiments import model_of
from tests.tasks.test_classification import toy_config as toy_classifier
from tests.tasks.test_detection import toy_config as toy_detector
from wbcjax import cli
from wbcjax.commands.export.model import Exported
from wbcjax.evaluate.reported_cells import reported_cells
from wbcjax.input.settings import CropSetSettings, FieldSetSettings
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.predict import classifier
from wbcjax.predict.classifier import crop_classifier, load_classifier
from wbcjax.predict.detector import PASTED_AS, Predictor, live_network, predictor
from wbcjax.runs import model_file
from wbcjax.runs.calibration import note_temperature
from wbcjax.runs.initial_weights import settings_of, start_from
from wbcjax.runs.model_file import read_module, read_settings, write_model_file
from wbcjax.runs.stablehlo import load_network, serialise
from wbcjax.smear import synthetic
from wbcjax.system.files import write_png
from wbcjax.train.workdir import config_json
from wbcjax.weights.files import read_weights

SCALES = (0.5, 1.0)


def image(height: int, width: int, seed: int) -> np.ndarray:
    return synthetic.render(synthetic.SyntheticSmear(height=400, width=400), seed).image()[:height, :width]


def workdir(folder: Path, config: ConfigDict, facts: dict) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config_json(config.to_dict()))
    (folder / "data.json").write_text(json.dumps(facts))
    return folder


def export_fresh(run: Path, out: Path, variables: dict) -> Exported:
    """The export, by the command, of a run whose checkpoint holds `variables`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wbcjax.commands.export.model.variables_of", lambda workdir, which: (variables, 7))
        cli.main(["export", str(run), "--out", str(out)])
    model = out if out.suffix else out / "model.stablehlo"
    return Exported(model, model.with_name("parameters.safetensors"), model.with_name("model_card.md"))


@pytest.fixture(scope="module")
def config() -> ConfigDict:
    config = toy_detector()
    config.dataset.class_attribute = "kind"
    config.dataset.pixel_size = 0.1
    config.dataset.enhance = "he"
    config.evaluate.score_threshold = 0.3
    return config


@pytest.fixture(scope="module")
def live(config: ConfigDict) -> Predictor:
    model = mask_rcnn.build(model_of(config), len(config.dataset.classes) + 1)
    found = predictor(
        model_of(config), FieldSetSettings.from_config(config.dataset), jax.device_get(mask_rcnn.init(model, 0)), SCALES
    )
    return replace(found, temperature=1.5, tta_temperature=0.75)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, config: ConfigDict, live: Predictor) -> Exported:
    """The files, without the run that they were made of."""
    folder = tmp_path_factory.mktemp("export")
    run = workdir(folder / "run", config, {"scale": SCALES})
    for step, way, temperature in ((7, "plain", 1.5), (7, "tta", 0.75), (8, "plain", 9.0)):  # the weights are of step 7
        note_temperature(run, step, way, temperature, "80 detections of val")
    places = export_fresh(run, folder / "out", live.network.variables)
    shutil.rmtree(run)
    return places


@pytest.fixture(scope="module")
def loaded(exported: Exported) -> Predictor:
    return wbcjax.load(exported.model)


@pytest.mark.parametrize(("height", "width", "tiles"), [(96, 128, 1), (31, 40, 1), (300, 100, 2), (280, 400, 4)])
def test_an_exported_model_finds_what_the_run_does_in_images_of_any_size(live, loaded, height, width, tiles):
    picture = image(height, width, seed=height)
    expected = live.detect(picture)
    assert len(loaded.layout(height, width).tiles) == tiles
    assert len(expected.rles) > 0
    found = loaded.detect(picture)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.rles == expected.rles


def test_all_that_prediction_needs_is_in_the_file(loaded, live, config):
    assert loaded.canvas == (128, 128)
    assert loaded.classes == ("L1", "L2", "L3")
    assert loaded.scales == SCALES
    assert (loaded.temperature, loaded.tta_temperature, loaded.with_tta().temperature) == (1.5, 0.75, 0.75)
    assert loaded.enhance.method == "he"
    assert loaded.library == live.library == PASTED_AS[config.model.roi.convention]


@pytest.mark.slow
def test_the_cards_code_gives_the_networks_output(exported, live, config, monkeypatch):
    """The code on the card gives the networks output for any number of images."""
    (code,) = re.findall(r"```python\n(.*?)```", exported.card.read_text(), re.DOTALL)
    assert "wbcjax" not in code
    images = np.stack([image(128, 128, seed) for seed in range(3)])
    sizes = np.array([[128, 128], [96, 128], [50, 60]], np.float32)
    monkeypatch.chdir(exported.card.parent)
    names = {"images": images, "sizes": sizes}
    exec(code, names)
    expected = jax.jit(live_network(model_of(config), config.dataset.classes))(live.network.variables, images, sizes)
    assert set(names["found"]) == set(expected._fields)
    assert names["found"].pop("said") is expected.said is None  # there are no further heads
    for name, array in names["found"].items():
        np.testing.assert_allclose(array, getattr(expected, name), atol=1e-5, err_msg=name)
    assert expected.valid.any()


def test_the_command_predicts_from_the_file_as_the_run_was_set(exported, loaded, tmp_path, capsys):
    picture = image(96, 128, seed=5)
    write_png(tmp_path / "images/a.png", picture)
    cli.main(["predict", str(exported.model), str(tmp_path / "images"), f"--out={tmp_path / 'out'}"])
    cells = reported_cells(loaded.detect(picture), 0.3, loaded.classes)
    assert f"{len(cells.rles)} cell" in capsys.readouterr().out
    table = (tmp_path / "out/cells.csv").read_text()
    assert "area_um2" in table, "the pixel size is the run's"
    assert len(table.splitlines()) == len(cells.rles) + 1 > 1
    assert '"kind"' in (tmp_path / "out/via.json").read_text()


def test_another_run_starts_from_exported_parameters(exported, live, config):
    """The parameters have our paths for names and another run can start from them."""
    arrays = read_weights(exported.parameters).arrays
    kernel = live.network.variables["params"]["fpn"]["output2"]["kernel"]
    np.testing.assert_array_equal(arrays["params/fpn/output2/kernel"], kernel)
    assert all(array.dtype == np.float32 for array in arrays.values())
    blank = jax.tree.map(np.zeros_like, live.network.variables)
    started = start_from(exported.parameters, blank, settings_of(config))
    jax.tree.map(np.testing.assert_array_equal, started.variables, live.network.variables)


def test_one_program_serves_three_platforms_without_weights(exported):
    """One program is for cpu cuda and tpu and has no weights in it."""
    program, weights = read_module(exported.model)
    assert export.deserialize(bytearray(program)).platforms == ("cpu", "cuda", "tpu")
    assert len(program) < sum(array.nbytes for array in weights.values()) / 2


def test_accelerators_get_their_own_loops(exported):
    """RoIAlign of 100 proposals and 32 cells: 8 at a time on CPUs, elsewhere all. NMS of all pairs but on CPUs."""
    program, _ = read_module(exported.model)
    text = export.deserialize(bytearray(program)).mlir_module()
    loops = [line for line in text.splitlines() if "stablehlo.while(" in line]
    rois = [found for line in loops for found in re.findall(r"tensor<(\d+)x\?x(\d+)x4xf32>", line)]  # passes, of each
    assert rois == [("12", "8"), ("4", "8"), ("1", "100"), ("1", "32")]
    pairs = [re.findall(r"tensor<\?x(\d+)x\1xi1>", line) for line in loops]
    assert pairs == [[], [], [], [], ["440"], [], ["200"], []]


@pytest.mark.slow
def test_a_classifier_gives_the_same_probabilities_and_accelerators_their_own_convolution(tmp_path):
    config = toy_classifier(tmp_path)
    model = efficientnet.build(model_of(config), 2)
    variables = efficientnet.init(model, (64, 64), 0)
    cut = {"margin": 0.2, "mask_background": True}
    places = export_fresh(workdir(tmp_path / "run", config, {"cut": cut}), tmp_path / "b0.stablehlo", variables)
    loaded = load_classifier(places.model)
    assert loaded.cut == cut
    crops = [image(height, 50, height) for height in (30, 64, 100)]
    network = classifier.live_network(model_of(config), config.dataset.classes)
    expected = crop_classifier(network, CropSetSettings.from_config(config.dataset), variables).probabilities(crops)
    np.testing.assert_allclose(loaded.probabilities(crops), expected, atol=1e-5)
    text = export.deserialize(bytearray(read_module(places.model)[0])).mlir_module()
    of_channels = {int(count) for count in re.findall(r"feature_group_count = (\d+)", text)} - {1}
    assert of_channels, "on a GPU, XLA's depthwise convolution"
    with pytest.raises(ValueError, match=r"b0\.stablehlo is a run of classification; give one of detection"):
        wbcjax.load(places.model)


def test_what_is_there_already_is_not_replaced(exported, live, config, tmp_path):
    run = workdir(tmp_path / "run", config, {})
    for name in ("model.stablehlo", "parameters.safetensors", "model_card.md"):
        out = tmp_path / name.partition(".")[0]
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(SystemExit, match=rf"{re.escape(name)} is there already: choose another folder"):
            export_fresh(run, out, live.network.variables)
        assert [path.read_text() for path in out.iterdir()] == ["mine"]


def test_weights_that_are_not_finite_are_not_exported(live, config, tmp_path):
    broken = jax.tree.map(lambda array: array * np.nan, live.network.variables)
    run = workdir(tmp_path / "run", config, {})
    with pytest.raises(SystemExit, match="not written: NaN or infinity"):
        export_fresh(run, tmp_path / "out", broken)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda whole: b"", "not a model that `wbcjax export` wrote"),
        (lambda whole: b"\x89PNG\r\n\x1a\n" + whole, "not a model that `wbcjax export` wrote"),
        (lambda whole: whole[:20], "not a model that `wbcjax export` wrote"),
        (lambda whole: whole[:2000], "damaged or truncated"),
        (lambda whole: whole[:-1], "damaged or truncated"),
        (lambda whole: whole[:-100_000], "damaged or truncated"),
    ],
)
def test_a_foreign_or_truncated_file_is_refused_by_name(exported, tmp_path, content, told):
    path = tmp_path / "x.stablehlo"
    path.write_bytes(content(exported.model.read_bytes()))
    for load in (wbcjax.load, load_classifier):
        with pytest.raises(ValueError, match=rf"x\.stablehlo: .*{told}"):
            load(path)
    with pytest.raises(SystemExit, match=told):
        cli.main(["predict", str(path), str(tmp_path), f"--out={tmp_path / 'out'}"])


@pytest.mark.parametrize("member", ["wbcjax_model.json", "module.bin", "parameters.safetensors"])
def test_a_changed_byte_anywhere_is_noticed(exported, tmp_path, member):
    whole = bytearray(exported.model.read_bytes())
    with zipfile.ZipFile(exported.model) as archive:
        start = archive.getinfo(member).header_offset
        middle = start + 30 + len(member) + archive.getinfo(member).file_size // 2
    whole[middle] ^= 1
    (tmp_path / "x.stablehlo").write_bytes(whole)
    with pytest.raises(ValueError, match=r"x\.stablehlo: .*Bad CRC-32"):
        wbcjax.load(tmp_path / "x.stablehlo")


def test_a_zip_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.stablehlo", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    with pytest.raises(ValueError, match=r"x\.stablehlo: not a model"):
        wbcjax.load(tmp_path / "x.stablehlo")


def test_a_file_of_a_later_format_names_what_can_read_it(exported, tmp_path, monkeypatch):
    settings = read_settings(exported.model)
    monkeypatch.setattr(model_file, "FORMAT", 2)
    write_model_file(tmp_path / "x.stablehlo", settings, b"", b"")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"of format 2 and not 1: written by wbcjax .*; use that"):
        wbcjax.load(tmp_path / "x.stablehlo")


def test_settings_nested_beyond_all_measure_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.stablehlo", "w") as archive:
        for name, text in (("wbcjax_model.json", "[" * 10**5), ("module.bin", ""), ("parameters.safetensors", "")):
            archive.writestr(name, text)
    with pytest.raises(ValueError, match=r"x\.stablehlo: wbcjax_model\.json in it has not what a model needs"):
        read_settings(tmp_path / "x.stablehlo")


@pytest.mark.parametrize(
    "settings", [{}, {"config": {}, "facts": {}}, {"config": 1, "facts": {}, "made": {"wbcjax": ""}}]
)
def test_settings_that_are_not_whole_are_refused(tmp_path, settings):
    write_model_file(tmp_path / "x.stablehlo", settings, b"", b"")
    with pytest.raises(ValueError, match=r"x\.stablehlo: wbcjax_model\.json in it has not what a model needs"):
        wbcjax.load(tmp_path / "x.stablehlo")


def test_a_program_that_calls_code_outside_itself_is_refused(exported, tmp_path):
    def network(weights, images):
        return {"found": jax.ffi.ffi_call("outside", jax.ShapeDtypeStruct((2, 3), np.float32))(images)}

    allowed = [export.DisabledSafetyCheck.custom_call("outside")]
    calling = export.export(jax.jit(network), disabled_checks=allowed)({}, jax.ShapeDtypeStruct((2, 3), np.float32))
    path = rewritten(exported, tmp_path, bytes(calling.serialize()))
    with pytest.raises(ValueError, match=r"x\.stablehlo: its program calls outside, which no model of wbcjax does"):
        load_network(path)


def test_a_program_that_this_jax_cannot_read_is_refused(exported, tmp_path):
    path = rewritten(exported, tmp_path, b"\0" * 400)
    with pytest.raises(ValueError, match=r"x\.stablehlo: jax .* cannot read its program .*export the model again"):
        load_network(path)


def rewritten(exported: Exported, folder: Path, program: bytes) -> Path:
    """The exported model with another program."""
    path = folder / "x.stablehlo"
    write_model_file(path, read_settings(exported.model), program, exported.parameters.read_bytes())
    return path


def test_a_network_takes_weights_by_name_and_any_number_of_images(tmp_path, exported):
    def network(weights, images):
        return {"sum": images @ weights["a/b"]}

    weights = {"a/b": np.eye(3, 2, dtype=np.float32)}
    path = rewritten(exported, tmp_path, serialise(network, [((3,), np.float32)], weights))
    loaded, _ = load_network(path)
    for count in (1, 4):
        images = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
        found = loaded(weights, images)
        np.testing.assert_allclose(found["sum"], images[:, :2])
