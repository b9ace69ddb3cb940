"""A task small enough to train in a test: a network in the shape of ours, on twenty images of noise."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from wbcjax.models.backbone import HEADS, STEM, Trains, everything_trains
from wbcjax.models.norm import BatchNorm
from wbcjax.settings.checked import checked
from wbcjax.settings.older_runs import VERSION
from wbcjax.train import loop
from wbcjax.train.layers import Layers
from wbcjax.train.settings import TrainSettings
from wbcjax.train.task import Task
from wbcjax.train.workdir import KeptConfig

IMAGES = 20


class ToyBatch(NamedTuple):
    image: np.ndarray  # (n, 6, 6, 3) float32
    target: np.ndarray  # (n, 4) float32
    valid: np.ndarray  # (n, 4) bool, a different number in each image
    index: np.ndarray  # (n,) int32


STAGES = {"stem": STEM, "norm": STEM, "layer3_0": 4, "layer4_0": 5}


def stage_of(path: tuple[str, ...]) -> int:
    return STAGES[path[1]] if path[0] == "backbone" else HEADS


def layers(named: str) -> Layers:
    return Layers(named, stage_of)


class Backbone(nn.Module):
    @nn.compact
    def __call__(self, image, trains: Trains, axis_name: str | None):
        for name in ("stem", "layer3_0", "layer4_0"):
            image = nn.Dense(5, name=name)(image)
        image = BatchNorm(train=trains(STEM), momentum=0.9, axis_name=axis_name, name="norm")(image)
        return jnp.mean(nn.relu(image), axis=(1, 2))


class Toy(nn.Module):
    @nn.compact
    def __call__(self, image, trains: Trains = everything_trains, axis_name: str | None = None):
        return nn.Dense(4, name="box_head")(Backbone(name="backbone")(image, trains, axis_name))


@functools.cache
def variables(seed: int) -> dict:
    return jax.device_get(jax.jit(Toy().init)(jax.random.key(seed), jnp.zeros((1, 6, 6, 3))))


def losses(variables, batch, keys, trains, axis_name):
    noise = jax.vmap(lambda key: jax.random.normal(key, (6, 6, 3)))(keys)
    output, updates = Toy().apply(variables, batch.image + 0.3 * noise, trains, axis_name, mutable=["batch_stats"])
    count = jnp.sum(batch.valid).astype(jnp.float32)
    if axis_name:
        count = jax.lax.pmean(count, axis_name)
    error = jnp.where(batch.valid, output - batch.target, 0.0)
    return {"square": jnp.sum(error**2) / count, "size": jnp.mean(jnp.abs(output))}, updates


class Images:
    """Image i is made of seed i; `bad` ones have a target that is not a number. `on_read` is called for every read."""

    def __init__(self, bad=(), on_read=lambda index: None):
        self._bad, self._on_read = bad, on_read

    def __len__(self):
        return IMAGES

    def __getitem__(self, index) -> ToyBatch:
        self._on_read(index)
        random = np.random.default_rng(index)
        target = random.normal(size=4) + (np.nan if index in self._bad else 0.0)
        return ToyBatch(
            image=random.normal(size=(6, 6, 3)).astype(np.float32),
            target=target.astype(np.float32),
            valid=np.arange(4) <= index % 4,
            index=np.asarray(index, np.int32),
        )


def batches(images: Images, batch_size: int, seed: int, index: int = 0, count: int = 1) -> grain.DatasetIterator:
    """The part of process `index` of `count`."""
    dataset = grain.MapDataset.source(images).shuffle(seed=seed).repeat().batch(batch_size)
    rows = slice(index * batch_size // count, (index + 1) * batch_size // count)
    dataset = dataset.map(lambda batch: ToyBatch(*(array[rows] for array in batch)))
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))


def task(images: Images | None = None, evaluate=None, batch_size=8) -> Task:
    return Task(
        images=IMAGES,
        init_variables=variables,
        losses=losses,
        train_batches=lambda seed, index, count: batches(images or Images(), batch_size, seed, index, count),
        evaluate=evaluate or (lambda variables: {"mask AP": 0.5, "box AP": 0.6}),
        names=lambda index: [f"image_{i}.png" for i in index],
        best_score="mask AP",
        stage_of=stage_of,
    )


def train(config: ConfigDict, task: Task, workdir: Path, *, allow_config_change: bool = False):
    settings = checked(TrainSettings, config.train, "config.train")
    kept = KeptConfig(config.to_dict(), allow_change=allow_config_change)
    return loop.train(task, settings, config.seed, workdir, kept)


def config(**train) -> ConfigDict:
    settings = {
        "batch_size": 8,
        "accumulate": 1,
        "steps": 6,
        "epochs": 0.0,
        "phases": (),
        "optimizer": {"part": "sgd", "momentum": 0.9},
        "learning_rate": 0.1,
        "learning_rate_batch": 0,
        "weight_decay": 1e-2,
        "l2_per_array": False,
        "rules": (),
        "clip_norm": 1.0,
        "schedule": "cosine",
        "warmup_steps": 2,
        "boundaries": (),
        "gamma": 0.1,
        "loss_weights": {"size": 0.5},
        "ema_decay": 0.0,
        "log_every": 2,
        "eval_every_epochs": 0.0,
        "checkpoint_minutes": 0.0,
        "max_skipped_in_a_row": 3,
        "max_minutes": 0.0,
        "parallel": "shard_map",
    }
    assert set(train) <= set(settings)
    return ConfigDict({"version": VERSION, "seed": 3, "dataset": {"name": "toy"}, "train": settings | train})


def records(workdir: Path, kind: str | None = None) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]
