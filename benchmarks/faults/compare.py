"""Whether a disturbed training ends as an undisturbed one does, and what its log says."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from wbcjax.train.checkpoint import Checkpoints, checkpoint_directory


def final_state(workdir: Path) -> dict[str, Any]:
    """By name, the contents of the latest checkpoint of a run, and the step, weights and score of its best one."""
    with Checkpoints(checkpoint_directory(workdir), only_read=True) as checkpoints:
        latest, best = checkpoints.latest, checkpoints.best
    if latest is None or best is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint")
    folder = checkpoint_directory(workdir).absolute()
    state = {
        "latest step": latest,
        "best step": best,
        "latest score": _score(folder / str(latest)),
        "best score": _score(folder / str(best)),
        "place in the data": _place(folder / str(latest)),
    }
    for name, step, item in (
        ("latest", latest, "prediction"),
        ("latest", latest, "training"),
        ("best", best, "prediction"),
    ):
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(folder / str(step) / item)
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
        state |= {f"{name} {item}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}
    return state


def differences(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> list[str]:
    """The names of entries that differ: to the bit for a tolerance of 0, else by more than it in arrays and scores."""
    return [
        name
        for name in sorted(found | wanted)
        if name not in found or name not in wanted or not _same(found[name], wanted[name], tolerance)
    ]


def _same(found: Any, wanted: Any, tolerance: float) -> bool:
    if not tolerance or not isinstance(found, (np.ndarray, float)):
        return bool(np.array_equal(found, wanted)) and np.asarray(found).dtype == np.asarray(wanted).dtype
    return np.allclose(found, wanted, rtol=tolerance, atol=tolerance)


def _score(checkpoint: Path) -> float:
    return json.loads((checkpoint / "metrics/metrics").read_text(encoding="utf-8"))["score"]


def _place(checkpoint: Path) -> Any:
    file = checkpoint / "data/metadata"
    return json.loads(file.read_text(encoding="utf-8"))


@dataclass
class Told:
    """The records of a run's metrics.jsonl, with a line for each step."""

    losses: dict[int, float | None] = field(default_factory=dict)  # by step, of the training that led to the end
    skipped: int = 0  # steps, on the way to the end
    again: int = 0  # the most steps that one start has done again
    doubled: list[int] = field(default_factory=list)  # steps logged a second time without a resume
    gaps: list[int] = field(default_factory=list)  # steps that a start went on from, but that were not logged before
    broken: int = 0  # lines that are no JSON
    stop: str = ""  # the reason of the last end


def told(file: Path) -> Told:
    """Read a metrics.jsonl."""
    log, last = Told(), 0
    skips: set[int] = set()
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            log.broken += 1
            continue
        kind, step = record["kind"], record["step"]
        if kind == "resume":
            log.again = max(log.again, last - step)
            log.losses = {of: loss for of, loss in log.losses.items() if of <= step}
            skips = {of for of in skips if of < step}
            if step and step not in log.losses:
                log.gaps.append(step)
            last = step
        elif kind == "train":
            if step in log.losses:
                log.doubled.append(step)
            log.losses[step], last = record["loss"], step
        elif kind == "skipped":
            skips.add(step)
        elif kind == "stop":
            log.stop = record["reason"]
    log.skipped = len(skips)
    return log
