"""`wbcjax plan`: the cost of a training step of a config, before it is run."""

import argparse
import math
import os

from wbcjax.commands.arguments import CONFIG_USAGE, add_config, number

PRESETS = ("h100", "a100", "v5e", "v6e")  # of wbcjax.commands.plan.step_time, which needs jax


def add(commands: argparse._SubParsersAction) -> None:
    plan = commands.add_parser(
        "plan",
        help="tell what a training step needs and how long it should take, without training",
        usage=f"%(prog)s [-h] {CONFIG_USAGE} [--devices N] [--hardware NAME] [--peak-tflops T] "
        "[--bandwidth GB/s] [--interconnect GB/s] [--memory GB] [--utilisation SHARE] [--measure-input]",
        epilog="It compiles the step, which takes a minute or so, and needs neither the data set nor weights. The "
        "expected time is printed with --hardware, or with --peak-tflops, --bandwidth and --interconnect.",
    )
    add_config(plan)
    plan.add_argument("--devices", type=whole, metavar="N", help="that share the batch (default: those present)")
    plan.add_argument("--hardware", choices=PRESETS, help="figures as published; those below replace them")
    plan.add_argument("--peak-tflops", type=rate, metavar="T", help="matrix products in 10^12 FLOPs per second")
    plan.add_argument("--bandwidth", type=rate, metavar="GB/s", help="of a device's memory")
    plan.add_argument("--interconnect", type=rate, metavar="GB/s", help="out of a device, however many there are")
    plan.add_argument("--memory", type=rate, metavar="GB", help="of a device, 10^9 bytes each")
    plan.add_argument("--utilisation", type=share, default=0.2, help="of the peak that is reached (default: 0.2)")
    plan.add_argument(
        "--measure-input", action="store_true", help="time this machine's input too, for which it needs the data set"
    )
    plan.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> None:
    import jax

    from wbcjax.commands.config_file import for_devices, load_config_file
    from wbcjax.commands.plan.input_rate import input_text, measured_rate
    from wbcjax.commands.plan.step_cost import step_cost
    from wbcjax.commands.plan.step_report import cost_tables, fit_lines, scaling_table
    from wbcjax.commands.plan.step_time import hardware
    from wbcjax.system import runtime
    from wbcjax.system.terminal import Block, show
    from wbcjax.tasks.choose import experiment_of

    given = hardware(options.hardware, options.peak_tflops, options.bandwidth, options.interconnect, options.memory)
    config = load_config_file(options.config, options.overrides)
    runtime.quiet_libraries()
    runtime.use_compilation_cache()
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", min(options.devices or 1, 2))
    devices = options.devices or runtime.device_count()
    config = for_devices(config, devices)
    experiment = experiment_of(config)
    images_per_second = measured_rate(experiment) if options.measure_input else None
    cost = step_cost(experiment, devices)
    blocks: list[Block] = [" ".join([options.config, *options.overrides]), *cost_tables(cost)]
    memory = options.memory or (given.memory if given else 0.0)
    if memory:
        rematerialised = None
        if cost.memory > 1e9 * memory and config.get("model", {}).get("remat") is False:
            config.model.remat = True
            rematerialised = step_cost(experiment_of(config), cost.devices)
        blocks.append(fit_lines(cost, memory, rematerialised, config.train.accumulate))
    if given:
        name = options.hardware or "such devices"
        blocks.append(scaling_table(cost, given, name, options.utilisation))
    if images_per_second:
        blocks.append(input_text(images_per_second, cost, given, options.utilisation))
    show(*blocks)


def whole(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of devices; give a whole number above 0")
    return int(text)


def rate(text: str) -> float:
    value = number(text)
    if not (0 < value < math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no such figure; give a number above 0")
    return value


def share(text: str) -> float:
    value = number(text)
    if not (0 < value <= 1):
        raise argparse.ArgumentTypeError(f"{text} is no share; give a number above 0, and 1 at most")
    return value
