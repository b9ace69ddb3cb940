"""What a run tells: metrics.jsonl, TensorBoard and the progress bar."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorboardX
from tqdm import tqdm


class RunLog:
    """Writes records of a run into `workdir` and shows its progress on the terminal.

    metrics.jsonl has one JSON object per line: {"kind", "step", ...}, kind being "train" (means over the steps since
    the last such record), "eval", "resume", "stop" or "nonfinite". It is only ever added to: after a "resume" record
    of step S, earlier records of steps above S tell of work that was lost and is done again. Not finite numbers are
    written as null. `active` False (every process but the first) writes and shows nothing.
    """

    def __init__(self, workdir: Path, *, steps: int, step: int, batch_size: int, active: bool) -> None:
        self._active, self._batch_size, self._steps = active, batch_size, steps
        # Files and other programs get lines instead of a bar.
        self._bar = tqdm(
            total=steps * batch_size,
            initial=step * batch_size,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if active else True,
        )
        if active:
            path = Path(workdir) / "metrics.jsonl"
            torn = path.exists() and not path.read_bytes().endswith(b"\n")  # a line that a kill cut short
            self._file = path.open("a")
            self._file.write("\n" if torn else "")
            self._board = tensorboardX.SummaryWriter(str(workdir), purge_step=step + 1 if step else None)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._active:
            self._file.close()
            self._board.close()

    def advance(self, steps: int = 1) -> None:
        """Move the bar on."""
        self._bar.update(steps * self._batch_size)

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add a record to metrics.jsonl, and its numbers to TensorBoard as `kind/name`."""
        if not self._active:
            return
        line = {"kind": kind, "step": step, **{name: _jsonable(value) for name, value in values.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{name}", value, step)
        if kind == "train":
            self._show(step, values)

    def say(self, text: str) -> None:
        """A line on the terminal, above the bar."""
        if self._active:
            tqdm.write(text, file=sys.stderr)

    def _show(self, step: int, values: Mapping[str, Any]) -> None:
        shown = {
            name: f"{value:.3g}"
            for name, value in values.items()
            if name not in ("epoch", "grad_norm", "learning_rate", "images_per_second")
        }
        if not self._bar.disable:
            self._bar.set_postfix(shown)
            return
        left = (self._steps - step) * self._batch_size / values["images_per_second"]
        losses = " ".join(f"{name} {value}" for name, value in shown.items())
        self.say(
            f"step {step}/{self._steps} epoch {values['epoch']:.2f} {losses} "
            f"{values['images_per_second']:.1f} img/s {tqdm.format_interval(left)} left"
        )


def _jsonable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
