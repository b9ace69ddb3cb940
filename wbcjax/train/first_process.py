"""Work that one of several processes of a run does for all."""

from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils


def in_first_process(work: Callable[[], object], failure: str) -> None:
    """Do `work` in process 0 while the others wait; where it fails there, they raise OSError of `failure`."""
    error = None
    if jax.process_index() == 0:
        try:
            work()
        except Exception as raised:  # of any kind: raised again below, after the others have been informed
            error = raised
    failed = multihost_utils.broadcast_one_to_all(np.int32(error is not None))
    if error:
        raise error
    if failed:
        raise OSError(f"{failure} by the first process: see its message")
