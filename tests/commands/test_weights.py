"""`wbcjax weights`: what it tells of a file, and files of ours, which a model starts from as from what they were."""

import dataclasses
import functools
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

from tests.models import small
from tests.train import toy
from tests.weights import named
from tests.weights.pickled import legacy_torch, write_torch
from wbcjax import cli
from wbcjax.commands.weights.files import contents, convert_weights
from wbcjax.configs import base
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models.settings import EFFICIENTNET_KERAS, MATTERPORT, TORCHVISION, RoiSettings
from wbcjax.runs.initial_weights import start_from
from wbcjax.settings.checked import checked
from wbcjax.system.terminal import plain
from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory
from wbcjax.train.layers import Layers
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import init_state
from wbcjax.train.workdir import KeptConfig, settle_config
from wbcjax.weights.detectron2 import DETECTRON2
from wbcjax.weights.files import read_weights
from wbcjax.weights.ours import TRAINED_WITH, noted_settings

TWO = {"conv.weight": np.ones((2, 3), np.float32), "count": np.array(7)}
RESNET, DETECTOR = "torchvision's ResNet", "torchvision's Mask R-CNN"
DIALECTS = {DETECTOR: TORCHVISION, RESNET: TORCHVISION, "detectron2": DETECTRON2, "Matterport": MATTERPORT}


@functools.cache
def detector(kind: str) -> tuple[Any, Any]:
    """Settings and fresh variables of a small model."""
    model = small.model(DIALECTS[kind], 3, depth=50, width=8)
    shapes = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    return model.settings, jax.tree.map(lambda leaf: np.full(leaf.shape, -7.0, np.float32), shapes)


def weights(folder: Path, kind: str) -> Path:
    return write_torch(folder / "theirs.pth", named.random(named.ALL[kind]()))


class Converted(NamedTuple):
    theirs: Path
    ours: Path
    told: list[str]


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Callable[[str], Converted]:
    """Weights of a kind, converted once."""

    @functools.cache
    def convert(kind: str) -> Converted:
        folder = tmp_path_factory.mktemp("converted")
        theirs, ours = weights(folder, kind), folder / "ours.safetensors"
        return Converted(theirs, ours, convert_weights(theirs, ours))

    return convert


def pickled_h5() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file["conv/conv/kernel"] = TWO["conv.weight"]
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (legacy_torch(TWO), "a file of torch before 1.6"),
        (pickle.dumps(TWO, 2), "a pickle of arrays, as of detectron2"),
        (save(TWO), "a safetensors file"),
        (pickled_h5(), "an HDF5 file, as of Keras"),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_content(tmp_path, content, kind):
    (tmp_path / "a.pth").write_bytes(content)
    assert plain(*contents(tmp_path / "a.pth")).startswith(f"{tmp_path / 'a.pth'}: {kind}, 0.00")


@pytest.mark.slow
def test_a_weights_file_is_described_by_notes_and_arrays(tmp_path):
    """The description of a file has its notes, its use and its first arrays."""
    arrays = named.random(named.torchvision_mask_rcnn())
    path = write_torch(tmp_path / "a.pth", arrays, epoch=26, optimizer=[1], note="x" * 200)
    text = plain(*contents(path))
    lines = text.splitlines()
    count = sum(array.size for array in arrays.values())
    assert lines[0].startswith(f"{path}: a file of torch, ")
    assert lines[1:5] == [
        f"{len(arrays)} arrays with {count:,} parameters, float32",
        "epoch: 26",
        f"note: {'x' * 100} ...",
        "left_out: optimizer",
    ]
    assert f"{len(arrays)} of {len(arrays)} arrays loaded, of torchvision's Mask R-CNN" in text
    assert "3 classes, the background among them" in lines
    assert "  backbone.same_pool: False" in lines
    names = list(arrays)
    assert all(name in text for name in names[:20])
    assert names[20] not in text
    assert lines[-1] == f"and {len(arrays) - 20} more: --all"
    all_of_it = plain(*contents(path, every=True))
    assert all(name in all_of_it for name in names)
    assert "backbone.body.conv1.weight" in text
    assert "8 x 3 x 7 x 7" in text


def test_types_are_counted_and_a_scalar_is_one_number(tmp_path):
    arrays = TWO | {"b": TWO["conv.weight"]}
    lines = plain(*contents(write_torch(tmp_path / "a.pth", arrays))).splitlines()
    assert lines[1] == "3 arrays with 13 parameters, 2 of float32, 1 of int64"
    assert [line.split() for line in lines][-3:-1] == [
        ["conv.weight", "2", "x", "3", "float32"],
        ["count", "one", "number", "int64"],
    ]


def test_weights_of_no_use_are_shown_with_the_reason(tmp_path):
    text = plain(*contents(write_torch(tmp_path / "a.pth", TWO)))
    assert "of no use here: no weights that are known here: 2 arrays, conv.weight, count" in text
    assert "2 x 3" in text
    arrays = named.random(named.torchvision_mask_rcnn())
    del arrays["rpn.head.bbox_pred.bias"]
    assert "missing: params/rpn/deltas/bias (12,)" in plain(*contents(write_torch(tmp_path / "b.pth", arrays)))


def test_signs_that_steer_a_terminal_are_spelt_out(tmp_path):
    steering = {"\x1b[31mred": np.zeros(2, np.float32)}
    (tmp_path / "a.safetensors").write_bytes(save(steering, {"\x1b[2J": "\x1b[0m\n"}))
    text = plain(*contents(tmp_path / "a.safetensors"))
    assert "\x1b" not in text
    assert r"\x1b[31mred" in text


def test_a_folder_is_not_shown(tmp_path):
    with pytest.raises(ValueError, match="is a folder; give a weights file"):
        contents(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIALECTS)
def test_a_model_starts_from_a_converted_file_as_from_the_weights_themselves(converted, kind):
    settings, variables = detector(kind)
    theirs, ours, told = converted(kind)
    expected, found = (start_from(path, variables, settings) for path in (theirs, ours))
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
    assert set(found.report.loaded) == set(expected.report.loaded.values())
    assert found.report.left_out == {}
    assert expected.report.source in plain(told)
    assert read_weights(ours).metadata["origin"] == f"weights of {expected.report.source}, from theirs.pth"


def test_a_file_of_ours_is_recognised_as_such(converted):
    text = plain(*contents(converted(RESNET).ours))
    assert "265 of 265 arrays loaded, of a Mask R-CNN of this package" in text
    assert "origin: weights of torchvision's ResNet-18" in text
    assert TRAINED_WITH not in text


def test_the_dialect_of_the_source_is_noted_and_another_is_refused(converted):
    ours = converted("Matterport").ours
    noted: Any = noted_settings(read_weights(ours).metadata)
    assert (noted.pixel_mean, noted.roi) == (MATTERPORT.pixel_mean, MATTERPORT.roi)
    assert (noted.backbone.depth, noted.backbone.width) == (50, 8)
    settings, variables = detector(DETECTOR)
    with pytest.raises(ValueError, match=r"config\.model\.roi\.convention is 'legacy'; these weights need 'crop_and"):
        start_from(ours, variables, settings)


def test_a_backbone_alone_leaves_the_choice_of_the_rest(converted):
    settings, variables = detector(RESNET)
    ours = converted(RESNET).ours
    free = dataclasses.replace(
        settings, black_padding=True, normalized_boxes=True, roi=RoiSettings(convention="aligned")
    )
    found = start_from(ours, variables, free)
    assert {path.split("/")[1] for path in found.report.loaded.values()} == {"backbone"}
    with pytest.raises(ValueError, match=r"config\.model\.pixel_mean"):
        start_from(ours, variables, dataclasses.replace(free, pixel_mean=(1.0, 1.0, 1.0)))


def test_bfloat16_rounds_each_weight_once_and_a_file_of_ours_can_be_converted(converted, tmp_path):
    first, second = converted(DETECTOR).ours, tmp_path / "b.safetensors"
    told = convert_weights(first, second, "bfloat16")
    whole, rounded = read_weights(first), read_weights(second)
    assert rounded.metadata == whole.metadata
    assert rounded.arrays.keys() == whole.arrays.keys()
    for name, array in rounded.arrays.items():
        np.testing.assert_array_equal(array, whole.arrays[name].astype(ml_dtypes.bfloat16))
    assert told[-1].startswith(f"{second}: {len(whole.arrays)} arrays with ")
    assert " parameters, bfloat16, " in told[-1]


def save_run(workdir: Path, config: Any, variables: dict) -> None:
    """A run with the variables as its best checkpoint, and worse ones as its latest."""
    settle_config(KeptConfig(config.to_dict()), workdir, started=False)
    optimizer = make_optimizer(checked(TrainSettings, toy.config().train, "config.train"))
    worse = jax.tree.map(np.zeros_like, variables)
    with Checkpoints(checkpoint_directory(workdir)) as checkpoints:
        for step, score, saved in ((4, 0.9, variables), (9, 0.1, worse)):
            state = init_state(saved, optimizer, Layers("all", lambda path: None), 0, ema=False)
            state = state._replace(step=np.full((), step, np.int32))
            checkpoints.save(state, toy.batches(toy.Images(), 4, 0).get_state(), score)


@pytest.mark.slow
def test_the_best_weights_of_a_run_are_converted_with_its_classes(tmp_path):
    settings, fresh = detector(DETECTOR)
    random = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), fresh)
    config = base.mask_rcnn(settings)
    config.dataset.classes = ("L1", "L2")
    save_run(tmp_path / "run", config, variables)
    convert_weights(tmp_path / "run", tmp_path / "ours.safetensors")
    file = read_weights(tmp_path / "ours.safetensors")
    jax.tree.map(np.testing.assert_array_equal, file.arrays, flatten_dict(variables, sep="/"))
    assert noted_settings(file.metadata) == settings
    assert {name: text for name, text in file.metadata.items() if name != TRAINED_WITH} == {
        "origin": "the best checkpoint of a run, of step 4",
        "classes": '["L1", "L2"]',
    }
    found = start_from(tmp_path / "ours.safetensors", fresh, settings)
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


@pytest.mark.slow
def test_a_classifier_with_a_flattening_head_is_converted_with_its_head(tmp_path):
    settings = dataclasses.replace(EFFICIENTNET_KERAS["b0"], head="flatten")
    shapes = efficientnet.shapes(efficientnet.Classifier(settings, 4), (64, 96))
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)
    assert variables["params"]["head"]["logits"]["kernel"].shape == (6 * 1280, 4)
    save_run(tmp_path / "run", base.classifier(settings), variables)
    told = convert_weights(tmp_path / "run", tmp_path / "ours.safetensors")
    assert read_weights(tmp_path / "ours.safetensors").arrays.keys() == flatten_dict(variables, sep="/").keys()
    assert "4 classes" in told


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "ours.safetensors").write_bytes(b"kept")
    with pytest.raises(ValueError, match=r"ours\.safetensors is there already; give another name"):
        convert_weights(weights(tmp_path, RESNET), tmp_path / "ours.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == b"kept"


def test_another_ending_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"ours\.pth: the name of the file to write must end in \.safetensors"):
        convert_weights(tmp_path / "missing.pth", tmp_path / "ours.pth")


def test_what_cannot_be_converted_is_named_once_and_nothing_is_written(tmp_path):
    theirs = write_torch(tmp_path / "theirs.pth", TWO)
    (tmp_path / "broken.pth").write_bytes(legacy_torch(TWO)[:-1])
    for path, reason in ((theirs, "no weights that are known here"), (tmp_path / "broken.pth", "it ends within")):
        with pytest.raises(ValueError, match=reason) as refusal:
            convert_weights(path, tmp_path / "ours.safetensors")
        assert str(refusal.value).startswith(f"{path}: ")
        assert str(refusal.value).count(path.name) == 1
    with pytest.raises(FileNotFoundError, match="give the workdir of a training run"):
        convert_weights(tmp_path, tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize("note", ["{", "[]", '{"kind": "MaskRCNNSettings", "settings": {"depth": 3}}', '{"kind": "x"}'])
def test_a_broken_note_of_settings_is_shown_and_not_converted(tmp_path, note):
    (tmp_path / "a.safetensors").write_bytes(save({"params/a": TWO["conv.weight"]}, {TRAINED_WITH: note}))
    assert f"of no use here: the file's note {TRAINED_WITH!r} is not whole" in plain(
        *contents(tmp_path / "a.safetensors")
    )
    with pytest.raises(ValueError, match=r"a\.safetensors: the file's note 'trained_with' is not whole"):
        convert_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors")


def test_the_command_line_shows_and_converts(converted, tmp_path, capsys):
    theirs, _, told = converted(RESNET)
    ours = tmp_path / "ours.safetensors"
    cli.main(["weights", "convert", str(theirs), str(ours), "--dtype=bfloat16"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == told[:-1]
    assert last.startswith(f"{ours}: 265 arrays with ")
    assert read_weights(ours).arrays["params/backbone/conv1/kernel"].dtype == ml_dtypes.bfloat16
    path = write_torch(tmp_path / "a.pth", {f"array{i}": TWO["count"] for i in range(30)})
    for more, last in (([], "and 10 more: --all"), (["--all"], "array29  one number  int64")):
        cli.main(["weights", "show", str(path), *more])
        assert capsys.readouterr().out.splitlines()[-1] == last
    with pytest.raises(SystemExit) as stop:
        cli.main(["weights", "show", str(tmp_path / "missing.pth")])
    assert "missing.pth" in str(stop.value.code)


def test_parts_alone_are_converted_and_the_rest_starts_fresh(converted, tmp_path):
    out = tmp_path / "parts.safetensors"
    convert_weights(converted(DETECTOR).ours, out, parts=("backbone", "fpn"))
    assert {name.split("/")[1] for name in read_weights(out).arrays} == {"backbone", "fpn"}
    settings, fresh = detector(DETECTOR)
    started = start_from(out, fresh, settings)
    whole = start_from(converted(DETECTOR).ours, fresh, settings)
    for part in fresh["params"]:
        expected = whole.variables if part in ("backbone", "fpn") else fresh
        assert jax.tree.all(jax.tree.map(np.array_equal, started.variables["params"][part], expected["params"][part]))
    with pytest.raises(ValueError, match=r"there is no part 'neck'; give some of backbone, .*, rpn"):
        convert_weights(converted(DETECTOR).ours, tmp_path / "none.safetensors", parts=("neck",))
