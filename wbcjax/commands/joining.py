"""The flags of `train.py` and `evaluate.py` by which several processes share the work."""

from absl import flags

COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, when there are several processes")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which one of them this is, from 0")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many there are")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "one process of several that JAX finds, even if it is not seen")
flags.DEFINE_alias("process-id", "process_id")
flags.DEFINE_alias("num-processes", "num_processes")


def join() -> None:
    """Join the other processes, if there are any: see `wbcjax.system.processes.join`."""
    from wbcjax.system import processes

    processes.join(COORDINATOR.value, PROCESS_ID.value, NUM_PROCESSES.value, distributed=DISTRIBUTED.value)
