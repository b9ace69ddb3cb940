"""The cost of one training step of a config, by compiling it, without data, weights or a device to run it on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from wbcjax.commands.plan.flops import work_of
from wbcjax.commands.plan.loops import Trips, trips_of
from wbcjax.models.variables import Tree
from wbcjax.settings.checked import ConfigError
from wbcjax.tasks.experiment import Experiment, Step
from wbcjax.train.in_flight import STEPS_IN_FLIGHT
from wbcjax.train.layers import Layers, split_weights
from wbcjax.train.optimizer import make_optimizer
from wbcjax.train.parallel import DataParallel, check_batch_size
from wbcjax.train.state import TrainState, split_collections
from wbcjax.train.step import AXIS, make_step
from wbcjax.train.task import Task
from wbcjax.train.wishes import Wishes

# Of the compiler for CPUs. The first lets it compute values twice where `remat` asks for it. The second leaves out
# optimizations, which matter only for a program that is run.
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
    trips: Trips  # passes of loops, one after the other
    arguments: int  # bytes, of the state and a batch
    batch: int  # bytes, of these
    outputs: int  # bytes
    aliased: int  # bytes of outputs that take the place of arguments
    temporaries: int  # bytes
    compiler: str  # the kind of device that the step was compiled for

    @property
    def memory(self) -> int:
        """Bytes that a device must hold: a step, and the batches of the steps that wait."""
        step = self.arguments + self.outputs - self.aliased + self.temporaries
        return step + STEPS_IN_FLIGHT * self.batch


def step_cost(experiment: Experiment, devices: int, compile_for: Sequence[Any] | None = None) -> StepCost:
    """The cost of a step of the first phase of `experiment`, whose batch is shared by `devices` devices.

    compile_for: devices to compile for (jax.Device), by default those present. Two of them at most are used: the others
    do the same. Convolutions take their form for accelerators. Raises ValueError for settings that cannot be used.
    """
    settings = experiment.settings.train
    check_batch_size(settings.batch_size, devices, settings.accumulate)
    of_task = _step_of(experiment)
    task = _without_data(of_task)
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
    traced = jax.make_jaxpr(mapped)(state, of_task.batch(2 * images), _wishes(2)).jaxpr
    work = work_of(traced)
    alike = (compile_for or jax.devices())[: min(devices, 2)]
    compiled = DataParallel("shard_map", alike).compile(step)
    lowered = compiled.lower(state, of_task.batch(images * len(alike)), _wishes(len(alike)))
    on_cpu = alike[0].platform == "cpu"
    memory = lowered.compile(_CPU_OPTIONS if on_cpu else None).memory_analysis()
    return StepCost(
        devices=devices,
        images=images,
        dtype=of_task.dtype,
        parameters=_count(params),
        trained=_count(trained),
        flops=work.flops,
        bytes_moved=work.bytes_moved,
        bytes_reduced=work.bytes_reduced,
        trips=trips_of(traced),
        arguments=memory.argument_size_in_bytes,
        batch=_bytes(of_task.batch(images)),
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        compiler=alike[0].device_kind,
    )


def _step_of(experiment: Experiment) -> Step:
    """The step of the task. Raises ConfigError for a task without a method `step`."""
    step = experiment.step()
    if step is None:
        raise ConfigError(
            f"config.task is {experiment.settings.task!r}, which cannot be planned: give {type(experiment).__name__} a "
            "method step"
        )
    return step


def _without_data(step: Step) -> Task:
    """The parts of a task that a step needs; its variables are shapes only."""
    return Task(
        images=0,
        init_variables=lambda seed: step.variables,
        losses=step.losses,
        train_batches=_no_data,
        evaluate=_no_data,
        names=_no_data,
        best_score="",
        watched=step.watched,
        stage_of=step.stage_of,
    )


def _no_data(*_: Any) -> Any:
    raise NotImplementedError("this task has no data")


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
