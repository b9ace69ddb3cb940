"""Files that other libraries save, read and loaded into our models: the outputs are theirs.

All of it needs torch or Keras (`pytest -m parity`).
"""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.models import small
from tests.parity import efficientnet as parity
from tests.parity import fill, ours, scene
from tests.train import toy
from tests.weights import named
from tests.weights.direct import efficientnet_from_keras
from tests.weights.named import Sizes
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.models.backbone import nothing_trains
from wbcjax.models.resnet import ResNet
from wbcjax.models.settings import EFFICIENTNET_KERAS, MATTERPORT, TORCHVISION
from wbcjax.settings.checked import checked
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.settings import TrainSettings
from wbcjax.weights.detectron2 import DETECTRON2
from wbcjax.weights.files import read_weights
from wbcjax.weights.initialise import Initialised, initialise

pytestmark = pytest.mark.parity

TOLERANCE = 1e-4  # largest difference, relative to the largest value of the reference
REASON = "torch, torchvision or keras is not installed (extra `parity`)"
CANVAS = (64, 128)
SEED = 5


def fresh(shapes: Any) -> Any:
    """Variables that are not numbers, so that one that is not filled spoils what comes out."""
    return jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, np.float32), shapes)


def load(path: Path, model: Any, shapes: Any) -> Initialised:
    return initialise(fresh(shapes), read_weights(path).arrays, model.settings)


def close(mine: Any, theirs: Any, name: str = "") -> None:
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert mine.shape == theirs.shape, name
    np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=TOLERANCE * np.abs(theirs).max(), err_msg=name)


def pixels() -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (2, *CANVAS, 3), dtype=np.uint8)


def normalised(image: np.ndarray, settings: Any) -> np.ndarray:
    return (image - np.array(settings.pixel_mean, np.float32)) / np.array(settings.pixel_std, np.float32)


# torchvision


def test_a_saved_mask_rcnn_and_faster_rcnn_of_torchvision_find_what_they_found(tmp_path):
    torch = pytest.importorskip("torch", reason=REASON)
    reference = pytest.importorskip("tests.parity.reference", reason=REASON)
    from torchvision.models.detection import FasterRCNN

    torch.set_num_threads(1)
    model = reference.build(SEED)
    torch.save(model.state_dict(), tmp_path / "mask.pth")
    drawn = scene.draw(SEED)
    theirs, _ = reference.predict(model, drawn)
    found = load(tmp_path / "mask.pth", ours.MODEL, ours.shapes())
    assert (found.report.left_out, found.report.initial) == ({}, ())
    mine = ours.predict(found.variables, drawn)
    stages = [name for name in mine if name.split("/")[0] in ("backbone", "fpn", "rpn", "box_head", "mask_head")]
    assert len(stages) > 10
    for name in stages:
        close(mine[name], theirs[name], name)

    faster = FasterRCNN(model.backbone, num_classes=scene.CLASSES + 1)
    kept = {name: value for name, value in model.state_dict().items() if ".mask_" not in name}
    faster.load_state_dict(kept)
    torch.save(faster.state_dict(), tmp_path / "faster.pth")
    without = load(tmp_path / "faster.pth", ours.MODEL, ours.shapes())
    assert all("/mask_head/" in path for path in without.report.initial)
    for part in ("backbone", "fpn", "rpn", "box_head"):
        for kind in ("params", "batch_stats"):
            of_mask, of_faster = (tree.variables[kind].get(part, {}) for tree in (found, without))
            jax.tree.map(np.testing.assert_array_equal, of_faster, of_mask)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_a_saved_resnet_of_torchvision_has_the_features_it_had(tmp_path, depth):
    torch = pytest.importorskip("torch", reason=REASON)
    torchvision = pytest.importorskip("torchvision", reason=REASON)
    torch.set_num_threads(1)
    model = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    filled = {name: fill.fill(name, tuple(v.shape), SEED) for name, v in model.state_dict().items() if v.ndim}
    if depth < 50:  # whose blocks end in their second normalisation
        filled = {name: value * np.float32(0.25 if "bn2.weight" in name else 1) for name, value in filled.items()}
    model.load_state_dict({name: torch.tensor(value) for name, value in filled.items()}, strict=False)
    torch.save(model.state_dict(), tmp_path / "resnet.pth")

    image = normalised(pixels(), TORCHVISION)
    theirs = {}
    with torch.no_grad():
        x = torch.from_numpy(image).permute(0, 3, 1, 2)
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        for level in range(2, 6):
            x = getattr(model, f"layer{level - 1}")(x)
            theirs[level] = x.permute(0, 2, 3, 1).numpy()

    backbone = ResNet(depth=depth, norm="bn")
    settings = dataclasses.replace(TORCHVISION, backbone=backbone)
    shapes = jax.eval_shape(lambda: backbone.init(jax.random.key(0), jnp.asarray(image), nothing_trains))
    tree = {kind: {"backbone": fresh(tree)} for kind, tree in shapes.items()}
    found = initialise(tree, read_weights(tmp_path / "resnet.pth").arrays, settings)
    assert found.report.initial == ()
    variables = {kind: tree["backbone"] for kind, tree in found.variables.items()}
    mine = parity.compiled(lambda variables, image: backbone.apply(variables, image, nothing_trains))(variables, image)
    for level, values in theirs.items():
        close(mine[level], values, f"c{level}")


def test_a_saved_efficientnet_of_torchvision_has_the_logits_it_had(tmp_path):
    torch = pytest.importorskip("torch", reason=REASON)
    torchvision = pytest.importorskip("torchvision", reason=REASON)
    case = parity.CASES["torchvision_b0"]
    model = torchvision.models.efficientnet_b0(weights=None, num_classes=parity.CLASSES)
    names = {name: tuple(v.shape) for name, v in model.state_dict().items() if v.ndim}
    filled = parity.weights(case, names, SEED)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in filled.items()}, strict=False)
    torch.save(model.state_dict(), tmp_path / "efficientnet.pth")
    image = normalised(parity.batch(SEED)[0], case.settings)
    with torch.no_grad():
        theirs = model.eval()(torch.from_numpy(image).permute(0, 3, 1, 2)).numpy()

    classifier = efficientnet.Classifier(case.settings, parity.CLASSES)
    found = load(tmp_path / "efficientnet.pth", classifier, parity.template(case))
    assert found.report.initial == ()
    close(parity.compiled(classifier.apply)(found.variables, parity.batch(SEED)[0]), theirs)


# Keras


@pytest.fixture
def keras_b3() -> Any:
    reference = pytest.importorskip("tests.parity.make_efficientnet_reference", reason=REASON)
    model = reference._keras_model(parity.CASES["keras_b3"])
    for weight in model.weights:
        if not weight.path.startswith("seed_generator"):
            weight.assign(parity._fill_keras(weight.path, tuple(weight.shape), SEED))
    return model


@pytest.mark.parametrize("end", [".h5", ".weights.h5", ".keras"])
def test_a_saved_efficientnet_of_keras_is_the_one_it_was(tmp_path, keras_b3, end):
    """With Suvon et al.'s head; that outputs equal is what test_efficientnet.py shows of the same variables."""
    case = parity.CASES["keras_b3"]
    path = tmp_path / f"b3{end}"
    keras_b3.save_weights(path) if end == ".weights.h5" else keras_b3.save(path)
    weights = {w.path: np.asarray(w) for w in keras_b3.weights if not w.path.startswith("seed_generator")}
    expected = efficientnet_from_keras(weights, parity.template(case))
    found = load(path, efficientnet.Classifier(case.settings, parity.CLASSES), parity.template(case))
    assert found.report.initial == ()
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected)


def test_kerass_imagenet_efficientnet_with_its_second_division_has_the_features_it_had(tmp_path, monkeypatch):
    """As Keras publishes it without its top, and as it is saved again; the published file is made here."""
    reference = pytest.importorskip("tests.parity.make_efficientnet_reference", reason=REASON)
    from keras.src.applications import efficientnet as theirs

    options: dict[str, Any] = {"weights": None, "include_top": False, "input_shape": (*CANVAS, 3)}
    reference.keras.backend.clear_session()
    plain = theirs.EfficientNetB0(**options)
    for weight in plain.weights:
        if not weight.path.startswith("seed_generator"):
            values = parity._fill_keras(weight.path, tuple(weight.shape), SEED)
            weight.assign(theirs.IMAGENET_STDDEV_RGB if weight.path == "normalization/variance" else values)
    published = tmp_path / "published.weights.h5"
    plain.save_weights(published)
    monkeypatch.setattr(theirs.file_utils, "get_file", lambda *_, **__: str(published))
    reference.keras.backend.clear_session()
    options["weights"] = "imagenet"
    model = theirs.EfficientNetB0(**options)
    assert len(model.layers) == len(plain.layers) + 1
    image = jnp.asarray(pixels(), jnp.float32)
    run = parity.compiled(lambda *values: model.stateless_call(*values, image, training=False)[0])
    features = run([v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables])

    classifier = efficientnet.Classifier(EFFICIENTNET_KERAS["b0"], parity.CLASSES)
    shapes = efficientnet.shapes(classifier, CANVAS)
    found = load(published, classifier, shapes)
    assert set(found.report.initial) == {"params/head/logits/kernel", "params/head/logits/bias"}
    base = parity.compiled(lambda variables: classifier.apply(variables, image, method=lambda net, x: net.base(x)))
    close(base(found.variables), features)
    for end in (".h5", ".keras"):
        model.save(tmp_path / f"again{end}")
        again = load(tmp_path / f"again{end}", classifier, shapes)
        jax.tree.map(np.testing.assert_array_equal, again.variables, found.variables)


# Matterport and detectron2, in sizes for a test


SIZES = Sizes(depth=50, width=8, channels=8, box=16, classes=3)


def our_model(dialect: Any) -> mask_rcnn.MaskRCNN:
    model = small.model(dialect, SIZES.classes, depth=SIZES.depth, width=SIZES.width)
    mask_head = model.settings.mask_head.clone(bins=14)
    return model.clone(settings=dataclasses.replace(model.settings, mask_head=mask_head))


def our_outputs(model: mask_rcnn.MaskRCNN, variables: Any, box_rois: np.ndarray, mask_rois: np.ndarray) -> Any:
    """Features by level, (logits, deltas) of the RPN by level, and what the heads make of RoIs (n, r, ...)."""

    @parity.compiled
    def run(variables: Any, image: jax.Array) -> Any:
        def stages(net: Any) -> Any:
            levels = net.features(image, jnp.array([CANVAS, CANVAS], jnp.float32))
            masks = net.mask_head(jnp.asarray(mask_rois.reshape(-1, *mask_rois.shape[2:])))
            return levels, net.rpn(levels), net.box_head(jnp.asarray(box_rois)), masks

        return model.apply(variables, method=stages)

    return jax.tree.map(np.asarray, run(variables, pixels()))


def rois(bins: int) -> np.ndarray:
    return np.random.default_rng(bins).normal(size=(2, 3, bins, bins, SIZES.channels)).astype(np.float32)


def test_matterports_network_from_its_file_has_its_features_proposals_classes_boxes_and_masks(tmp_path):
    theirs = pytest.importorskip("tests.parity.matterport", reason=REASON)
    networks = [theirs.features(SIZES, CANVAS), theirs.rpn(SIZES), theirs.box_head(SIZES), theirs.mask_head(SIZES)]
    theirs.fill(networks, SEED)
    theirs.save(networks, tmp_path / "mask_rcnn.h5")
    arrays = read_weights(tmp_path / "mask_rcnn.h5").arrays
    expected = {name.removeprefix("rpn_model/"): shape for name, shape in named.matterport(SIZES).items()}
    assert {name.removeprefix("rpn_model/"): a.shape for name, a in arrays.items()} == expected

    model = our_model(MATTERPORT)
    found = load(tmp_path / "mask_rcnn.h5", model, jax.eval_shape(lambda: mask_rcnn.init(model, 0)))
    assert (found.report.left_out, found.report.initial) == ({}, ())
    levels, (logits, deltas), (classes, boxes), masks = our_outputs(model, found.variables, rois(7), rois(14))

    swapped = [1, 0, 3, 2]  # dy, dx, dh, dw
    their_levels = networks[0](normalised(pixels(), MATTERPORT), training=False)
    for level, values in zip(range(2, 7), their_levels, strict=True):
        close(levels[level], values, f"p{level}")
        raw, their_deltas = map(np.asarray, networks[1](values, training=False))
        close(logits[level - 2], raw[..., 1] - raw[..., 0], f"rpn logits {level}")
        close(deltas[level - 2], their_deltas[..., swapped], f"rpn deltas {level}")
    their_classes, their_boxes = map(np.asarray, networks[2](rois(7), training=False))
    close(classes, their_classes, "classes")
    close(boxes, their_boxes[..., swapped], "boxes")
    their_masks = np.asarray(networks[3](rois(14), training=False))
    close(jax.nn.sigmoid(masks).reshape(their_masks.shape), their_masks, "masks")


def test_matterports_box_head_learns_as_kerass_does_with_its_optimizer_and_l2_term(tmp_path):
    theirs = pytest.importorskip("tests.parity.matterport", reason=REASON)
    networks = [theirs.features(SIZES, CANVAS), theirs.rpn(SIZES), theirs.box_head(SIZES), theirs.mask_head(SIZES)]
    theirs.fill(networks, SEED)
    model = our_model(MATTERPORT)
    shapes = jax.eval_shape(lambda: mask_rcnn.init(model, 0))

    def loaded(name: str) -> Any:
        theirs.save(networks, tmp_path / name)
        return load(tmp_path / name, model, shapes).variables

    before = loaded("before.h5")
    decay, clip, rate, steps = 10.0, 3.0, 0.01, 3  # so that the decay matters and gradients are cut
    theirs.train(networks[2], rois(7), decay=decay, clip=clip, rate=rate, steps=steps)
    after = loaded("after.h5")

    def loss(params: Any) -> Any:
        variables = before | {"params": before["params"] | params}
        outputs: Any = model.apply(variables, jnp.asarray(rois(7)), method=lambda net, pooled: net.box_head(pooled))
        return sum(jnp.mean(output**2) for output in outputs)

    settings = toy.config(
        optimizer={"part": "sgd"}, weight_decay=decay, clip_norm=clip, l2_per_array=True, learning_rate=rate
    )
    optimizer = make_optimizer(checked(TrainSettings, settings.train, "config.train"))
    params = {"box_head": jax.tree.map(jnp.asarray, before["params"]["box_head"])}
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(jax.jit(jax.grad(loss))(params), state, params)
        params = jax.tree.map(lambda weight, update: weight - rate * update, params, updates)
    start: dict[str, Any] = flatten_dict(before["params"], sep="/")
    expected: dict[str, Any] = flatten_dict(after["params"], sep="/")
    for path, weight in flatten_dict(params, sep="/").items():
        assert not np.allclose(expected[path], start[path], rtol=1e-4), path
        close(weight, expected[path], path)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], before["batch_stats"])


def test_detectron2s_network_from_its_pickle_has_its_features_proposals_classes_boxes_and_masks(tmp_path):
    torch = pytest.importorskip("torch", reason=REASON)
    theirs = pytest.importorskip("tests.parity.detectron2", reason=REASON)
    arrays = theirs.fill(named.detectron2_mask_rcnn(SIZES), SEED)
    with (tmp_path / "model_final.pkl").open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "Detectron2 Model Zoo"}, file)
    model = our_model(DETECTRON2)
    found = load(tmp_path / "model_final.pkl", model, jax.eval_shape(lambda: mask_rcnn.init(model, 0)))
    assert found.report.initial == ()
    levels, (logits, deltas), (classes, boxes), masks = our_outputs(model, found.variables, rois(7), rois(14))

    torch.set_num_threads(1)
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def nchw(x: np.ndarray) -> Any:
        return torch.from_numpy(x.reshape(-1, *x.shape[2:])).permute(0, 3, 1, 2)

    with torch.no_grad():
        for level, values in zip(range(2, 7), theirs.features(weights, pixels(), SIZES.depth), strict=True):
            close(levels[level], values.permute(0, 2, 3, 1), f"p{level}")
            raw, their_deltas = theirs.rpn(weights, values)
            close(logits[level - 2], raw.reshape(2, -1), f"rpn logits {level}")
            close(deltas[level - 2], their_deltas.reshape(2, -1, 4), f"rpn deltas {level}")
        their_classes, their_boxes = theirs.box_head(weights, nchw(rois(7)))
        close(classes.reshape(6, -1)[:, [1, 2, 0]], their_classes, "classes")
        close(boxes.reshape(6, -1, 4)[:, 1:], their_boxes, "boxes")
        their_masks = theirs.mask_head(weights, nchw(rois(14)))
        close(masks[..., 1:], their_masks.permute(0, 2, 3, 1), "masks")
