"""An experiment's config from its file, changed as the command line says."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags


def load_config_file(file: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of FILE.py, or FILE.py:VARIANT, changed by arguments such as "--config.train.steps=5".

    Raises FileNotFoundError without such a file, ValueError for arguments that it does not take.
    """
    path, _, variant = file.partition(":")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: give a config file, such as configs/all_synthetic.py")
    beside = str(Path(path).resolve().parent.parent)
    if beside not in sys.path:  # config files import others as `configs.base`
        sys.path.insert(0, beside)
    get_config = runpy.run_path(path)["get_config"]
    arguments, values = ["wbcjax", *overrides], flags.FlagValues()
    try:
        config = get_config(variant) if variant else get_config()
        holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        others = values(arguments)[1:]
    except (flags.Error, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{' '.join([file, *overrides])}: {error}") from error
    if others:
        raise ValueError(f"unrecognized arguments: {' '.join(others)}; settings are given as --config.a.b=c")
    return holder.value
