"""Prediction with a network on all devices of this process."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "local"  # the mesh axis over which the images of a batch are spread

Item = TypeVar("Item")


class CompiledNetwork:
    """A network whose images are spread over the devices of this process, `rows` on each at a time.

    So its result for an image depends neither on the number of devices nor on that of processes: with another number
    of images a device may round otherwise. It does not communicate with other processes.

    It is compiled on first use. It can be copied and pickled where `network` can, such as for spawned processes of
    `multiprocessing`, and is then compiled for the devices there.

    network: (variables, arrays of a batch...) -> a pytree of arrays, images along the first axis of them all.
    compilations: how often it was compiled.
    """

    def __init__(self, network: Callable[..., Any], rows: int) -> None:
        self._network, self._rows, self.compilations = network, rows, 0
        devices = jax.local_devices()
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self.everywhere, self.spread = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
        self.batch_size = rows * len(devices)

        def run(variables: Any, arrays: list[jax.Array]) -> Any:
            self.compilations += 1  # runs only while JAX traces
            return network(variables, *arrays)

        # By shard_map, since jit alone would gather all images on each device for an NMS over sharded images.
        self.run = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return CompiledNetwork, (self._network, self._rows)


class OnLocalDevices:
    """A network with its variables, which stay on the devices from the first use until this object is deleted.

    It can be copied and pickled where the network can, with its variables.
    """

    def __init__(self, compiled: CompiledNetwork, variables: Any) -> None:
        self.compiled, self.variables = compiled, variables

    @cached_property
    def _placed(self) -> Any:
        return jax.device_put(self.variables, self.compiled.everywhere)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return OnLocalDevices, (self.compiled, jax.device_get(self.variables))

    def over(
        self, items: Iterable[Item], arrays: Callable[[Item], tuple[np.ndarray, ...]]
    ) -> Iterator[tuple[list[Item], Any]]:
        """The network's results for all `items`; `arrays` makes one row of each array of a batch from an item.

        Yields a batch of items at a time and their results, in host memory; rows beyond the items are padding.
        """
        items, size = iter(items), self.compiled.batch_size
        before = None
        while batch := list(islice(items, size)):
            padded = batch + batch[-1:] * (size - len(batch))
            stacked = [np.stack(rows) for rows in zip(*map(arrays, padded), strict=True)]
            found = self.compiled.run(self._placed, jax.device_put(stacked, self.compiled.spread))
            # The devices process this batch while the caller works on the results of the one before.
            if before is not None:
                yield before[0], jax.device_get(before[1])
            before = batch, found
        if before is not None:
            yield before[0], jax.device_get(before[1])
