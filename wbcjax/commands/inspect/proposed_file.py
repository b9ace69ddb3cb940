"""A proposed config as a file that trains as it stands."""

import math
import textwrap
from collections.abc import Sequence

from wbcjax.input.split import SplitSettings

STEPS = 2700  # as `segpc_mask_rcnn:r18_scratch` takes: its curve is flat by then
BATCH = 4  # of `wbcjax.configs.base.from_scratch`, which imports jax
EPOCHS = (3, 500)  # the fewest and the most


def config_file(title: str, lines: Sequence[str], fields: int) -> str:
    """A config file for so many fields: a small Mask R-CNN from the starter's weights, with the proposed `lines`."""
    training = max(1, round(fields * SplitSettings().train_fraction))
    epochs = min(max(math.ceil(STEPS * BATCH / training), EPOCHS[0]), EPOCHS[1])
    steps = epochs * training // BATCH
    body = [
        "config = base.mask_rcnn()",
        "base.small(config)  # ResNet-18, for a CPU",
        "base.from_scratch(config)",
        "base.varied(config)",
        "",
        *lines,
        "base.from_starter(config)  # leave it out to train from random weights",
        "",
        f"config.train.epochs = {float(epochs)}  # about {steps} steps on the {training} of {fields} fields that train",
        f"config.train.eval_every_epochs = {max(1.0, epochs // 9)}",
        "return config",
    ]
    indented = textwrap.indent("\n".join(body), "    ")
    return HEAD.format(title=title.replace("\\", "/").replace('"', "'"), body=indented)


HEAD = '''"""Mask R-CNN on the fields of {title}, with the settings that `wbcjax inspect` proposed.

    wbcjax train --config THIS_FILE --workdir runs/mine
    wbcjax evaluate --workdir runs/mine
"""

from ml_collections import ConfigDict

from wbcjax.configs import base


def get_config() -> ConfigDict:
{body}
'''
