"""Steps whose loss or gradient is not finite: they are logged and counted, and too many in a row end the run."""

import contextlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from wbcjax.system import run_files
from wbcjax.system.files import write_atomically
from wbcjax.train.progress import RunLog
from wbcjax.train.task import Batch


class NonFiniteLoss(ArithmeticError):
    """Losses or gradients were infinite or not a number in too many steps in a row."""


@dataclass
class Guard:
    """Follows the steps of a run in their order. `batches` makes an iterator over its training data, from the start."""

    limit: int  # of skipped steps in a row
    workdir: Path
    log: RunLog
    batches: Callable[[], grain.DatasetIterator[Batch]]
    in_a_row: int = 0

    def look(self, step: int, place: Any, names: Callable[[], list[str]], metrics: Mapping[str, Any]) -> None:
        """Check a step whose batch was next at `place` in the data; `names` gives its images.

        A skipped step is recorded with its images. Raises NonFiniteLoss at the limit. Then nonfinite.json in the
        workdir has the last step's losses and images, and nonfinite_batch_0.npz is process 0's share of its batch.
        """
        if not metrics["skipped"]:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        images = names()
        losses = {name: float(value) for name, value in metrics.items() if name not in _NO_LOSSES}
        report = {
            "losses": {name: value if math.isfinite(value) else str(value) for name, value in losses.items()},
            "images": images,
            "in_a_row": self.in_a_row,
        }
        self.log.record("skipped", step, report)
        listed = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self.log.say(f"step {step} skipped: {listed}. Images: {', '.join(images)}")
        if self.in_a_row >= self.limit:
            path = self._write({"step": step, **report}, self._batch(place))
            raise NonFiniteLoss(
                f"step {step}: {listed}; {self.in_a_row} in a row (config.train.max_skipped_in_a_row), none of which "
                f"changed the weights. Images: {', '.join(images)}; also in {path}, their batch beside it. Look at "
                "these images and their annotations; the same command goes on from the latest checkpoint. Or lower "
                "config.train.learning_rate, or set config.train.clip_norm, and add --allow_config_change."
            )

    def _batch(self, place: Any) -> Batch:
        with contextlib.closing(self.batches()) as batches:
            batches.set_state(place)
            return next(batches)

    def _write(self, report: dict[str, Any], batch: Batch) -> Path:
        held, arrays = io.BytesIO(), batch._asdict()
        np.savez_compressed(held, **arrays)
        write_atomically(self.workdir / run_files.nonfinite_batch(jax.process_index()), held.getvalue())
        path = self.workdir / run_files.NONFINITE
        if jax.process_index() == 0:
            write_atomically(path, (json.dumps(report, indent=2) + "\n").encode())
        return path


_NO_LOSSES = ("skipped", "learning_rate")
