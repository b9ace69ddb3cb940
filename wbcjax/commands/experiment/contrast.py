"""Tables 1 and 2 of Revanda et al.: an experiment whose setting is the enhancement of the images, all else equal."""

import dataclasses
import json
import logging
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from wbcjax.commands.experiment.paper_protocol import ANNOTATIONS, on_paper_set, write_paper_set
from wbcjax.commands.experiment.results import Results
from wbcjax.commands.experiment.running import Failures, Run, run_all
from wbcjax.enhance import METHODS
from wbcjax.evaluate.contrast_table import PROTOCOLS, contrast_tables
from wbcjax.evaluate.image_table import RULE_SHOWN
from wbcjax.evaluate.vote import SUBTYPES
from wbcjax.input.array_records import cache_root, digests_of
from wbcjax.input.contents import fingerprint
from wbcjax.input.settings import FieldSetSettings
from wbcjax.settings.parts import completed
from wbcjax.system import run_files
from wbcjax.system.files import write_atomically
from wbcjax.system.terminal import Block, plain
from wbcjax.tasks.choose import experiment_class
from wbcjax.tasks.detection import Detection
from wbcjax.tasks.settings import DetectionConfig
from wbcjax.train.workdir import config_json

log = logging.getLogger(__name__)

PAPER_METHODS = ("none", "he", "dhe", "clahe", "eff_minmax")  # "eff" leaves most smears as they are: docs/enhance.md
AXIS = "dataset.enhance"
# Not "best": without a test part it would be chosen by its scores on the tested fields.
CHECKPOINT = "latest"
RESULTS = "results.json"


def contrast(
    config: ConfigDict, workdir: Path, methods: Sequence[str] = PAPER_METHODS, protocol: str = "default"
) -> signal.Signals | None:
    """Train and evaluate `config` once for each of `methods`, in workdir/METHOD; finished methods are kept.

    Seeds and splits are the config's for all of them; its own dataset.enhance is not used. Protocol "default" keeps to
    its split. "paper" trains on 45 flips, of 20 fields of each subtype, validates on the other 15 and tests on all
    fields, also on those that the flips are of. The weights at the end of the training are evaluated, on the fields
    that test, or on those that validate where the config has no test part.

    After each method tables.txt and results.json are written anew, and the page and tables of `Results`, with all
    finished methods in `workdir`, also those of earlier calls. experiment.json there keeps the settings. Returns None
    at the end, or the signal that stopped a training or an evaluation: the same call then goes on.

    Raises ValueError for settings that cannot be used and for a `workdir` of another experiment, and as `run_all` does.
    """
    _check(config, methods, protocol)
    if protocol == "paper":
        log.warning(PROTOCOLS[protocol])
    config = _settle(config, workdir, protocol)
    of_fields = {"protocol": protocol, "drawn": FieldSetSettings.from_config(config.dataset).is_drawn}
    every = {method: _run(config, method, workdir) for method in METHODS}
    shown = [run for method, run in every.items() if method in methods or run.finished]
    results = Results(workdir, (AXIS,), shown, (" ".join(PROTOCOLS[protocol].split()),))

    def after(failures: Failures) -> None:
        _write_tables(workdir, of_fields, every)
        results.write(failures)

    return run_all([every[method] for method in methods], after)


def _run(config: ConfigDict, method: str, workdir: Path) -> Run:
    settings = config.copy_and_resolve_references()
    settings.dataset.enhance = method
    return Run(workdir / method, settings, _tested(config), CHECKPOINT, values=(method,), seed=config.seed)


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


def _table_row(run: Run) -> dict[str, Any]:
    """The row of a finished run for `contrast_tables`."""
    scores, stop = _read_json(run.scores / run_files.SCORES), run.stop
    assert stop is not None  # it is finished
    return {
        "mAP": scores["paper"]["mAP"],
        "score_threshold": scores["paper"]["score_threshold"],
        "subtypes": scores["images"]["rules"][RULE_SHOWN] if "images" in scores else None,
        "steps": stop["step"],
        "stop": stop["reason"],
    }


def _write_tables(workdir: Path, of_fields: Mapping[str, Any], every: Mapping[str, Run]) -> None:
    rows = {method: _table_row(run) for method, run in every.items() if run.finished}
    results = {**of_fields, "remark": PROTOCOLS[of_fields["protocol"]], "methods": rows}
    _write_json(workdir / RESULTS, results)
    write_atomically(workdir / "tables.txt", plain(*contrast_tables(results)).encode())


def tables_of(workdir: Path) -> list[Block]:
    """The tables of the experiment in a folder."""
    return contrast_tables(_read_json(workdir / RESULTS))


def _log(run: Path) -> Path:
    return run / run_files.METRICS


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: broken JSON ({error}); restore the file, or give another --workdir") from error


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())
