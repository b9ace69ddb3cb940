"""Where a run of a whole config starts."""

from collections.abc import Callable

from ml_collections import ConfigDict

from wbcjax.runs.initial_weights import Variables, starting_weights
from wbcjax.tasks.choose import experiment_of
from wbcjax.tasks.initial import initial_weights


def start_of(config: ConfigDict) -> Callable[[Variables], Variables]:
    settings = experiment_of(config).settings
    return starting_weights(initial_weights(settings), settings.model)
