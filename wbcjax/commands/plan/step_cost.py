"""What one training step of a config costs, found out by compiling it, without data, weights or a device to run it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from wbcjax.batch import Batch, CropBatch
from wbcjax.commands.plan.flops import work_of
from wbcjax.models import efficientnet, mask_rcnn
from wbcjax.runs.folder import CLASSIFICATION, task_of
from wbcjax.train.in_flight import STEPS_IN_FLIGHT
from wbcjax.train.layers import Layers, split_weights
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel, check_batch_size
from wbcjax.train.settings import TrainSettings
from wbcjax.train.state import TrainState, split_collections
from wbcjax.train.step import AXIS, make_step
from wbcjax.train.task import Task, Tree
from wbcjax.train.wishes import Wishes

# Of the compiler for CPUs: without the first it computes nothing twice, whatever `remat` says; the second leaves out
# what only a program that is run has use for.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}


class StepCost(NamedTuple):
    """One optimizer step of `devices` devices, each of which sees `images` images; figures are per device."""

    devices: int
    images: int
    dtype: str  # of the convolutions
    parameters: int
    trained: int  # of these, in the first phase of the run
    flops: int  # see `wbcjax.commands.plan.flops.Work`
    bytes_moved: int
    bytes_reduced: int  # with two devices or more
    arguments: int  # bytes, of the state and a batch
    batch: int  # bytes, of these
    outputs: int  # bytes
    aliased: int  # bytes of outputs that take the place of arguments
    temporaries: int  # bytes
    compiler: str  # the kind of device that the memory is of

    @property
    def memory(self) -> int:
        """Bytes that a device must hold: a step, and the batches that wait beside the one in work."""
        step = self.arguments + self.outputs - self.aliased + self.temporaries
        return step + STEPS_IN_FLIGHT * self.batch


def step_cost(config: ConfigDict, devices: int, compile_for: Sequence[Any] | None = None) -> StepCost:
    """The cost of a step of the first phase of `config`, whose batch is shared by `devices` devices.

    compile_for: jax.Device each, of which two at most are compiled for (the others do the same); those present when
    left out. Convolutions take their form for accelerators. Raises ValueError for settings that cannot be used.
    """
    settings = TrainSettings.from_config(config.train)
    check_batch_size(settings.batch_size, devices, settings.accumulate)
    task = _task_without_data(config)
    layers = Layers(settings.phases[0].layers if settings.phases else "all", task.stage_of)
    optimizer = make_optimizer(settings)
    variables = task.init_variables(0)
    params, collections = split_collections(variables)
    trained, _ = split_weights(params, layers)
    state = TrainState(
        step=_shape((), jnp.int32),
        params=params,
        collections=collections,
        opt_state=jax.eval_shape(optimizer.init, trained),
        ema=variables if settings.ema_decay else None,
        key=_shape((2,), jnp.uint32),
    )
    step = make_step(task, settings, optimizer, _constant_rate, layers)
    images = settings.batch_size // devices
    two = AbstractMesh((2,), (AXIS,))  # one has nothing to reduce
    mapped = jax.shard_map(step, mesh=two, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P(), check_vma=False)
    work = work_of(jax.make_jaxpr(mapped)(state, _batch(config, 2 * images), _wishes(2)).jaxpr)
    alike = (compile_for or jax.devices())[: min(devices, 2)]
    compiled = DataParallel("shard_map", alike).compile(step)
    lowered = compiled.lower(state, _batch(config, images * len(alike)), _wishes(len(alike)))
    on_cpu = alike[0].platform == "cpu"
    memory = lowered.compile(_CPU_OPTIONS if on_cpu else None).memory_analysis()
    return StepCost(
        devices=devices,
        images=images,
        dtype=config.model.dtype,
        parameters=_count(params),
        trained=_count(trained),
        flops=work.flops,
        bytes_moved=work.bytes_moved,
        bytes_reduced=work.bytes_reduced,
        arguments=memory.argument_size_in_bytes,
        batch=_bytes(_batch(config, images)),
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        compiler=alike[0].device_kind,
    )


def _task_without_data(config: ConfigDict) -> Task:
    """As much of a task as a step is made of; its variables are shapes only."""
    if task_of(config) == CLASSIFICATION:
        from wbcjax.tasks.classification import classifier, crop_losses

        of_crops = classifier(config, cpu=False)
        variables = efficientnet.shapes(of_crops, tuple(config.dataset.canvas))
        losses, watched, stage_of = crop_losses(of_crops, config), ("accuracy",), of_crops.settings.stage_of
    else:
        from wbcjax.tasks.detection import detection_losses, detector

        of_fields = detector(config, cpu=False)
        variables = jax.eval_shape(lambda: mask_rcnn.init(of_fields, 0))
        losses, watched, stage_of = detection_losses(of_fields), (), of_fields.settings.stage_of
    return Task(
        images=0,
        init_variables=lambda seed: variables,
        losses=losses,
        train_batches=_no_data,
        evaluate=_no_data,
        names=_no_data,
        best_score="",
        watched=watched,
        stage_of=stage_of,
    )


def _no_data(*_: Any) -> Any:
    raise NotImplementedError("this task knows its network only")


def _batch(config: ConfigDict, images: int) -> Batch | CropBatch:
    """What the pipelines of `wbcjax.input` give, as shapes."""
    canvas = tuple(config.dataset.canvas)
    image, index = _shape((images, *canvas, 3), jnp.uint8), _shape((images,), jnp.int32)
    if task_of(config) == CLASSIFICATION:
        return CropBatch(image, _shape((images, len(config.dataset.classes)), jnp.float32), index)
    cells = (images, config.dataset.max_cells)
    return Batch(
        image=image,
        size=_shape((images, 2), jnp.float32),
        boxes=_shape((*cells, 4), jnp.float32),
        labels=_shape(cells, jnp.int32),
        valid=_shape(cells, bool),
        crowd=_shape(cells, bool),
        outlined=_shape(cells, bool),
        masks=_shape((*cells, *canvas), jnp.uint8),
        index=index,
    )


def _wishes(devices: int) -> Wishes:
    return Wishes(*(_shape((devices,), jnp.float32) for _ in Wishes._fields))


def _constant_rate(step: Any) -> float:
    return 1.0


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _count(tree: Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _bytes(tree: Tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
