"""The folder of a run, and its config."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax.settings.older_runs import upgrade
from wbcjax.settings.parts import outside
from wbcjax.system.run_files import CONFIG

# Settings that give the weights their meaning: with another order of classes, every row of the heads is another class.
OF_WEIGHTS = ("task", "dataset.classes", "model.")
# In `config.model`, but only about training, the choice of detections, or speed.
NOT_OF_WEIGHTS = (
    "model.dtype",
    "model.remat",
    "model.detection.",
    *(f"model.rpn.{key}" for key in ("positive_iou", "negative_iou", "samples", "positive_fraction", "per_level")),
    *(f"model.rpn.{key}" for key in ("before_nms_", "proposals_", "nms_iou", "min_size")),
    *(f"model.roi.{key}" for key in ("samples", "positive_fraction", "keep_ratio", "positive_iou", "negative_iou")),
    "model.roi.append_cells",
    *(f"model.{part}.{key}" for part in ("rpn", "box_head", "box_head.head") for key in ("box_loss.", "per_positive")),
    *(f"model.{part}.padding_is_background" for part in ("box_head", "box_head.head")),  # the latter of a cascade
    "model.dropout",
    "model.stochastic_depth",
    "model.norm_momentum",
)

Changes = dict[str, list[Any]]  # of a config since the run began, {"train.learning_rate": [before, now]}


class ConfigChanged(ValueError):
    """The workdir holds a run of another config."""


@dataclass(frozen=True)
class KeptConfig:
    """The whole config of a run, which its folder keeps. The training reads none of it."""

    values: Mapping[str, Any]
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config  # adds defaults: no difference
    allow_change: bool = False  # of a config that the run began with


def settle_config(kept: KeptConfig, workdir: Path, *, started: bool, write: bool = True) -> Changes:
    """Make `workdir` a run of the config: writes config.json, or checks it against the one there.

    `started`: whether the run has a checkpoint. Until then config.json is replaced without a check. `write` False only
    checks.

    Returns the changes, empty for a new run. Raises ConfigChanged with all differing keys unless `allow_change`, which
    replaces config.json; and in any case for changes of the weights' meaning, see `OF_WEIGHTS`.
    """
    path = Path(workdir) / CONFIG
    changes = {}
    if started and path.exists():
        changes = config_changes(kept, workdir)
        if changes and not kept.allow_change:
            raise ConfigChanged(
                f"{path} is of another config:\n{listed(changes)}\n"
                "Give the config it was started with, another --workdir, or --allow_config_change."
            )
        if of_weights := {key: change for key, change in changes.items() if _is_of_weights(key)}:
            raise ConfigChanged(
                f"{path} has other values of what its weights stand for, which --allow_config_change does not change:\n"
                f"{listed(of_weights)}\nGive the values it was started with; or start in another --workdir from its "
                f"weights, by --config.init_from={workdir}."
            )
    if write and (changes or not started or not path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{CONFIG}.new")
        unfinished.write_text(config_json(kept.values) + "\n", encoding="utf-8")
        unfinished.replace(path)
    return changes


def config_changes(kept: KeptConfig, workdir: Path) -> Changes:
    """The differences of the config from that of the run in `workdir`. Raises ConfigChanged where that is no JSON."""
    complete = kept.complete
    before, now = upgrade(_read(workdir / CONFIG)), _plain_json(complete(upgrade(json.loads(config_json(kept.values)))))
    if set(outside(before).values()) <= set(outside(now).values()):  # else unnamed code would run
        before = _plain_json(complete(before))
    return _differences(before, now)


def listed(changes: Changes) -> str:
    """The changes of `settle_config`, a line each."""
    return "\n".join(f"  {key}: {before} in the workdir, {after} now" for key, (before, after) in changes.items())


def _is_of_weights(key: str) -> bool:
    return key.startswith(OF_WEIGHTS) and not key.startswith(NOT_OF_WEIGHTS)


def config_json(config: Mapping[str, Any]) -> str:
    """The config as JSON, keys sorted; tuples become lists."""
    return json.dumps(config, indent=2, sort_keys=True, default=_plain)


def _plain_json(config: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: tuples are lists."""
    return json.loads(json.dumps(config))


def _plain(value: Any) -> Any:
    if isinstance(value, ConfigDict):
        return value.to_dict()
    raise TypeError(
        f"the config holds {value!r}: only numbers, strings, booleans, None, tuples and dictionaries of them"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigChanged(f"{path} is not JSON ({error}): restore it, or give another --workdir") from error


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Changes:
    before, now = _flat(before), _flat(now)
    absent = "(absent)"
    return {
        key: [before.get(key, absent), now.get(key, absent)]
        for key in sorted(before | now)
        if before.get(key, absent) != now.get(key, absent)
    }


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
