"""A network at work on all devices of this process, for prediction."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "local"  # the mesh axis over which the images of a batch are spread

Item = TypeVar("Item")


class OnLocalDevices:
    """A network whose images are spread over the devices of this process, each seeing `rows` of them at a time.

    So what it gives for an image depends neither on the number of devices nor on that of processes: with another number
    of images a device may round otherwise. Nothing is asked of other processes, which may be at other work.

    It can be copied and pickled where `network` can, such as for processes of `multiprocessing` that are spawned: with
    its variables, and to be compiled for the devices that are there.

    network: (variables, arrays of a batch...) -> a pytree of arrays, images along the first axis of them all.
    compilations: how often it was compiled.
    """

    def __init__(self, network: Callable[..., Any], rows: int, variables: Any = None) -> None:
        self._network, self._rows = network, rows
        self.variables = variables
        self._to_devices()

    def _to_devices(self) -> None:
        """Make what belongs to the devices of this process, for `self._network`."""
        self.compilations = 0
        devices = jax.local_devices()
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self._everywhere, self._spread = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))

        def run(variables: Any, arrays: list[jax.Array]) -> Any:
            self.compilations += 1  # runs only while JAX traces
            return self._network(variables, *arrays)

        # Not left to jit alone: of an NMS over sharded images it would gather all of them on each device.
        self._run = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False))

    def __getstate__(self) -> dict[str, Any]:
        of_devices = ("_everywhere", "_spread", "_run", "_placed", "compilations")
        state = {name: value for name, value in self.__dict__.items() if name not in of_devices}
        return state | {"_variables": jax.device_get(self._variables), "_placed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._to_devices()

    @property
    def variables(self) -> Any:
        """The network's. They stay on the devices after use, until there are others, or None."""
        return self._variables

    @variables.setter
    def variables(self, variables: Any) -> None:
        self._variables = variables
        self._placed = None

    def _over(
        self, items: Iterable[Item], arrays: Callable[[Item], tuple[np.ndarray, ...]]
    ) -> Iterator[tuple[list[Item], Any]]:
        """What the network gives for all `items`, of each of which `arrays` makes one row of each array of a batch.

        Yields some items at a time and their results, in host memory, of which rows beyond the items are padding.
        """
        items, size = iter(items), self._rows * self._spread.num_devices
        before = None
        while batch := list(islice(items, size)):
            if self._placed is None:
                self._placed = jax.device_put(self._variables, self._everywhere)
            padded = batch + batch[-1:] * (size - len(batch))
            stacked = [np.stack(rows) for rows in zip(*map(arrays, padded), strict=True)]
            found = self._run(self._placed, jax.device_put(stacked, self._spread))
            # The devices are at work on this batch while the host is on the results of the one before.
            if before is not None:
                yield before[0], jax.device_get(before[1])
            before = batch, found
        if before is not None:
            yield before[0], jax.device_get(before[1])
