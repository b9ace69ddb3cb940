"""Process-wide settings of the command-line programs; importing wbcjax changes none of them."""

import logging
import os
import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import absl.logging
import jax

from wbcjax.settings.checked import ConfigError
from wbcjax.system.places import cache_folder


def use_compilation_cache() -> Path:
    """Keep compiled programs from run to run, in `cache_folder()`/jax, or the folder that JAX's own variable names.

    Returns the folder. Raises as `cache_folder`.
    """
    place = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if place is None:
        place = str(cache_folder() / "jax")
    jax.config.update("jax_compilation_cache_dir", place)
    return Path(place)


def use_cpu() -> None:
    """Let JAX see no accelerator. Call it before JAX is first used."""
    jax.config.update("jax_platforms", "cpu")


def quiet_libraries() -> None:
    """Show wbcjax's own messages, such as what was left out of a set; of libraries only warnings.

    orbax would log every file that it touches, and on a full disk a page of tracebacks beside the one error. So
    warnings of libraries are shown without their tracebacks.
    """
    absl.logging.use_absl_handler()
    absl.logging.set_verbosity(absl.logging.WARNING)
    absl.logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    absl.logging.get_absl_logger().addFilter(_without_traceback)
    logging.getLogger("wbcjax").setLevel(logging.INFO)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def device_count() -> int:
    """How many devices JAX finds. Raises ConfigError where it finds none."""
    try:
        return jax.device_count()
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"JAX finds no device ({reason}): set JAX_PLATFORMS=cpu, or install JAX for yours") from error


def versions(*packages: str) -> dict[str, str]:
    """The version of each package, "unknown" of one that was not installed, such as a bare checkout of wbcjax."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def environment() -> dict[str, str]:
    """The versions, devices and host that a result was computed with."""
    kinds = Counter(device.device_kind for device in jax.devices())
    return {
        "Python": platform.python_version(),
        **versions("wbcjax", "jax", "flax", "optax", "numpy", "opencv-python-headless"),
        "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
        "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    }
