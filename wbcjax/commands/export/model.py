"""A trained model as files that can be used without its run, and without this package: see `export_run`."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from wbcjax.report.model_card import Evaluation, TrainedModel, model_card
from wbcjax.runs.calibration import CALIBRATION, fitted_for
from wbcjax.runs.data_note import NOTE
from wbcjax.runs.folder import evaluation_folder, load_config, load_facts
from wbcjax.runs.model_file import PARAMETERS, write_model_file
from wbcjax.runs.packed import variables_of
from wbcjax.runs.stablehlo import PLATFORMS, Network, serialise
from wbcjax.settings.checked import ConfigError
from wbcjax.settings.parts import Trust
from wbcjax.system.files import write_atomically
from wbcjax.system.places import check_writable
from wbcjax.system.run_files import SCORES
from wbcjax.system.runtime import versions
from wbcjax.tasks.choose import experiment_of
from wbcjax.tasks.experiment import Exportable
from wbcjax.weights.ours import KINDS, note_settings
from wbcjax.weights.safetensors_file import as_written, write_safetensors

SUFFIX, CARD = ".stablehlo", "model_card.md"


class Exported(NamedTuple):
    """The files of an exported model."""

    model: Path
    parameters: Path
    card: Path


def export_run(workdir: Path, out: Path, which: str = "best", trust_parts: Trust = False) -> Exported:
    """Write the model of a training run, with its best or latest weights, as three files side by side:

    - X.stablehlo: network, weights and settings; `wbcjax.load`, `load_classifier` and `wbcjax predict` take it in place
      of a run. For any number of images at a time, on CPU, CUDA and TPU
    - parameters.safetensors: the weights alone, float32, by their paths as `params/backbone/conv1/kernel`
    - model_card.md: the model's data, scores and config, and how to use it without this package

    `out` is a name for X.stablehlo, or a folder, in which it is model.stablehlo. The file holds the network twice, on
    whatever machine it is written: in the form for CPUs, and in that for accelerators.

    Raises FileNotFoundError without a run or checkpoint; ValueError when one of the files is there already, for weights
    that are not finite, and for a damaged run; Untrusted as `load_config`.
    """
    workdir, places = Path(workdir), _places(Path(out))
    if existing := [path for path in places if path.exists()]:
        raise ValueError(f"{existing[0]} is there already: choose another folder for --out, or remove it")
    check_writable(places.model.parent)
    experiment, evaluation = experiment_of(load_config(workdir, trust_parts)), _evaluation(workdir, which)
    config, of_task = experiment.values, experiment.exportable()
    if of_task is None:
        raise ConfigError(
            f"config.task is {experiment.settings.task!r}, which cannot be exported: give {type(experiment).__name__} "
            "a method exportable"
        )
    facts = {name: fact for name, fact in load_facts(workdir).items() if name != NOTE}  # without names of files
    variables, step = variables_of(workdir, which)
    facts |= {CALIBRATION: fitted} if (fitted := fitted_for(workdir, step)) else {}
    weights = {name: as_written(array) for name, array in flatten_dict(variables, sep="/").items()}
    program = serialise(_in_both_forms(of_task), of_task.inputs, weights)
    made = _made(which, step)
    exported = TrainedModel(experiment.title, experiment.kind, of_task.inputs, config, facts)
    card = model_card(exported, evaluation, made, places.model.name)
    write_safetensors(places.parameters, variables, _metadata(of_task, made))
    settings = {"config": config, "facts": facts, "made": made}
    write_model_file(places.model, settings, program, places.parameters.read_bytes())
    write_atomically(places.card, card.encode())
    return places


def _places(out: Path) -> Exported:
    model = out if out.suffix == SUFFIX else out / f"model{SUFFIX}"
    return Exported(model, model.with_name(PARAMETERS), model.with_name(CARD))


def _in_both_forms(of_task: Exportable) -> Network:
    """The network as a function of weights by their paths, in the form for the platform that it runs on."""
    for_cpu, for_accelerators = (_of_weights(of_task.network(cpu)) for cpu in (True, False))
    return partial(jax.lax.platform_dependent, cpu=for_cpu, default=for_accelerators)


def _of_weights(network: Network) -> Network:
    return lambda weights, *arrays: network(unflatten_dict(weights, sep="/"), *arrays)


def _evaluation(workdir: Path, which: str) -> Evaluation | None:
    """The scores of these weights on the run's part "test", else on "val", and the day of them; None without any."""
    paths = {part: evaluation_folder(workdir, part, which) / SCORES for part in ("test", "val")}
    parts = [part for part, path in paths.items() if path.is_file()]
    if not parts:
        return None
    path = paths[parts[0]]
    day = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")
    try:
        return Evaluation(dict(json.loads(path.read_text(encoding="utf-8"))), day, parts[0])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no scores ({error!r}); evaluate the run again, or delete the file") from error


def _metadata(of_task: Exportable, made: dict[str, Any]) -> dict[str, str]:
    """The origin of the weights, and the settings that `config.init_from` needs for those of our models."""
    noted = note_settings(of_task.settings) if isinstance(of_task.settings, tuple(KINDS.values())) else {}
    origin = f"the {made['checkpoint']} checkpoint of a run, of step {made['step']}"
    return noted | {"origin": origin, "classes": json.dumps(list(of_task.classes))}


def _made(which: str, step: int) -> dict[str, Any]:
    """The versions, checkpoint, date and platforms of an export."""
    return {
        **versions("wbcjax", "jax", "flax"),
        "checkpoint": which,
        "step": step,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "platforms": list(PLATFORMS),
    }
