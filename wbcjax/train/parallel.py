"""Running a step on every device present, the images of a batch spread over them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from wbcjax.settings.checked import ConfigError
from wbcjax.train.step import AXIS, TrainStep
from wbcjax.train.wishes import Wishes


class DataParallel:
    """Places state and batches on devices, and compiles a step for them.

    how: "shard_map" or "pmap". Both run the same step on the same state and give the same numbers. pmap is older and
    works in one process only.
    devices: jax.Device each; by default all.
    """

    def __init__(self, how: str, devices: Sequence[Any] | None = None) -> None:
        check_parallel(how)
        # In the processes' order, so that the rows of a batch have the order that one process alone would give them.
        self.devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
        self._mine = [device for device in self.devices if device.process_index == jax.process_index()]
        self._pmap = how == "pmap"
        mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._everywhere, self._spread = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))

    def compile(self, step: TrainStep) -> TrainStep:
        """`step` for a state, batches and wishes from `place_state`, `place_batch` and `place_wishes`.

        The state passed in is donated.
        """
        if self._pmap:
            axes = (None, 0, 0)
            return jax.pmap(step, AXIS, in_axes=axes, out_axes=None, devices=self.devices, donate_argnums=0)
        mesh = self._everywhere.mesh
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P(), check_vma=False)
        return jax.jit(mapped, donate_argnums=0)

    def place_state(self, state: Any) -> Any:
        """Copy a state in host memory to every device."""
        return jax.device_put(state, self._everywhere)

    def place_batch(self, batch: Any) -> Any:
        """Spread this process's share of a batch over its devices."""
        if self._pmap:  # which maps over a leading axis of devices
            batch = jax.tree.map(lambda leaf: leaf.reshape(len(self._mine), -1, *leaf.shape[1:]), batch)
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(self._spread, leaf), batch)

    def place_wishes(self, wishes: Wishes) -> Wishes:
        """The wishes of this process on each of its devices: arrays (devices of all processes,)."""
        return self.place_batch(Wishes(*(np.full(len(self._mine), wish, np.float32) for wish in wishes)))

    def local(self, replicated: Any) -> Any:
        """A state or the metrics of a step, as one copy on this process's first device."""
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), replicated)


def check_parallel(how: str) -> None:
    """Raise ConfigError for "pmap" in several processes."""
    if how == "pmap" and jax.process_count() > 1:
        raise ConfigError("config.train.parallel is 'pmap', which works in one process only: give 'shard_map'")


def check_batch_size(batch_size: int, devices: int, accumulate: int) -> None:
    """Raise ConfigError unless a batch divides evenly over the devices, and each share into `accumulate` parts."""
    parts = devices * accumulate
    if batch_size % parts or not batch_size:
        of_parts = f" in {accumulate} parts (config.train.accumulate)" if accumulate > 1 else ""
        raise ConfigError(
            f"config.train.batch_size is {batch_size}, which {devices} devices cannot share evenly{of_parts}: choose a "
            f"multiple of {parts}, such as --config.train.batch_size={-(-max(batch_size, 1) // parts) * parts}"
        )
