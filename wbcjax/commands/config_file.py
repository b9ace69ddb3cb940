"""An experiment's config from its file, with the overrides of the command line, and checked."""

import difflib
import inspect
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from wbcjax import configs
from wbcjax.commands.command_line import OVERRIDE
from wbcjax.settings.checked import ConfigError, read_text, unknown
from wbcjax.settings.fields import Field, field_at, is_group, is_part
from wbcjax.settings.parts import completed, default_values, rule_of
from wbcjax.tasks.checks import check_config, listed
from wbcjax.tasks.choose import experiment_class
from wbcjax.tasks.experiment import ExperimentSettings

_DRIVE = r"(?:[A-Za-z]:[\\/])?"  # a colon is in Windows' paths too
NAMED = re.compile(rf"(?P<path>.*?\.py|{_DRIVE}[^:]*)(?::(?P<variant>.*))?", re.DOTALL)


def load_config_file(file: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of FILE.py, or FILE.py:VARIANT, changed by arguments such as "--config.train.steps=5" and checked.

    A shipped one may be given by its name, as NAME or NAME:VARIANT, or as configs/NAME.py where there is no such file.
    Of arguments for one key the last one counts. Names of parts are applied before their arguments. All defaults are
    filled in, so that a run keeps them. Raises ConfigError for a file that is not there or is no config, for unknown
    arguments, and as `check_config` does.
    """
    config = _from_file(file)
    config.unlock()
    found = [problem for override in sorted(overrides, key=_order) for problem in _apply(override, config)]
    if found:
        raise ConfigError(listed(file, list(dict.fromkeys(found))))
    check_config(config, file)
    return ConfigDict(completed(experiment_class(config).Settings, config.to_dict())).lock()


def for_devices(config: ConfigDict, devices: int) -> ConfigDict:
    """The config on so many devices: with the batch size that `train.batch_size_per_device`, where it is set, makes.

    So the run notes the size of its batches. Gone on with on another number of devices it tells of the change.
    """
    settled = config.copy_and_resolve_references()
    if each := config.train.batch_size_per_device:
        settled.train.batch_size, settled.train.batch_size_per_device = each * devices, 0
    return settled


def shipped() -> dict[str, Path]:
    """The files of the shipped configs by their names."""
    files = sorted(Path(configs.__path__[0]).glob("*.py"))
    return {path.stem: path for path in files if path.stem not in ("__init__", "base")}


def _from_file(file: str) -> ConfigDict:
    path, variant = _file_and_variant(file)
    folder = str(Path(path).resolve().parent.parent)  # the files of a user's folder of configs may import each other
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        get_config = runpy.run_path(path).get("get_config")
        if get_config is None:
            raise ConfigError(f"--config={file}: the file has no function get_config; `wbcjax config` shows one")
        _check_variant(get_config, file, path, variant)
        config = get_config(variant) if variant else get_config()
    except ConfigError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise ConfigError(f"--config={file}: {_told(error, path)}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"--config={file}: get_config gives {type(config).__name__}: let it return a ConfigDict")
    return config


def _file_and_variant(file: str) -> tuple[str, str]:
    """The path of a config file, as it is given or of the shipped one that is named, and the variant, "" for none."""
    named = NAMED.fullmatch(file)
    assert named
    path, variant = named["path"], named["variant"] or ""
    if Path(path).is_file():
        return path, variant
    known = shipped()
    name = Path(path).stem if Path(path) in {Path(f"configs/{name}.py") for name in known} else path
    if name not in known:
        raise ConfigError(f"--config={file}: {_not_there(path, known)}")
    return str(known[name]), variant


def _check_variant(get_config: Callable, file: str, path: str, variant: str) -> None:
    """Raise ConfigError where a variant is given and the config has none, or none is given and one is needed."""
    parameters = list(inspect.signature(get_config).parameters.values())
    if variant and not parameters:
        plain = file.removesuffix(f":{variant}")
        raise ConfigError(f"--config={file}: there are no variants of this config: give --config={plain}")
    if not variant and parameters and parameters[0].default is inspect.Parameter.empty:
        raise ConfigError(f"--config={file}: this config has variants only: give one, --config={file}:VARIANT")


def _not_there(path: str, known: Collection[str]) -> str:
    """The message on a config file that is not there."""
    if Path(path).is_dir():
        return f"{path} is a folder: give a file in it"
    near = difflib.get_close_matches(Path(path).stem, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"give a config file, or one of {', '.join(known)}"
    return f"{path} does not exist: {hint}"


def _told(error: Exception, path: str) -> str:
    """An error of a config file in one line, with the place in that file; of a ValueError only its own message."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    words = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name == "configs":  # as configs imported others up to 0.1
        return f"{path}, line {lines[-1]}: the shipped configs have moved: write `from wbcjax.configs import ...`"
    if isinstance(error, SyntaxError) or not lines:
        return f"{path} cannot be read: {type(error).__name__}: {words}"
    if isinstance(error, ValueError):  # such as on an unknown variant
        return words
    return f"{path}, line {lines[-1]}: {type(error).__name__}: {words}"


def _order(override: str) -> int:
    """A key to sort by: first the name of the task, then those of outer and of inner parts, then their arguments."""
    found = OVERRIDE.fullmatch(override)
    names = found["key"].split(".") if found else []
    return len(names) if names[-1:] == ["part"] or names == ["task"] else sys.maxsize


def _apply(override: str, config: ConfigDict) -> list[str]:
    """Change one value of `config` by an argument. Returns the problems, of which there are none where it is done."""
    found = OVERRIDE.fullmatch(override)
    if not found:
        return [f"unrecognized arguments: {override}; settings are given as --config.a.b=c"]
    *sections, name = found["key"].split(".")
    key = f"config.{found['key']}"
    text = found["value"] if found["value"] is not None else str(not found["no"])
    try:
        kind = ExperimentSettings if key == "config.task" else experiment_class(config).Settings
        group = _group(config, sections, kind)
        parent = field_at(kind, sections, config)
        if name == "part" and found["value"] is not None:
            _name_part(group, text, parent)
        field = field_at(kind, [*sections, name], config)
    except ConfigError as error:  # of a part on the way
        return [str(error)]
    if field is None and parent and is_part(parent.kind):
        return [unknown(key, parent.kind, key.rpartition(".")[0], group)]
    if field is None:
        return [unknown(key, kind, "config", config)]
    if is_group(field.kind) and (text != "None" or read_text(field.kind, text) is not None):
        if rule := rule_of(field.kind):
            path = text if ":" in text or text in rule.names else "module:Name"
            return [f"{key} is a part: name its class, as --{key}.part={path}"]
        return [f"{key} is a group of settings: set one of it, as --{key}.NAME=VALUE"]
    if found["value"] is None and field.kind is not bool:
        return [f"{key} is given no value: give --{key}=VALUE"]
    value = read_text(field.kind, text)
    with group.ignore_type():  # `check_config` has the types
        group[name] = ConfigDict(value) if isinstance(value, dict) else value
    return []


def _group(config: ConfigDict, sections: Sequence[str], kind: Any) -> ConfigDict:
    """The group of settings at `sections`; where the config lacks it, it is made with its defaults."""
    group = config
    for depth, section in enumerate(sections, start=1):
        if not isinstance(group.get(section), ConfigDict):
            field = field_at(kind, sections[:depth], config)
            default = default_values(field) if field else None
            with group.ignore_type():
                group[section] = ConfigDict(default if isinstance(default, dict) else {})
        group = group[section]
    return group


def _name_part(group: ConfigDict, path: str, field: Field | None) -> None:
    """Make `group`, where it is a part, one of the class at `path`. Its arguments are kept if the class stays."""
    rule = rule_of(field.kind) if field else None
    if rule is None:
        return
    if rule.path(group.get("part")) != rule.path(path):
        for name in list(group):
            delattr(group, name)
    group.part = path
