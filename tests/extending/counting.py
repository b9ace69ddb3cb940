from dataclasses import dataclass, field
from typing import NamedTuple

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from wbcjax.input.pipeline import Stream, batched
from wbcjax.settings.checked import Count
from wbcjax.smear.synthetic import render
from wbcjax.smear.synthetic_settings import SyntheticSmear
from wbcjax.tasks.experiment import Experiment, ExperimentSettings
from wbcjax.train.task import Task


class Fields(NamedTuple):
    image: np.ndarray  # (n, height, width, 3) uint8
    cells: np.ndarray  # (n,) float32, how many each field has
    index: np.ndarray  # (n,) int32


class Counter(nn.Module):
    """How many cells a field has: the sum of a density."""

    channels: int

    @nn.compact
    def __call__(self, image):
        density = nn.Dense(1)(nn.relu(nn.Conv(self.channels, (16, 16), strides=16)(image / 255.0)))
        return nn.softplus(density - 4.0).sum(axis=(1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class Settings(ExperimentSettings):
    smear: SyntheticSmear = field(default_factory=SyntheticSmear)
    fields: Count = 100  # to train on
    channels: Count = 16


class Counting(Experiment):
    Settings = Settings

    def task(self, workdir=None) -> Task:
        settings, model = self.settings, Counter(self.settings.channels)

        def drawn(seed) -> Fields:
            smear = render(settings.smear, int(seed))
            return Fields(smear.image()[None], np.array([len(smear.cells)], np.float32), np.array([seed], np.int32))

        def train_batches(seed, process_index, process_count):
            order = grain.MapDataset.range(settings.fields).seed(seed).shuffle().repeat().map(drawn)
            return batched(order, Stream(settings.train.batch_size, seed, process_index, process_count))

        def losses(variables, batch, keys, trains, axis_name):
            return {"square": jnp.mean((model.apply(variables, batch.image) - batch.cells) ** 2)}, {}

        def evaluate(variables):
            others = [drawn(settings.fields + number) for number in range(10)]
            errors = [model.apply(variables, other.image) - other.cells for other in others]
            return {"right": float(np.mean(np.abs(errors) < 0.5)), "error": float(np.mean(np.abs(errors)))}

        return Task(
            images=settings.fields,
            init_variables=lambda seed: dict(model.init(jax.random.key(seed), drawn(0).image)),
            losses=losses,
            train_batches=train_batches,
            evaluate=evaluate,
            names=lambda index: [f"field {seed}" for seed in index],
            best_score="right",
        )
