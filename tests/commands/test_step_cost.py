"""The cost of a step: counts in closed form, shapes as the pipelines give them, and what makes it smaller."""

import contextlib
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.input import crop_sets, painted
from wbcjax.batch import Batch, CropBatch
from wbcjax.commands.plan import step_cost as module
from wbcjax.commands.plan.loops import Trips, trips_of
from wbcjax.commands.plan.step_cost import StepCost, step_cost
from wbcjax.configs import base
from wbcjax.models.backbone import everything_trains
from wbcjax.tasks.choose import experiment_of
from wbcjax.train.step import AXIS

pytestmark = pytest.mark.slow

CANVAS = (64, 64)


def classifier(**train: Any) -> ConfigDict:
    """A tiny EfficientNet on crops that are nowhere."""
    config = base.classifier()
    config.dataset.classes = ("a", "b", "c")
    config.dataset.canvas = CANVAS
    config.dataset.crops = "data/none"
    config.model.update({"width": 0.25, "depth": 0.3})
    config.train.update({"batch_size": 8, "steps": 5} | train)
    return config


def heads(**train: Any) -> ConfigDict:
    """Training of the dense layer alone: 40 features to three classes."""
    return classifier(phases=({"layers": "heads", "epochs": 1},), **train)


@pytest.fixture(scope="module")
def of_heads() -> StepCost:
    return step_cost(experiment_of(heads()), devices=4)


FEATURES = 320  # of the top convolution: 1280 of B0, times 0.25


def test_parameters_are_those_of_the_network_and_of_its_first_phase(of_heads: StepCost):
    assert of_heads.trained == FEATURES * 3 + 3
    assert of_heads.parameters > of_heads.trained
    assert (of_heads.devices, of_heads.images, of_heads.dtype) == (4, 2, "float32")


def test_all_reduced_are_the_gradients_and_the_metrics(of_heads: StepCost):
    metrics = 1 + 2 + 3  # the loss; the losses, accuracy among them; what the processes wish
    assert of_heads.bytes_reduced == 4 * (of_heads.trained + metrics)


def test_memory_is_that_of_the_step_and_of_the_batches_that_wait(of_heads: StepCost):
    assert of_heads.batch == 2 * (64 * 64 * 3 + 4 * 3 + 4)
    step = of_heads.arguments + of_heads.outputs - of_heads.aliased + of_heads.temporaries
    assert of_heads.memory == step + 2 * of_heads.batch
    state = 4 * (of_heads.parameters + of_heads.trained)  # weights, and the momentum of those trained
    assert state < of_heads.arguments - of_heads.batch < 1.2 * state  # and batch statistics
    assert of_heads.aliased <= of_heads.outputs


def test_remat_holds_less_than_the_whole_gradient(of_heads: StepCost):
    """More is held for the gradient of all layers and less of it with remat."""
    all_layers = step_cost(experiment_of(classifier()), devices=2)
    config = classifier()
    config.model.remat = True
    again = step_cost(experiment_of(config), devices=2)
    assert all_layers.trained == all_layers.parameters == of_heads.parameters
    assert again.temporaries < 0.9 * all_layers.temporaries
    assert 1.1 < again.flops / all_layers.flops < 4 / 3 + 0.05  # three parts without, a fourth with
    assert all_layers.flops == pytest.approx(3 * 2 * of_heads.flops, rel=0.1)  # of twice the images, and both gradients


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(
        ValueError, match="batch_size is 8, which 3 devices cannot share evenly: choose a multiple of 3"
    ):
        step_cost(experiment_of(classifier()), devices=3)
    with pytest.raises(ValueError, match=r"2 devices cannot share evenly in 8 parts .*: choose a multiple of 16"):
        step_cost(experiment_of(classifier(accumulate=8)), devices=2)


def assert_alike(shapes: Batch | CropBatch, batch: Batch | CropBatch) -> None:
    for name, expected, array in zip(batch._fields, shapes, batch, strict=True):
        assert (name, expected.shape, expected.dtype) == (name, array.shape, array.dtype)


def test_fields_are_planned_for_as_the_pipeline_gives_them():
    rng = np.random.default_rng(0)
    fields = painted.source_of([painted.painted_field(rng, 48, 64, cells=2, name=f"{i}.png") for i in range(4)])
    config = base.mask_rcnn()
    config.dataset.canvas, config.dataset.max_cells, config.train.batch_size = CANVAS, 5, 3
    setup = painted.settings(CANVAS, batch_size=3, max_cells=5)
    with contextlib.closing(painted.open_batches(fields, setup, seed=0)) as batches:
        planned, batch = module._step_of(experiment_of(config)).batch(3), next(batches)
    assert planned.masks.shape == (3, 5, *CANVAS)  # only the set says how small their windows may be
    assert_alike(planned._replace(masks=batch.masks), batch)


def test_crops_are_planned_for_as_the_pipeline_gives_them():
    crops = crop_sets.source_of([np.zeros((20, 20, 3), np.uint8)] * 8, [0, 1, 2, 0, 1, 2, 0, 1])
    config = classifier()
    with contextlib.closing(crop_sets.open_batches(crops, crop_sets.settings(CANVAS, 8), seed=0)) as batches:
        assert_alike(module._step_of(experiment_of(config)).batch(8), next(batches))


def test_a_training_step_has_few_passes_one_by_one():
    """Of RoIAlign, 128 RoIs at a time: 4 for 512 RoIs, 1 for 128 masks, forward and back; and the rounds of NMS."""
    config = base.mask_rcnn()
    config.train.batch_size = 1
    step = module._step_of(experiment_of(config))

    def gradient(variables, batch, keys):
        def loss(params):
            losses, _ = step.losses(variables | {"params": params}, batch, keys, everything_trains, AXIS)
            return sum(losses[name] for name in losses if name not in step.watched)

        return jax.grad(loss)(variables["params"])

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    traced = jax.make_jaxpr(gradient, axis_env=[(AXIS, 1)])(step.variables, step.batch(1), keys)
    assert trips_of(traced.jaxpr) == Trips(10, 1)


def test_a_mask_rcnn_is_planned_without_data_or_weights():
    config = base.mask_rcnn()
    base.small(config)
    config.init_from = "nowhere/weights.h5"
    config.dataset.canvas = CANVAS
    config.model.backbone.width = 8
    config.model.rpn.update({"levels": (3,), "anchor_sizes": (16.0,), "channels": 8, "proposals_train": 20})
    config.model.update({"fpn": {"channels": 8}})
    config.model.box_head.channels = config.model.mask_head.channels = 8
    config.train.update({"steps": 5, "batch_size": 2})
    cost = step_cost(experiment_of(config), devices=2)
    assert cost.trained == cost.parameters
    # Beside the gradients: six losses, three wishes, and counts of samples, which each device tells the others.
    assert 0 < cost.bytes_reduced - 4 * cost.parameters <= 4 * 20
    assert cost.trips == Trips(4, 1)
    assert cost.batch == 64 * 64 * 3 + 8 + 64 * (16 + 4 + 3 + 64 * 64 + 8) + 4
