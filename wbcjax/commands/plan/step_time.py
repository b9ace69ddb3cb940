"""The expected time of a training step on given hardware, by number of devices: calculated, not measured."""

from typing import NamedTuple

from wbcjax.commands.plan.step_cost import StepCost


class Hardware(NamedTuple):
    """One device and its links to others; units of 10^12 and 10^9, rates per second and one way."""

    peak: dict[str, float]  # by dtype of the convolutions, TFLOP/s of dense matrix products
    bandwidth: float  # of its memory, GB/s
    memory: float  # GB
    interconnect: float  # out of one device to its neighbours, GB/s
    together: int = 0  # devices that share such an interconnect; 0: any number
    network: float = 0.0  # out of all of these together, GB/s


# For float32 JAX lets GPUs take TF32, and TPUs one pass of bfloat16.
HARDWARE = {
    # NVIDIA's H100 datasheet and DGX H100: SXM; NVLink 900 GB/s both ways; 8 x 400 Gb/s InfiniBand for 8 devices.
    "h100": Hardware({"float32": 494.7, "bfloat16": 989.4}, 3350, 80, 450, 8, 400),
    # NVIDIA's A100 datasheet and DGX A100: 80 GB SXM; NVLink 600 GB/s both ways; 8 x 200 Gb/s InfiniBand for 8 devices.
    "a100": Hardware({"float32": 156, "bfloat16": 312}, 2039, 80, 300, 8, 200),
    # cloud.google.com/tpu/docs/v5e: 1600 Gb/s between chips; 6.4 Tb/s out of a pod of 256.
    "v5e": Hardware({"float32": 197, "bfloat16": 197}, 819, 16, 200, 256, 800),
    # cloud.google.com/tpu/docs/v6e: 3200 Gb/s between chips; 25.6 Tb/s out of a pod of 256.
    "v6e": Hardware({"float32": 918, "bfloat16": 918}, 1600, 32, 400, 256, 3200),
}


def hardware(
    name: str | None, peak: float | None, bandwidth: float | None, interconnect: float | None, memory: float | None
) -> Hardware | None:
    """The hardware `name` with the given figures in place of its own; without a name, of these figures alone.

    Units as in `Hardware`. A given interconnect links any number of devices. None without a name and without figures.
    Raises ValueError without a name where only some of the figures are given.
    """
    if name is None and not (peak and bandwidth and interconnect):
        if peak or bandwidth or interconnect:
            raise ValueError("give --peak-tflops, --bandwidth and --interconnect together, or --hardware with any")
        return None
    found = HARDWARE[name] if name else Hardware({}, 0.0, 0.0, 0.0)
    if peak:
        found = found._replace(peak={"float32": peak, "bfloat16": peak})
    if bandwidth:
        found = found._replace(bandwidth=bandwidth)
    if interconnect:
        found = found._replace(interconnect=interconnect, together=0)
    return found._replace(memory=memory) if memory else found


class StepTime(NamedTuple):
    """Seconds of one step: computing beside reading and writing, then the all-reduce."""

    compute: float
    memory: float
    reduce: float

    @property
    def total(self) -> float:
        return max(self.compute, self.memory) + self.reduce


def step_time(cost: StepCost, hardware: Hardware, devices: int, utilisation: float) -> StepTime:
    """The step of `cost` on `devices` devices, with the images per device of `cost`.

    utilisation: the share of the peak that convolutions reach. ResNet-50's training in mixed precision, 2600 images a
    second on an A100 (github.com/huggingface/pytorch-image-models/issues/1491) of 3 x 2 x 4.09e9 FLOPs, reaches 0.2.

    The all-reduce sends 2 (n - 1) / n times its bytes round a ring of n devices (Patarasuk and Yuan 2009), first within
    each group that shares an interconnect, then among the groups.
    """
    giga, tera = 1e9, 1e12
    near = min(devices, hardware.together or devices)
    groups = -(-devices // near)
    reduce = _ring(near, cost.bytes_reduced) / (hardware.interconnect * giga)
    if groups > 1:
        reduce += _ring(groups, cost.bytes_reduced) / (hardware.network * giga)
    return StepTime(
        compute=cost.flops / (hardware.peak[cost.dtype] * tera * utilisation),
        memory=cost.bytes_moved / (hardware.bandwidth * giga),
        reduce=reduce,
    )


def _ring(devices: int, size: int) -> float:
    """Bytes that each of `devices` sends to add up arrays of `size` bytes."""
    return 2 * (devices - 1) / devices * size
