"""A small task that trains in a second, slowly enough to be hit: a line through points, and noise.

It is also the config file of its trainings. The environment carries what is no part of the training, so that it may
change from one start of a run to the next.
"""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from wbcjax.configs import base, smear_demo
from wbcjax.input.pipeline import Stream, batched
from wbcjax.models.backbone import HEADS, Trains
from wbcjax.train.task import Task

STEPS = 48
IMAGES = 40  # points
FEATURES = 12
LAST = 5  # the stage of its backbone
READ_SECONDS = 0.003  # for each point
EVALUATION_SECONDS = 0.3
EVALUATING = "FAULTS_EVALUATING"  # names a file that is there during an evaluation
BAD = "FAULTS_BAD"  # names a file that lists points whose target is not a number; it may come and go


class Points(NamedTuple):
    """A batch."""

    features: np.ndarray  # (n, FEATURES) float32
    target: np.ndarray  # (n,) float32
    index: np.ndarray  # (n,) int32


def get_config() -> ConfigDict:
    """Two phases, three evaluations, momentum and averages that could be lost, and saves in between."""
    config = smear_demo.get_config()  # the task takes its seed and training alone
    config.seed, config.train = 5, base.mask_rcnn().train
    config.train.update(
        {
            "batch_size": 8,
            "phases": ({"layers": "heads", "epochs": 4.0}, {"layers": "all", "epochs": 5.6}),
            "steps": STEPS,
            "learning_rate": 0.02,
            "clip_norm": 1.0,
            "warmup_steps": 5,
            "ema_decay": 0.9,
            "log_every": 1,
            "eval_every_epochs": 3.2,
            "max_skipped_in_a_row": 4,
            "checkpoint_minutes": 0.15 / 60,
        }
    )
    return config


def make_task(batch_size: int) -> Task:
    """Takes the place of `wbcjax.tasks.detection.Detection.task`."""

    def train_batches(seed: int, process_index: int, process_count: int) -> grain.DatasetIterator:
        order: Any = grain.MapDataset.range(IMAGES).seed(seed).shuffle().repeat().map(read)
        return batched(order, Stream(batch_size, seed, process_index, process_count))

    return Task(
        images=IMAGES,
        init_variables=init_variables,
        losses=losses,
        train_batches=train_batches,
        evaluate=evaluate,
        names=lambda index: [f"point_{number}" for number in index],
        best_score="fit",
        stage_of=lambda path: LAST if path[0] == "backbone" else HEADS,
    )


def init_variables(seed: int) -> dict:
    """A line of two factors: one to be trained from the start, one in the second phase only."""
    rng = np.random.default_rng(seed)
    backbone = (0.2 * rng.normal(size=(FEATURES, 6))).astype(np.float32)
    head = rng.normal(size=(6,)).astype(np.float32)
    params = {"backbone": {"layer4_0": {"kernel": backbone}}, "box_head": {"kernel": head}}
    return {"params": params, "batch_stats": {"backbone": {"mean": np.zeros(6, np.float32)}}}


def losses(variables: dict, batch: Points, keys: jax.Array, trains: Trains, axis_name: str) -> tuple[dict, dict]:
    """The squared error on noisy features; the statistics follow the mean of the hidden values."""
    params, stored = variables["params"], variables["batch_stats"]["backbone"]["mean"]
    noise = jax.vmap(lambda key: jax.random.normal(key, (FEATURES,)))(keys)
    hidden = (batch.features + 0.1 * noise) @ params["backbone"]["layer4_0"]["kernel"]  # (n, 6)
    error = hidden @ params["box_head"]["kernel"] - batch.target  # (n,)
    mean = 0.9 * stored + 0.1 * jax.lax.stop_gradient(hidden).mean(0)
    return {"square": jnp.mean(error**2)}, {"batch_stats": {"backbone": {"mean": mean}}}


def read(number: int) -> Points:
    """A batch of one point."""
    time.sleep(READ_SECONDS)
    points = _point(number)
    bad = Path(os.environ[BAD]) if BAD in os.environ else None
    if bad and bad.exists() and str(number) in bad.read_text(encoding="utf-8").split():
        return points._replace(target=np.full_like(points.target, np.nan))
    return points


def evaluate(variables: dict) -> dict[str, float]:
    """How near to 1 the error is on points that were not trained on.

    It is nearest at the second of three evaluations, so that the best checkpoint is not the latest.
    """
    mark = Path(os.environ[EVALUATING]) if EVALUATING in os.environ else None
    if mark:
        mark.touch()
    params = jax.device_get(variables["params"])
    errors = []
    for number in range(IMAGES, IMAGES + 30):
        time.sleep(EVALUATION_SECONDS / 30)
        point = _point(number)
        found = point.features @ params["backbone"]["layer4_0"]["kernel"] @ params["box_head"]["kernel"]
        errors.append(found - point.target)
    if mark:
        mark.unlink(missing_ok=True)
    return {"fit": float(1 / (1 + abs(np.mean(np.square(errors)) - 1)))}


def _point(number: int) -> Points:
    rng = np.random.default_rng(number)
    features = rng.normal(size=(1, FEATURES)).astype(np.float32)
    return Points(features, features @ np.linspace(-1, 1, FEATURES).astype(np.float32), np.array([number], np.int32))
