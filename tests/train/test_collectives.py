"""What devices send each other in a training step, read off the program that XLA made of it."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import model_of
from wbcjax.batch import Batch
from wbcjax.configs import smear_demo
from wbcjax.models import mask_rcnn
from wbcjax.settings.checked import checked
from wbcjax.tasks.detection import detection_losses
from wbcjax.train.layers import Layers, split_weights
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState
from wbcjax.train.step import make_step
from wbcjax.train.task import Task
from wbcjax.train.wishes import Wishes

pytestmark = pytest.mark.slow

DEVICES, SIDE, CELLS = 4, 64, 4
METRICS = 1 + 5 + len(Wishes._fields)  # the loss, its parts, and the processes' wishes
COLLECTIVES = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all|collective-broadcast"
BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


class Collective(NamedTuple):
    kind: str
    bytes: int


def collectives(program: str) -> list[Collective]:
    """All that is sent, in the text of a compiled program: `%name = (f32[8]{0}, f32[]) all-reduce(...)`."""
    found = []
    for types, kind in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", program):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", types)
        found.append(
            Collective(kind, sum(BYTES[t] * int(np.prod([int(n) for n in s.split(",") if n])) for t, s in arrays))
        )
    return found


def compiled_step(norm: str, named: str) -> tuple[str, dict]:
    """The program of a training step of a small Mask R-CNN on four devices, and the shapes of what it trains."""
    config = smear_demo.get_config()
    config.model.backbone.update({"width": 8, "norm": norm})
    config.train.ema_decay = 0.0
    for part in (config.model.fpn, config.model.rpn, config.model.box_head, config.model.mask_head):
        part.channels = 16
    model = mask_rcnn.build(model_of(config), num_classes=3)

    task = Task(
        images=8,
        init_variables=lambda seed: {},
        losses=detection_losses(model),
        train_batches=lambda *_: iter(()),  # pyright: ignore[reportArgumentType]
        evaluate=lambda _: {},
        names=lambda _: [],
        best_score="mask/AP",
    )
    layers = Layers(named, model.settings.stage_of)
    settings = checked(TrainSettings, config.train, "config.train")
    optimizer = make_optimizer(settings)
    step = DataParallel("shard_map", jax.devices()[:DEVICES]).compile(
        make_step(task, settings, optimizer, lambda step: jnp.float32(0.1), layers)
    )
    shape = jax.ShapeDtypeStruct
    variables = jax.eval_shape(lambda: mask_rcnn.init(model, 0))
    state = TrainState(
        step=shape((), jnp.int32),
        params=variables["params"],
        collections={name: tree for name, tree in variables.items() if name != "params"},
        opt_state=jax.eval_shape(lambda params: optimizer.init(split_weights(params, layers)[0]), variables["params"]),
        ema=None,
        key=shape((2,), jnp.uint32),
    )
    batch = Batch(
        image=shape((DEVICES, SIDE, SIDE, 3), jnp.uint8),
        size=shape((DEVICES, 2), jnp.float32),
        boxes=shape((DEVICES, CELLS, 4), jnp.float32),
        labels=shape((DEVICES, CELLS), jnp.int32),
        valid=shape((DEVICES, CELLS), jnp.bool_),
        crowd=shape((DEVICES, CELLS), jnp.bool_),
        outlined=shape((DEVICES, CELLS), jnp.bool_),
        masks=shape((DEVICES, CELLS, SIDE, SIDE), jnp.uint8),
        corners=shape((DEVICES, CELLS, 2), jnp.int32),
        index=shape((DEVICES,), jnp.int32),
    )
    wishes = Wishes(*(shape((DEVICES,), jnp.float32) for _ in Wishes._fields))
    return step.lower(state, batch, wishes).compile().as_text(), split_weights(variables["params"], layers)[0]


@pytest.mark.parametrize("layers", ["all", "heads"])
def test_a_step_makes_one_all_reduce_of_trained_weights(layers):
    """Gradients and metrics go in one all reduce as large as the trained weights."""
    program, trained = compiled_step("frozen_bn", layers)
    sent = sorted(collectives(program), key=lambda one: one.bytes)
    assert {one.kind for one in sent} == {"all-reduce"}
    assert sent[-1].bytes == 4 * sum(weight.size for weight in jax.tree.leaves(trained)) + 4 * METRICS
    # Before it only what the losses are normalised by: five counts.
    assert sum(one.bytes for one in sent[:-1]) <= 4 * 5


def test_batch_norm_adds_its_own_statistics_and_nothing_is_gathered():
    program, trained = compiled_step("bn", "all")
    sent = sorted(collectives(program), key=lambda one: one.bytes)
    assert {one.kind for one in sent} == {"all-reduce"}
    scales = [leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(trained) if path[-1].key == "scale"]
    weights = 4 * sum(weight.size for weight in jax.tree.leaves(trained))
    assert sent[-1].bytes == weights + 4 * METRICS + 4 * 2 * sum(scales)  # running mean and variance
    assert sum(one.bytes for one in sent[:-1]) <= 4 * 5 + 4 * 4 * sum(scales)  # of the batch, and of their gradients
