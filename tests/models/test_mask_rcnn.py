"""The whole network: sizes, invariances, edges, dialects, and training on many devices."""

import dataclasses
import functools
import json
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.input.sets import changed, write_via_set
from tests.models import small
from wbcjax.input.augment import Augment
from wbcjax.input.field_set import source
from wbcjax.input.pipeline import Stream, train_batches
from wbcjax.models import mask_head, mask_rcnn
from wbcjax.models import settings as s
from wbcjax.models.backbone import everything_trains, nothing_trains
from wbcjax.models.box_head import BoxHead
from wbcjax.models.resnet import ResNet
from wbcjax.models.rpn import Rpn
from wbcjax.settings.older_runs import upgrade_model
from wbcjax.settings.parts import as_values

SLOW = pytest.mark.slow


@functools.cache
def compiled(model, what):
    """One of the functions below for `model`, compiled once for all tests."""

    def predict(variables, batch):
        return model.apply(variables, batch.image, batch.size, method="predict")

    def samples(variables, batch, keys):
        """What the network is trained on: anchors, RoIs, and logits and targets of masks."""
        _, kept = model.apply(
            variables, batch, keys, everything_trains, method="losses", mutable=["batch_stats", "samples"]
        )
        of_network = kept["samples"]
        return of_network["anchors"][0], of_network["rois"][0], *of_network["mask_head"]["masks"][0]

    def losses_and_gradient(variables, batch, keys):
        def total(params):
            losses, _ = model.apply(
                variables | {"params": params}, batch, keys, everything_trains, method="losses", mutable=["batch_stats"]
            )
            return sum(losses.values()), losses

        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(variables["params"])
        return losses, gradient

    return jax.jit({f.__name__: f for f in (predict, samples, losses_and_gradient)}[what])


def predict(model, variables, batch):
    return compiled(model, "predict")(variables, batch)


def losses_and_gradient(model, variables, batch):
    return compiled(model, "losses_and_gradient")(
        variables, batch, jax.random.split(jax.random.key(0), len(batch.index))
    )


@functools.cache
def networks(dialect):
    model = small.model(dialect)
    return model, mask_rcnn.init(model, 0)


@pytest.fixture
def network():
    return networks(s.TORCHVISION)


@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)])
def test_a_resnet_has_as_many_weights_as_torchvision_publishes(depth, count):
    # https://pytorch.org/vision/stable/models.html, less the 1000-way classifier on top.
    model = ResNet(depth=depth, norm="bn")
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), nothing_trains))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_a_mask_rcnn_has_as_many_weights_as_torchvision_publishes():
    model = mask_rcnn.MaskRCNN(s.TORCHVISION, 91)
    variables = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    statistics = 53_120  # scales and biases of frozen normalisation, which torchvision does not count either
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 44_401_393
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == 2 * statistics


def test_weight_counts_equal_matterports():
    """A mask rcnn has as many weights that train and statistics that do not as matterports."""
    # As Keras counts those of its ResNet-101 with COCO's 81 classes: trainable, and not.
    variables = jax.eval_shape(lambda: mask_rcnn.init(mask_rcnn.MaskRCNN(s.MATTERPORT, 81), 0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 64_047_096
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == 111_488


def _flat(tree: Any) -> dict[tuple[str, ...], Any]:
    return flatten_dict(tree)


@pytest.mark.slow
def test_scale_and_bias_of_all_of_matterports_norms_are_trained():
    model, variables = networks(s.MATTERPORT)
    _, gradient = losses_and_gradient(model, variables, small.batch(2, seed=4, cells=small.CELLS))
    norms = {path: leaf for path, leaf in _flat(gradient).items() if "bn" in path[-2]}
    assert {path[0] for path in norms} == {"backbone", "box_head", "mask_head"}
    assert {path[-1] for path in norms} == {"scale", "bias"}
    # No proposal of a fresh network is near enough to a cell for the mask head to learn
    assert all(np.any(leaf) == (path[0] != "mask_head") for path, leaf in norms.items())
    assert {path[-1] for path in _flat(variables["batch_stats"])} == {"mean", "var"}


def test_what_lies_beside_a_field_on_its_canvas_changes_no_detection(network):
    model, variables = network
    batch = small.batch(2, seed=1)
    batch = batch._replace(size=np.array([[48, 80], [64, 96]], np.float32))
    painted = batch._replace(image=batch.image.copy())
    painted.image[0, 48:], painted.image[0, :, 80:] = 255, 255
    for ours, theirs in zip(predict(model, variables, batch), predict(model, variables, painted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_detections_lie_in_their_field_best_first(network):
    model, variables = network
    batch = small.batch(2, seed=2)._replace(size=np.array([[40, 60], [64, 96]], np.float32))
    found = predict(model, variables, batch)
    assert np.all(found.valid.sum(axis=1) > 0)
    assert np.all(np.diff(found.scores, axis=1) <= 0)
    assert np.all(found.boxes >= 0)
    assert np.all(found.boxes <= batch.size[:, None, [1, 0, 1, 0]])
    assert np.all((found.labels > 0) == found.valid)
    assert np.all((found.masks >= 0) & (found.masks <= 1))


@pytest.mark.slow
def test_an_image_is_found_the_same_alone_and_in_a_batch(network):
    model, variables = network
    batch = small.batch(2, seed=3)
    together = predict(model, variables, batch)
    alone = predict(model, variables, jax.tree.map(lambda x: x[1:], batch))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("share", [pytest.param(0.0, marks=SLOW), 0.3, pytest.param(1.0, marks=SLOW)])
def test_masks_made_a_few_at_a_time_are_those_made_all_at_once(network, share, monkeypatch):
    monkeypatch.setattr(mask_head, "SAMPLES_AT_ONCE", 6)  # three of each image, of which 8 is no multiple
    model, variables = network
    canvas, places = (64, 64), 8
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (2, *canvas, 3), dtype=np.uint8))
    corner = rng.uniform(0, 40, (2, places, 2)).astype(np.float32)
    rois = jnp.concatenate([corner, corner + rng.uniform(2, 24, (2, places, 2)).astype(np.float32)], -1)
    cell = np.arange(places) < np.array([[round(share * places)], [round(share * places / 2)]])
    labels = jnp.asarray(np.where(cell, rng.integers(1, model.num_classes, (2, places)), 0))

    def loss(params, model):
        def masks(model):
            pool = model.pooler(model.features(image, jnp.full((2, 2), 64.0)), canvas)
            return model.mask_head.sample_logits(pool(rois, model.mask_head.bins), labels)

        logits = model.apply({**variables, "params": params}, method=masks)
        own = jnp.where(jnp.asarray(cell)[..., None, None], logits, 0.0)
        return jnp.sum(own**2), own

    def made(model):
        (_, own), grads = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(variables["params"], model)
        return own, grads

    some, every = made(model), made(model.clone(cpu=False))
    assert (np.asarray(every[0]).std() > 0) == (share > 0)
    np.testing.assert_allclose(some[0], every[0], rtol=1e-5, atol=1e-6)
    for (path, a), b in zip(jax.tree.leaves_with_path(some[1]), jax.tree.leaves(every[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max() + 1e-9, err_msg=str(path))


@pytest.mark.parametrize(
    "dialect", [pytest.param(s.TORCHVISION, id="torchvision"), pytest.param(s.MATTERPORT, id="matterport", marks=SLOW)]
)
@pytest.mark.parametrize("cells", [0, pytest.param(1, marks=SLOW), pytest.param(small.CELLS, marks=SLOW)])
def test_losses_and_gradients_are_finite_whatever_the_number_of_cells(dialect, cells):
    model, variables = networks(dialect)
    losses, gradient = losses_and_gradient(model, variables, small.batch(2, seed=4, cells=cells))
    chex.assert_tree_all_finite((losses, gradient))
    assert (losses["mask"] > 0) == (cells > 0 and bool(dialect.roi.append_cells or losses["box"] > 0))
    if cells == 0:
        assert losses["rpn_box"] == losses["box"] == losses["mask"] == 0
        assert losses["rpn_objectness"] > 0, "a field without cells must train as a negative"


def test_a_crowd_is_learnt_neither_as_a_cell_nor_as_background(network):
    model, variables = network
    batch = small.batch(2, seed=5, cells=1)
    everywhere = batch._replace(boxes=np.where(batch.valid[..., None], [[[0, 0, 96, 64]]], 0).astype(np.float32))
    losses, _ = losses_and_gradient(model, variables, everywhere._replace(crowd=batch.valid))
    assert all(value == 0 for value in losses.values())


def test_a_missing_outline_changes_no_loss_or_gradient(network):
    """What is drawn for a cell without outline changes no loss and no gradient."""
    model, variables = network
    batch = small.batch(2, seed=8)
    batch = batch._replace(outlined=batch.valid & (np.arange(small.CELLS) != 1))
    noise = np.random.default_rng(8).integers(0, 2, batch.masks.shape, np.uint8)
    redrawn = batch._replace(masks=np.where(batch.outlined[..., None, None], batch.masks, noise))
    ours, theirs = (losses_and_gradient(model, variables, each) for each in (batch, redrawn))
    assert ours[0]["mask"] > 0
    chex.assert_trees_all_equal(ours, theirs)


def test_boxes_alone_train_everything_but_masks(network):
    model, variables = network
    batch = small.batch(2, seed=8)
    whole, _ = losses_and_gradient(model, variables, batch)
    boxes, gradient = losses_and_gradient(
        model, variables, batch._replace(outlined=np.zeros_like(batch.outlined), masks=np.zeros_like(batch.masks))
    )
    assert boxes["mask"] == 0
    assert {name: boxes[name] for name in boxes if name != "mask"} == {
        name: whole[name] for name in whole if name != "mask"
    }
    chex.assert_tree_all_finite(gradient)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["mask_head"]))
    for part in ("backbone", "fpn", "rpn", "box_head"):
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient[part])), f"{part} learns nothing"


@pytest.mark.slow
def test_the_mask_loss_is_the_mean_over_rois_of_outlined_cells(network):
    model, variables = network
    batch = small.batch(2, seed=8)
    batch = batch._replace(outlined=batch.valid & (np.arange(small.CELLS) != 1))
    keys = jax.random.split(jax.random.key(0), 2)
    _, rois, logits, targets = jax.device_get(compiled(model, "samples")(variables, batch, keys))
    losses, _ = losses_and_gradient(model, variables, batch)

    per_roi = (np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))).mean(axis=(2, 3))
    known = [
        per_roi[image, row]
        for image, row in np.ndindex(per_roi.shape)
        if rois.label[image, row] > 0 and rois.cell[image, row] != 1
    ]
    left_out = (rois.label[:, : per_roi.shape[1]] > 0).sum() - len(known)
    assert len(known) > 0
    assert left_out > 0
    assert losses["mask"] == pytest.approx(np.mean(known), rel=1e-5)


@pytest.mark.slow
def test_fields_without_cells_train_as_negatives_from_their_files_to_the_losses(network, tmp_path):
    model, variables = network
    dataset = write_via_set(tmp_path, cells=[0, 0], height=48, width=80)
    dataset = changed(dataset, train_fraction=1.0, canvas=small.CANVAS, max_cells=small.CELLS)
    fields = source(dataset, "train", tmp_path / "cache")
    batches = train_batches(fields, dataset, Augment(), Stream(batch_size=2, seed=0))
    batch = next(batches)
    batches.close()
    assert sorted(batch.index) == [0, 1]
    losses, gradient = losses_and_gradient(model, variables, batch)
    assert losses["rpn_box"] == losses["box"] == losses["mask"] == 0
    assert losses["rpn_objectness"] > 0
    assert losses["class"] > 0
    chex.assert_tree_all_finite((losses, gradient))

    anchors, rois, *_ = compiled(model, "samples")(variables, batch, jax.random.split(jax.random.key(0), 2))
    assert not np.any(anchors.positive)
    assert not np.any(rois.label)
    assert np.all(np.any(anchors.valid, axis=1))
    assert np.all(np.any(rois.valid, axis=1))


def test_the_choice_of_rois_follows_each_images_own_key(network):
    model, variables = network
    one = small.batch(1, seed=6)
    twins = jax.tree.map(lambda x: np.concatenate([x, x]), one)
    keys = jax.random.split(jax.random.key(0), 2)

    samples = compiled(model, "samples")
    different = samples(variables, twins, keys)[1].boxes
    same = samples(variables, twins, keys[jnp.array([0, 0])])[1].boxes
    assert not np.array_equal(different[0], different[1])
    np.testing.assert_array_equal(same[0], same[1])


@pytest.mark.slow
def test_bfloat16_convolutions_keep_float32_geometry_and_nearby_losses():
    batch = small.batch(2, seed=7)
    model = small.model(norm="gn", width=32)
    variables = mask_rcnn.init(model, 0)
    half = model.clone(settings=dataclasses.replace(model.settings, dtype="bfloat16"))
    exact, _ = losses_and_gradient(model, variables, batch)
    rough, gradient = losses_and_gradient(half, variables, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    found = predict(half, variables, batch)
    assert found.boxes.dtype == found.scores.dtype == jnp.float32
    for name in ("rpn_objectness", "class", "mask"):
        np.testing.assert_allclose(rough[name], exact[name], rtol=0.05)


def test_bfloat16_ranks_anchors_and_classes_by_float32_scores():
    features = {2: jax.random.normal(jax.random.key(0), (1, 48, 64, 32))}
    rpn = Rpn(channels=32, levels=(2,), anchor_sizes=(32.0,), dtype=jnp.bfloat16)
    (logits,), (deltas,) = jax.jit(rpn.init_with_output)(jax.random.key(1), features)[0]
    assert len(np.unique(logits)) > 0.99 * logits.size  # bfloat16 has 128 values between two powers of two
    assert len(np.unique(deltas)) > 0.99 * deltas.size
    head = BoxHead(channels=32, num_classes=3, dtype=jnp.bfloat16)
    pooled = jax.random.normal(jax.random.key(2), (1000, 7, 7, 2))
    class_logits, box_deltas = jax.jit(head.init_with_output)(jax.random.key(3), pooled)[0]
    assert len(np.unique(class_logits)) > 0.99 * class_logits.size
    assert len(np.unique(box_deltas)) > 0.99 * box_deltas.size


def test_the_settings_of_a_run_are_read_back_from_json_as_they_were():
    written = json.loads(json.dumps(as_values(s.MATTERPORT)))
    assert s.from_dict(s.MaskRCNNSettings, written) == s.MATTERPORT


def test_a_part_may_omit_defaults_a_group_may_not():
    """A part may leave out what has a default and a group may not."""
    values = as_values(s.TORCHVISION)
    values["rpn"] = {"part": "rpn", "channels": 8}
    assert s.from_dict(s.MaskRCNNSettings, values).rpn == Rpn(channels=8)
    del values["roi"]["samples"]
    with pytest.raises(ValueError, match=r"^config\.model\.roi\.samples is missing: set it$"):
        s.from_dict(s.MaskRCNNSettings, values)


def test_older_heads_keep_frozen_norms():
    """Runs from before heads had kinds of norms keep frozen ones and every activation."""
    values = older(s.MATTERPORT)
    del values["head_norm"], values["remat"]
    frozen = {part: getattr(s.MATTERPORT, part).clone(norm="frozen_bn") for part in ("box_head", "mask_head")}
    assert s.from_dict(s.MaskRCNNSettings, upgrade_model(values)) == dataclasses.replace(s.MATTERPORT, **frozen)


def older(settings):
    """`settings` as a run's config had them before its parts were parts."""
    values = as_values(settings)
    boxes, rpn = values["box_head"], values["rpn"]
    loss = {"rpn_beta": rpn.pop("box_loss")["beta"], "box_beta": boxes.pop("box_loss")["beta"]}
    loss |= {"per_positive": boxes.pop("per_positive")}
    loss |= {"padding_is_background": boxes.pop("padding_is_background")}
    del rpn["per_positive"], values["heads"], values["mask_head"]["class_agnostic"]
    norms = [values[head].pop("norm") for head in ("box_head", "mask_head")]
    for name in ("backbone", "fpn", "rpn", "box_head", "mask_head"):
        del values[name]["part"]
    for name in ("box_head", "mask_head"):
        del values[name]["norm_epsilon"]
        values[name]["norm"] = norms[0] != "none"
    return values | {"loss": loss, "head_norm": norms[0] if norms[0] != "none" else "frozen_bn"}


@pytest.mark.parametrize("dialect", [s.TORCHVISION, s.MATTERPORT], ids=["torchvision", "matterport"])
def test_settings_of_runs_from_before_parts_are_read_as_they_were(dialect):
    assert s.from_dict(s.MaskRCNNSettings, upgrade_model(older(dialect))) == dialect
    assert upgrade_model(as_values(dialect)) == as_values(dialect)


def test_an_unknown_setting_is_refused_by_its_full_name():
    values = as_values(s.TORCHVISION)
    values["rpn"]["anchor_size"] = values["rpn"].pop("anchor_sizes")
    with pytest.raises(ValueError, match=r"config\.model\.rpn\.anchor_size is unknown: did you mean .*anchor_sizes\?"):
        s.from_dict(s.MaskRCNNSettings, values)
