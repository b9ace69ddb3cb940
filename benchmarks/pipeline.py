"""Whether the input keeps up with the training step: images a second of each alone, for every config that can run.

Configs whose data are missing are left out. Drawn fields are drawn once and kept, as for training;
`myeloma_efficientnet_b3` gets drawn crops. `input`: decoding, augmentation, masks of cells and batching, in its
threads, with nothing else at work, its start included. `step`: forward, losses, backward and optimizer, always on the
same batch. The step takes all cores, and the input what it needs of them: its cost is its share of the CPU time of
both.
"""

import functools
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Result
from benchmarks.timing import Contestant, Task, contest

CONFIGS = (
    ("smear_demo", ""),
    ("all_synthetic", ""),
    ("segpc_mask_rcnn", "r18"),
    ("segpc_mask_rcnn", "r18_quick"),
    ("segpc_nucleus", ""),
    ("myeloma_efficientnet_b3", "b0_small"),
    ("myeloma_efficientnet_b3", ""),
)
CROPS = Path("runs/benchmark_crops")  # drawn once
BATCHES = 10  # of the input that are timed together


def results(rounds: int) -> Iterator[Result]:
    for name, variant in CONFIGS:
        options = {"name": name, "variant": variant}
        config = get_config(**options)
        if "annotations" in config.dataset and not Path(config.dataset.annotations or ".").exists():
            continue
        rounds = min(rounds, 2) if config.train.batch_size > 16 and not variant else rounds
        work, batch = f"{name}:{variant}".rstrip(":"), config.train.batch_size
        step = contest({"step": Contestant(training_step, options)}, rounds, tuned=True)
        yield Result(work, step, tuned=True, items=batch)
        source = contest({"input": Contestant(input_batches, options)}, rounds, tuned=True)
        yield Result(work, source, tuned=True, items=BATCHES * batch)


def get_config(name: str, variant: str) -> Any:
    """The config, its crops drawn where it needs some."""
    config = import_module(f"wbcjax.configs.{name}").get_config(*([variant] if variant else []))
    if config.task == "classification":
        config.dataset.crops = str(draw_crops(config.dataset.classes))
    return config


def draw_crops(classes: tuple[str, ...]) -> Path:
    """A folder of cells, and of windows at random, cut from drawn fields: 64 x 64 pixels."""
    from wbcjax.system.files import write_atomically, write_png

    if (CROPS / "crops.csv").exists():
        return CROPS
    from benchmarks.mask_rcnn import draw

    rng, rows = np.random.default_rng(0), ["file,class,field,group"]
    for number in range(6):
        field = draw(512, 20, seed=number)
        cells = field.boxes[:, :2] + (field.boxes[:, 2:] - field.boxes[:, :2]) / 2 - 32
        for name, corners in zip(classes, (cells, rng.uniform(0, 448, cells.shape)), strict=True):
            for i, (x, y) in enumerate(corners.clip(0, 448).astype(int)):
                write_png(CROPS / name / f"{number}_{i}.png", field.image[y : y + 64, x : x + 64])
                rows.append(f"{name}/{number}_{i}.png,{name},{number},")
    write_atomically(CROPS / "crops.csv", "\n".join(rows).encode())
    return CROPS


def input_batches(name: str, variant: str) -> Task:
    task = make_task(name, variant)

    def run() -> list[Any]:
        batches = task.train_batches(0, 0, 1)
        try:
            return list(islice(batches, BATCHES))
        finally:
            batches.close()

    return run


def training_step(name: str, variant: str) -> Task:
    import jax
    from jax.sharding import AxisType
    from jax.sharding import PartitionSpec as P

    from wbcjax.models.backbone import everything_trains
    from wbcjax.settings.checked import checked
    from wbcjax.train.optimizer import make_optimizer
    from wbcjax.train.settings import TrainSettings
    from wbcjax.train.step import AXIS

    config, task = get_config(name, variant), make_task(name, variant)
    optimizer = make_optimizer(checked(TrainSettings, config.train, "config.train"))
    batches = task.train_batches(0, 0, 1)
    batch = next(batches)
    batches.close()

    def step(variables: Any, opt_state: Any, batch: Any) -> tuple[Any, Any, Any]:
        keys = jax.random.split(jax.random.key(0), len(batch.index))

        def loss(params: Any) -> Any:
            losses, collections = task.losses(variables | {"params": params}, batch, keys, everything_trains, AXIS)
            return sum(value for name, value in losses.items() if name not in task.watched), collections

        (value, collections), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grads, opt_state, variables["params"])
        params = jax.tree.map(lambda weight, update: weight - 1e-4 * update, variables["params"], updates)
        return {"params": params, **collections}, opt_state, value

    mesh = jax.make_mesh((1,), (AXIS,), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(), P(AXIS)), out_specs=P(), check_vma=False)
    compiled = jax.jit(spread, donate_argnums=(0, 1))
    variables = jax.device_put(task.init_variables(0))
    state = [variables, jax.jit(optimizer.init)(variables["params"])]

    def run() -> float:
        state[0], state[1], value = compiled(state[0], state[1], batch)
        return float(value)

    return run


@functools.cache
def make_task(name: str, variant: str) -> Any:
    from wbcjax.tasks.choose import make_task as task_of

    return task_of(get_config(name, variant))
