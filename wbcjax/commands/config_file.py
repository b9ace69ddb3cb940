"""An experiment's config from its file, changed as the command line says, and checked."""

import difflib
import inspect
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from wbcjax.commands.command_line import OVERRIDE
from wbcjax.runs.folder import DETECTION
from wbcjax.settings.checked import ConfigError, field_type, is_group, read_text, unknown
from wbcjax.tasks.checks import KINDS, check_config, listed

CHECKOUT = Path(__file__).parents[2]


def load_config_file(file: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of FILE.py, or FILE.py:VARIANT, changed by arguments such as "--config.train.steps=5" and checked.

    Of arguments for one key the last one counts. Raises ConfigError for a file that is not there or is no config,
    arguments that it does not take, and as `check_config` does.
    """
    config = _from_file(file)
    config.unlock()
    found = [problem for override in overrides for problem in _apply(override, config)]
    if found:
        raise ConfigError(listed(file, found))
    check_config(config, file)
    return config.lock()


def _from_file(file: str) -> ConfigDict:
    path, _, variant = file.partition(":") if ".py:" not in file else file.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"--config={file}: {_not_there(path)}")
    for folder in (CHECKOUT, Path(path).resolve().parent.parent):  # config files import others as `configs.base`
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        get_config = runpy.run_path(path).get("get_config")
        if get_config is None:
            raise ConfigError(f"--config={file}: the file has no function get_config; see configs/smear_demo.py")
        _check_variant(get_config, file, path, variant)
        config = get_config(variant) if variant else get_config()
    except ConfigError:
        raise
    except Exception as error:  # whatever a file of the user's does
        raise ConfigError(f"--config={file}: {_told(error, path)}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"--config={file}: get_config gives {type(config).__name__}: let it return a ConfigDict")
    return config


def _check_variant(get_config: Callable, file: str, path: str, variant: str) -> None:
    """Raise ConfigError where a variant is given and there are none, or the other way round."""
    parameters = list(inspect.signature(get_config).parameters.values())
    if variant and not parameters:
        raise ConfigError(f"--config={file}: there are no variants of this config: give --config={path}")
    if not variant and parameters and parameters[0].default is inspect.Parameter.empty:
        raise ConfigError(f"--config={file}: this config has variants only: give one, --config={path}:VARIANT")


def _not_there(path: str) -> str:
    """What to say of a config file that is not there."""
    if Path(path).is_dir():
        return f"{path} is a folder: give a file in it"
    shipped = {str(known.relative_to(CHECKOUT)): known for known in sorted((CHECKOUT / "configs").glob("*.py"))}
    names = [name for name in shipped if name != "configs/base.py"] or ["configs/smear_demo.py"]
    by_stem = {Path(name).stem: name for name in names}
    near = difflib.get_close_matches(Path(path).stem, by_stem, 1)
    return f"{path} does not exist: give a config file, such as {by_stem[near[0]] if near else names[-1]}"


def _told(error: Exception, path: str) -> str:
    """An error of a config file in one line, with the place in that file; its own words alone where it has some."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    words = " ".join(str(error).split())
    if isinstance(error, SyntaxError) or not lines:
        return f"{path} cannot be read: {type(error).__name__}: {words}"
    if isinstance(error, ValueError):  # such as of a variant that there is not
        return words
    return f"{path}, line {lines[-1]}: {type(error).__name__}: {words}"


def _apply(override: str, config: ConfigDict) -> list[str]:
    """Change one value of `config` as an argument says; what keeps it from being done."""
    found = OVERRIDE.fullmatch(override)
    if not found:
        return [f"unrecognized arguments: {override}; settings are given as --config.a.b=c"]
    *sections, name = found["key"].split(".")
    key, kind = f"config.{found['key']}", KINDS.get(config.get("task", DETECTION), KINDS[DETECTION])
    wanted = field_type(kind, [*sections, name])
    if wanted is None:
        return [unknown(key, kind)]
    if is_group(wanted):
        return [f"{key} is a group of settings: set one of it, as --{key}.NAME=VALUE"]
    if found["value"] is None and wanted is not bool:
        return [f"{key} is given no value: give --{key}=VALUE"]
    text = found["value"] if found["value"] is not None else str(not found["no"])
    for section in sections:
        if section not in config:
            config[section] = ConfigDict()
        config = config[section]
    value = read_text(wanted, text)
    with config.ignore_type():  # `check_config` has the types
        config[name] = ConfigDict(value) if isinstance(value, dict) else value
    return []
