"""The log of a run: metrics.jsonl, TensorBoard and the progress bar."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import scalar

from wbcjax.system.progress import terminal
from wbcjax.system.run_files import EVENTS, METRICS


class RunLog:
    """Writes records of a run into `workdir` and shows its progress on the terminal.

    metrics.jsonl has one JSON object per line: {"kind", "step", ...}. The kinds are "train" (means over the steps since
    the last such record that were not skipped), "skipped", "eval", "collapse", "resume" and "stop". The file is only
    appended to: after a "resume" record of step S, earlier records of steps above S are of work that was lost and is
    done again. Numbers that are not finite are written as null. With `active` False (every process but the first)
    nothing is written or shown.
    """

    def __init__(self, workdir: Path, *, steps: int, step: int, batch_size: int, active: bool) -> None:
        self._active, self._batch_size, self._steps = active, batch_size, steps
        self._lap_start = time.monotonic()
        self.resumes = False  # whether there are records of an earlier run, which may have saved no step
        console = terminal()
        self._progress = Progress(  # files and other programs get lines instead of a bar
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[told]}"),
            console=console,
            expand=True,
            redirect_stdout=False,
            disable=not (active and console.is_terminal),
        )
        self._task = self._progress.add_task("", total=max(steps, step), completed=step, epoch="-", told="compiling")
        self._progress.start()
        if active:
            path = Path(workdir) / METRICS
            self.resumes = path.exists()
            written = path.read_bytes() if self.resumes else b""
            torn = written != b"" and not written.endswith(b"\n")  # a line that a kill cut short
            self._file = path.open("ab", buffering=0)
            self._write(b"\n" if torn else b"")
            # Not tensorboardX's SummaryWriter: on a full disk its thread ends, and its queue then blocks for ever.
            self._board = EventsWriter(str(Path(workdir) / EVENTS))
            if self.resumes:  # TensorBoard then drops an earlier run's records of later steps
                start = SessionLog(status=SessionLog.START)
                self._board.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._active:
            self._file.close()
            with contextlib.suppress(OSError):  # which `record` has raised before
                self._board.close()

    def compiling(self) -> None:
        """Say on the bar that the step is being compiled, until it has run."""
        self._progress.update(self._task, told="compiling")

    def advance(self) -> None:
        """A step is on its way: advance the bar."""
        told = self._progress.tasks[0].fields["told"]
        self._progress.update(self._task, advance=1, told="running" if told == "compiling" else told)

    def lap(self) -> float:
        """The seconds since the last call, or since the log was opened."""
        before, self._lap_start = self._lap_start, time.monotonic()
        return self._lap_start - before

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add a record to metrics.jsonl, and its numbers to TensorBoard as `kind/name`.

        Raises OSError with the remedy when it cannot be written, as on a full disk.
        """
        if not self._active:
            return
        line = {"kind": kind, "step": step, **{name: _jsonable(value) for name, value in values.items()}}
        numbers = {
            f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value)
        }
        try:
            self._write((json.dumps(line) + "\n").encode())
            for name, value in numbers.items():
                self._board.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            self._board.flush()
        except OSError as error:
            raise OSError(
                f"{self._file.name} or the events file beside it could not be written: {error.strerror}. The "
                "checkpoints are intact. Free some space: the same command goes on."
            ) from error
        if kind == "train":
            self._show(step, values)

    def say(self, text: str) -> None:
        """A line on the terminal, above the bar."""
        if self._active:
            with contextlib.suppress(BrokenPipeError):  # the reader has gone, as in `2>&1 | head`: no reason to stop
                if self._progress.disable:
                    sys.stderr.write(f"{text}\n")
                else:
                    self._progress.console.print(text, markup=False, highlight=False)

    def _write(self, data: bytes) -> None:
        """Add all of `data` to metrics.jsonl, or nothing."""
        before = self._file.seek(0, os.SEEK_END)
        try:
            while data:  # a disk that gets full takes only a part
                data = data[self._file.write(data) :]
        except OSError:
            self._file.truncate(before)
            raise

    def _show(self, step: int, values: Mapping[str, Any]) -> None:
        shown = {
            name: f"{value:.3g}"
            for name, value in values.items()
            if name not in ("epoch", "grad_norm", "learning_rate", "images_per_second")
        }
        speed = values["images_per_second"]
        pace = f"{speed:.1f} img/s {interval((self._steps - step) * self._batch_size / speed)} left"
        if self._progress.disable:
            losses = " ".join(f"{name} {value}" for name, value in shown.items())
            self.say(f"step {step}/{self._steps} epoch {values['epoch']:.2f} {losses} {pace}")
        else:
            told = f"loss {shown.get('loss', '?')} {pace}"
            self._progress.update(self._task, epoch=f"{values['epoch']:.1f}", told=told)


def interval(seconds: float) -> str:
    """A time as "03:20" or, from an hour on, "1:03:20"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _jsonable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
