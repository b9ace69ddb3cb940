"""Several processes, on one machine or many, that train one model: how they join, share work, and end together."""

import contextlib
import faulthandler
import importlib.util
import logging
import os
import pickle
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

HEARTBEAT_TIMEOUT = 10  # seconds without a heartbeat after which a process counts as dead, and JAX ends the others
SHUTDOWN_TIMEOUT = 10  # seconds that a finished process waits for the others

# Variables with the number of processes that srun or mpirun started: srun(1), "Output environment variables", and
# mpirun(1), "Environment variables". Outside of srun, in the batch script itself, the first is not set.
LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")

log = logging.getLogger(__name__)


def join(
    coordinator: str | None = None,
    process_id: int | None = None,
    num_processes: int | None = None,
    *,
    distributed: bool = False,
) -> None:
    """Make this process one of several, if it is. Call it before JAX is first used.

    With `coordinator` ("host:port" of process 0), `process_id` (from 0) and `num_processes` these processes join, each
    with all devices that it sees. Without them JAX finds the others, if any: tasks of Slurm's srun and Open MPI's
    mpirun, each with the one GPU of its number on its machine, and hosts of a Cloud TPU. With `distributed` it tries
    all other clusters that it supports. $JAX_LOCAL_DEVICE_IDS ("0,1") chooses other GPUs.

    Raises ValueError where some of the three are missing, and where others must be but are not found.
    """
    given = {"--coordinator": coordinator, "--process_id": process_id, "--num_processes": num_processes}
    missing = [flag for flag, value in given.items() if value is None]
    launched = any(int(os.environ.get(name, 1)) > 1 for name in LAUNCHED)
    if 0 < len(missing) < len(given):
        raise ValueError(f"{' and '.join(missing)} missing: give {', '.join(given)}, or none of them")
    # JAX's handler would swallow SIGTERM until the training loop sets its own.
    jax.config.update("jax_enable_preemption_service", False)
    timeouts: dict[str, Any] = {
        "heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT,
        "shutdown_timeout_seconds": SHUTDOWN_TIMEOUT,
    }
    if not missing:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, cluster_detection_method="deactivate", **timeouts
        )
    elif distributed or launched:
        try:
            jax.distributed.initialize(**timeouts)
        except ValueError as error:
            raise ValueError(f"JAX does not find the other processes ({error}): give {', '.join(given)}") from error
    elif importlib.util.find_spec("libtpu"):
        with contextlib.suppress(ValueError):  # there is no TPU
            jax.distributed.initialize(**timeouts)
    if several():
        # JAX aborts a process when another one died. A dump of all threads would hide its message.
        faulthandler.disable()
        log.info(
            "process %d of %d, with %d devices; when one dies the others end too, and the same command goes on",
            jax.process_index(),
            jax.process_count(),
            jax.local_device_count(),
        )
        _meet()


def several() -> bool:
    """Whether this process is one of several."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one, of several, that writes what all have found."""
    return jax.process_index() == 0


def process_share(count: int) -> range:
    """The share of this process of `count` items, numbered from 0: the p-th of P nearly equal parts."""
    index, processes = jax.process_index(), jax.process_count()
    return range(index * count // processes, (index + 1) * count // processes)


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes, those of process 0 first. All processes must call it, also without items.

    The items are pickled.
    """
    if not several():
        return items
    data = pickle.dumps((jax.process_index(), items))
    longest = int(multihost_utils.process_allgather(np.array([len(data)])).max())
    padded = np.zeros(1 << (longest - 1).bit_length(), np.uint8)  # few sizes: a program is compiled for each
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    # A pickle ends with a mark of its own, and devices may be in another order than processes.
    parts = dict(pickle.loads(row.tobytes()) for row in multihost_utils.process_allgather(padded))
    return [item for index in sorted(parts) for item in parts[index]]


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Of several processes one that fails ends at once, with a non-zero code, so that the others end too.

    Otherwise it would wait for the others at its exit, and they for it in their next step.
    """
    try:
        yield
    except BaseException as error:
        done = isinstance(error, SystemExit) and not error.code
        if done or not several():
            raise
        sys.stderr.write(_told(error))
        sys.stderr.flush()
        # sys.exit would first run the handlers at exit, which wait for the others.
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


def _meet() -> None:
    """One sum over all devices, and one exchange between processes, right after all have joined.

    CPUs connect at the first such operation, and give up where one process comes 30 seconds after another. That may
    happen at the first training step, for which each compiles in its own time. Once connected they wait.
    """
    multihost_utils.sync_global_devices("joined")
    mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Auto,))
    ones = np.ones(jax.local_device_count(), np.int32)
    everywhere = jax.make_array_from_process_local_data(NamedSharding(mesh, P("all")), ones)
    total = jax.shard_map(lambda x: jax.lax.psum(x, "all"), mesh=mesh, in_specs=P("all"), out_specs=P())
    jax.block_until_ready(jax.jit(total)(everywhere))


def _told(error: BaseException) -> str:
    """The text of an error, with the likely reason where the other side of a connection is gone."""
    if isinstance(error, SystemExit):
        return f"{error.code}\n" if isinstance(error.code, str) else ""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, jax.errors.JaxRuntimeError) and not str(error).startswith("RESOURCE_EXHAUSTED"):
        text += "Most likely another process of the run died. The same command, in all, goes on from the last save.\n"
    return text
