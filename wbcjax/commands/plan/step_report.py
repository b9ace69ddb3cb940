"""The cost of a training step, whether it fits, and its expected time, as tables and lines."""

from wbcjax.commands.plan.loops import Trips
from wbcjax.commands.plan.step_cost import StepCost
from wbcjax.commands.plan.step_time import Hardware, step_time
from wbcjax.system.terminal import Attention, Table
from wbcjax.train.in_flight import STEPS_IN_FLIGHT

MOST_DEVICES = 1024  # of the scaling curve
GIGA = 1e9


def cost_tables(cost: StepCost) -> list[Table]:
    """Tables of the work of a step and of the memory that it takes."""
    on_all = f"on {cost.devices} device{'s' * (cost.devices > 1)}"
    work = Table(
        "One step",
        (),
        (
            ("parameters", f"{cost.parameters / 1e6:.2f}", "million"),
            ("trained in the first phase", f"{cost.trained / 1e6:.2f}", "million"),
            ("images per device", str(cost.images), ""),
            (f"images {on_all}", str(cost.images * cost.devices), ""),
            ("FLOPs per device", f"{cost.flops / 1e12:.3f}", "10^12"),
            (f"FLOPs {on_all}", f"{cost.flops * cost.devices / 1e12:.3f}", "10^12"),
            ("read and written per device", _gigabytes(cost.bytes_moved), "GB"),
            ("all-reduced", _gigabytes(cost.bytes_reduced if cost.devices > 1 else 0), "GB"),
            ("input sent to each device", f"{cost.batch / 1e6:.1f}", "MB"),
            ("passes of loops, one by one", f"{cost.trips.known}", _per_round(cost.trips)),
        ),
        "FLOPs, and what is read and written, are those of matrix products and convolutions, counted in the traced "
        "program; a multiplication and an addition are two. Passes wait for each other, however wide the device is. A "
        "round is a pass of each loop of unknown length: NMS takes 3 to 10 for thousands of random boxes.",
    )
    step = cost.arguments - cost.batch
    memory = Table(
        "Memory of one device",
        (),
        (
            ("arguments: weights, optimizer, averages", _gigabytes(step), "GB"),
            ("arguments: the batch", _gigabytes(cost.batch), "GB"),
            ("outputs, but for those in the place of arguments", _gigabytes(cost.outputs - cost.aliased), "GB"),
            ("temporaries", _gigabytes(cost.temporaries), "GB"),
            (f"{STEPS_IN_FLIGHT} batches that wait", _gigabytes(STEPS_IN_FLIGHT * cost.batch), "GB"),
            ("together", _gigabytes(cost.memory), "GB"),
        ),
        f"By the compiler for {cost.compiler}, of the step in {cost.dtype}"
        + ("; that for an accelerator fuses and lays out otherwise." if cost.compiler == "cpu" else "."),
    )
    return [work, memory]


def fit_lines(cost: StepCost, memory: float, rematerialised: StepCost | None, accumulate: int) -> list[str]:
    """Whether a step fits into `memory` (GB), and if it does not, what may help.

    rematerialised: the cost with `config.model.remat`, for a config without it.
    """
    left = memory - cost.memory / GIGA
    if left >= 0:
        return [f"It fits {memory:g} GB: {left:.2f} GB are left."]
    refused = Attention(f"It does not fit {memory:g} GB: {-left:.2f} GB too much. What may help:")
    lines = []
    if rematerialised is not None:
        fits = "fits" if rematerialised.memory <= memory * GIGA else "does not fit either"
        lines.append(
            f"--config.model.remat=True: {rematerialised.memory / GIGA:.2f} GB, which {fits}, for "
            f"{rematerialised.flops / cost.flops - 1:.0%} more FLOPs"
        )
    if cost.dtype == "float32":
        lines.append("--config.model.dtype=bfloat16: feature maps of half the size")
    if cost.images > 1:
        parts = next((n for n in range(accumulate + 1, cost.images + 1) if cost.images % n == 0), 0)
        if parts:
            lines.append(
                f"--config.train.accumulate={parts}: the images of a device in {parts} parts, one after the other"
            )
        lines.append(f"--config.train.batch_size={cost.devices}: one image per device, or more devices for the batch")
    lines.append("--config.dataset.canvas, max_cells: smaller images, fewer cells")
    return [refused, *(f"  {line}" for line in lines)]


def scaling_table(cost: StepCost, hardware: Hardware, name: str, utilisation: float) -> Table:
    """The expected step on 1, 2, 4, ... 1024 devices with as many images on each, and the assumptions behind it."""
    rows, one = [], step_time(cost, hardware, 1, utilisation)
    for power in range(MOST_DEVICES.bit_length()):
        devices = 2**power
        time = step_time(cost, hardware, devices, utilisation)
        rows.append(
            (
                str(devices),
                str(devices * cost.images),
                f"{1e3 * time.total:.1f}",
                f"{1e3 * time.reduce:.2f}",
                f"{devices * cost.images / time.total:.{0 if cost.images / one.total >= 10 else 2}f}",
                f"{100 * one.total / time.total:.1f}",
            )
        )
    slower = "computing" if one.compute >= one.memory else "memory"
    links = f"{hardware.interconnect:g} GB/s between devices"
    if hardware.together:
        links += f", {hardware.network:g} GB/s out of each {hardware.together} of them"
    return Table(
        f"Expected on {name}, calculated and not measured",
        ("devices", "images/step", "step, ms", "of it all-reduce, ms", "images/s", "efficiency, %"),
        tuple(rows),
        f"A step is the longer of computing ({1e3 * one.compute:.1f} ms: {hardware.peak[cost.dtype]:g} TFLOP/s at "
        f"{utilisation:.0%}) and of reading and writing ({1e3 * one.memory:.1f} ms: {hardware.bandwidth:g} GB/s), here "
        f"{slower}, and then the all-reduce ({links}). Input, latency and stragglers are left out.",
    )


def _per_round(trips: Trips) -> str:
    return f"and {trips.per_round} a round" if trips.per_round else ""


def _gigabytes(size: int) -> str:
    return f"{size / GIGA:.3f}"
