"""Tables 1 and 2 of Revanda et al.: a training and an evaluation for each enhancement of the images, all else equal."""

import dataclasses
import json
import logging
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from wbcjax.commands.experiment.paper_protocol import ANNOTATIONS, on_paper_set, write_paper_set
from wbcjax.enhance import METHODS
from wbcjax.evaluate.contrast_table import PROTOCOLS, contrast_tables
from wbcjax.evaluate.image_table import RULE_SHOWN
from wbcjax.evaluate.vote import SUBTYPES
from wbcjax.input.array_records import cache_root, digests_of
from wbcjax.input.contents import fingerprint
from wbcjax.input.settings import FieldSetSettings
from wbcjax.runs.folder import load_config
from wbcjax.runs.log import read_log
from wbcjax.settings.parts import completed
from wbcjax.system import run_files
from wbcjax.system.files import write_atomically
from wbcjax.system.interrupt import Interrupted, breakable
from wbcjax.tasks.choose import experiment_class, experiment_of, make_task, train
from wbcjax.tasks.detection import Detection, evaluate_run
from wbcjax.tasks.experiment import Scored
from wbcjax.tasks.settings import DetectionConfig
from wbcjax.train.workdir import KeptConfig, config_json, settle_config

log = logging.getLogger(__name__)

PAPER_METHODS = ("none", "he", "dhe", "clahe", "eff_minmax")  # "eff" leaves most smears as they are: docs/enhance.md
# Not "best": without a test part it would be chosen by its scores on the tested fields.
CHECKPOINT = "latest"
ENDED = ("finished", "max_minutes")  # reasons in a run's "stop" record after which it does not go on


def contrast(
    config: ConfigDict, workdir: Path, methods: Sequence[str] = PAPER_METHODS, protocol: str = "default"
) -> signal.Signals | None:
    """Train and evaluate `config` once for each of `methods`, in workdir/METHOD; finished methods are kept.

    Seeds and splits are the config's for all of them; its own dataset.enhance is not used. Protocol "default" keeps to
    its split. "paper" trains on 45 flips, of 20 fields of each subtype, validates on the other 15 and tests on all
    fields, also on those that the flips are of. The weights at the end of the training are evaluated, on the fields
    that test, or on those that validate where the config has no test part.

    After each method tables.txt and results.json are written anew, with all finished methods in `workdir`, also those
    of earlier calls. experiment.json there keeps the settings. Returns None at the end, or the signal that stopped a
    training or an evaluation: the same call then goes on.

    Raises ValueError for settings that cannot be used, for a `workdir` of another experiment (ConfigChanged for a run
    of another config in it), and as `train` and `evaluate_run` do.
    """
    _check(config, methods, protocol)
    if protocol == "paper":
        log.warning(PROTOCOLS[protocol])
    config = _settle(config, workdir, protocol)
    part = _tested(config)
    rows, of_fields = (
        _finished(workdir, part),
        {"protocol": protocol, "drawn": FieldSetSettings.from_config(config.dataset).is_drawn},
    )
    _write_results(workdir, of_fields, rows)
    try:
        for method in methods:
            if method not in rows:
                _train(config, method, workdir / method, part)
                rows[method] = _evaluate(method, workdir / method, part)
                _write_results(workdir, of_fields, rows)
    except Interrupted as interrupted:
        return interrupted.signal
    return None


def _check(config: ConfigDict, methods: Sequence[str], protocol: str) -> None:
    if unknown := [method for method in methods if method not in METHODS]:
        raise ValueError(f"no method of enhancement is called {unknown[0]!r}; give some of {', '.join(METHODS)}")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; give one of {', '.join(PROTOCOLS)}")
    if not issubclass(experiment_class(config), Detection):
        raise ValueError(f"config.task is {config.task!r}; the experiment is one of detection")
    if missing := [name for name in SUBTYPES if name not in config.dataset.classes]:
        raise ValueError(
            f"config.dataset.classes is {tuple(config.dataset.classes)}, without {', '.join(missing)}: the experiment "
            f"is on subtypes of lymphoblasts; give a set with cells of {', '.join(SUBTYPES)}"
        )


def _settle(config: ConfigDict, workdir: Path, protocol: str) -> ConfigDict:
    """Make `workdir` one of this experiment. Returns the config on the fields of the protocol."""
    path, fields = workdir / "experiment.json", workdir / "paper_set"
    asked = _asked(config, protocol)
    known = _read_json(path) if path.is_file() else {}
    if known:
        known["config"] = _settings(known["config"])
    lost = protocol == "paper" and not (fields / ANNOTATIONS).is_file()
    if known != asked or lost:
        if any(_log(workdir / method).is_file() for method in METHODS):  # else no run was made with the other settings
            raise ValueError(_other_experiment(path, known, asked) if known != asked else _lost_set(fields))
        if protocol == "paper":
            write_paper_set(FieldSetSettings.from_config(config.dataset), fields)
        _write_json(path, asked)
    return on_paper_set(config, fields) if protocol == "paper" else config


def _asked(config: ConfigDict, protocol: str) -> dict[str, Any]:
    """The settings that must not change from one method to the next."""
    dataset = dataclasses.replace(FieldSetSettings.from_config(config.dataset), enhance="none")
    digests = digests_of(cache_root(None), [dataset.annotations, dataset.images])
    settings = _settings(json.loads(config_json(config.to_dict())))
    return {"protocol": protocol, "hash of the annotations": fingerprint(dataset, digests), "config": settings}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """A config as JSON with its defaults, which an older one may lack, but without the method."""
    settings = json.loads(json.dumps(completed(DetectionConfig, config)))
    del settings["dataset"]["enhance"]
    return settings


def _other_experiment(path: Path, known: dict[str, Any], asked: dict[str, Any]) -> str:
    """The message on runs in the folder of `path` that were made for another experiment."""
    if not known:
        return f"{path} is missing, and there are runs beside it: give another --workdir"
    before, now = (flatten_dict(of, keep_empty_nodes=True, sep=".") for of in (known, asked))
    pairs = {key: (before.get(key, "(absent)"), now.get(key, "(absent)")) for key in sorted(before | now)}
    lines = [f"  {key}: {then} there, {asked_for} now" for key, (then, asked_for) in pairs.items() if then != asked_for]
    return "\n".join(
        [f"{path} is of another experiment:", *lines, "Give the settings it was started with, or another --workdir."]
    )


def _lost_set(fields: Path) -> str:
    return (
        f"{fields} has no {ANNOTATIONS}, and there are runs beside it that were trained on its images: put the folder "
        "back as it was, or give another --workdir"
    )


def _tested(config: ConfigDict) -> Literal["val", "test"]:
    """The part of the fields that is evaluated."""
    return "test" if FieldSetSettings.from_config(config.dataset).tests else "val"


def _finished(workdir: Path, part: str) -> dict[str, dict[str, Any]]:
    """The rows of results.json, by method, whose run is still there, trained to its end and evaluated."""
    path = workdir / "results.json"
    rows = _read_json(path)["methods"] if path.is_file() else {}
    return {
        method: row
        for method, row in rows.items()
        if _stop(workdir / method) and _scores(workdir / method, part).is_file()
    }


def _train(config: ConfigDict, method: str, run: Path, part: str) -> None:
    """Train to the end, unless it is trained already. Raises Interrupted when a signal stopped it."""
    settings = config.copy_and_resolve_references()
    settings.dataset.enhance = method
    if _stop(run):
        kept = KeptConfig(settings.to_dict(), partial(completed, DetectionConfig))
        settle_config(kept, run, started=True, write=False)
        return
    _scores(run, part).unlink(missing_ok=True)  # of weights before the end
    log.info("%s: training in %s", method, run)
    with breakable():
        task = make_task(settings, run)
    if stopped_by := train(settings, task, run):
        raise Interrupted(stopped_by)


def _evaluate(method: str, run: Path, part: str) -> dict[str, Any]:
    """The row of a trained run for `contrast_tables`. Raises Interrupted when a signal stopped the evaluation."""
    log.info("%s: evaluating %s", method, run)
    with breakable():
        experiment = experiment_of(load_config(run, trust_parts=True))
        assert isinstance(experiment, Detection)  # see `_check`
        evaluate_run(experiment, run, CHECKPOINT, Scored(part), _scores(run, part).parent)
    scores, stop = _read_json(_scores(run, part)), _stop(run)
    assert stop is not None
    return {
        "mAP": scores["paper"]["mAP"],
        "score_threshold": scores["paper"]["score_threshold"],
        "subtypes": scores["images"]["rules"][RULE_SHOWN] if "images" in scores else None,
        "steps": stop["step"],
        "stop": stop["reason"],
    }


def _stop(run: Path) -> dict[str, Any] | None:
    """The record of a training's end; None where it has not ended."""
    try:
        records = read_log(_log(run))
    except (FileNotFoundError, ValueError):  # not begun, or no record written yet
        return None
    last = [record for record in records if record["kind"] in ("stop", "resume")][-1:]
    return last[0] if last and last[0].get("reason") in ENDED else None


def _write_results(workdir: Path, of_fields: Mapping[str, Any], rows: Mapping[str, dict[str, Any]]) -> None:
    in_order = {method: rows[method] for method in METHODS if method in rows}
    results = {**of_fields, "remark": PROTOCOLS[of_fields["protocol"]], "methods": in_order}
    _write_json(workdir / "results.json", results)
    write_atomically(tables_path(workdir), (contrast_tables(results) + "\n").encode())


def tables_path(workdir: Path) -> Path:
    """The file of an experiment's tables."""
    return workdir / "tables.txt"


def _log(run: Path) -> Path:
    return run / run_files.METRICS


def _scores(run: Path, part: str) -> Path:
    return run / run_files.EVALUATION / part / run_files.SCORES


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: broken JSON ({error}); restore the file, or give another --workdir") from error


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())
