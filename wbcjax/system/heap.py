"""Settings of glibc's malloc, which the command-line programs make for their whole process."""

import ctypes
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

# mallopt's parameter numbers, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8

COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event at the end of a compilation
_LONG = 1.0  # seconds of compilation after which gaps are filled, which takes a fifth of a second
_LARGEST, _SMALLEST = 19, 12  # log2 of the bytes of the blocks that fill gaps; larger gaps are left for buffers
_KEPT_AT_THE_END = 2**62  # bytes: all that is free at the end of the heap, which grows there anyway
_FREED_AFTER = 0.2  # seconds: a result may be there before its buffer is free
_SETTLING = 5  # calls of a compiled program after which its buffers have found their places
_HEADER = ctypes.sizeof(ctypes.c_size_t)  # bytes between a block's last and the next one's first

_TUNED = threading.Event()  # set once malloc keeps its memory

P = ParamSpec("P")
R = TypeVar("R")


class MallInfo(ctypes.Structure):
    """The structure that glibc's mallinfo2 returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"),
            *("fordblks", "keepcost"),  # bytes in gaps; in the one at the end
        )
    )


def tune_malloc() -> bool:
    """Let malloc keep big buffers instead of mapping and unmapping them at every step; False where there is no glibc.

    Saves about a million page faults per training step on a CPU, at the price of memory that is held to the end of
    the process. It also fills the gaps that compilation leaves (`_fill_gaps`). Call it once, before big allocations.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        return False
    if hasattr(libc, "mallinfo2"):  # glibc 2.33 and later
        libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
        libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
        libc.malloc_usable_size.restype, libc.malloc_usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
        libc.mallinfo2.restype = MallInfo
        jax.monitoring.register_event_duration_secs_listener(functools.partial(_at_event, libc))
    _TUNED.set()
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 256 * 2**20, _ARENA_MAX: 1}
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in wanted.items())


def settled(run: Callable[P, R]) -> Callable[P, R]:
    """`run`, whose first calls wait for their results, and then give free memory back to the system.

    glibc may not find room for XLA's buffer where that of the call before lay, and takes as much again: 21 GB in place
    of 11 with EfficientNet-B3's step of 32 images. Malloc that was not tuned gives it back by itself: `run` as it is.
    """
    if not _TUNED.is_set():
        return run
    libc, left = ctypes.CDLL(None), _SETTLING

    @functools.wraps(run)
    def settling(*arguments: P.args, **named: P.kwargs) -> R:
        nonlocal left
        if not left:
            return run(*arguments, **named)
        left -= 1
        result = jax.block_until_ready(run(*arguments, **named))
        time.sleep(_FREED_AFTER)
        libc.malloc_trim(ctypes.c_size_t(_KEPT_AT_THE_END))
        return result

    return settling


def _at_event(libc: ctypes.CDLL, event: str, duration_secs: float, **_: str | int) -> None:
    if event == COMPILED and duration_secs > _LONG:
        _fill_gaps(libc)


def _fill_gaps(libc: ctypes.CDLL) -> None:
    """Take the small gaps in the heap out of use, for good, and give their memory back to the system.

    A compilation leaves some hundred thousand of them, of all sizes. glibc searches its lists of them at every
    allocation, while all threads wait, and XLA allocates at every iteration of a loop. A training step of
    EfficientNet-B3 took 1.2 s in the process that had compiled it, and 0.8 s in one that had read it from the cache.
    """
    libc.malloc_trim(0)
    heap = libc.mallinfo2()
    end = libc.sbrk(0) - heap.keepcost  # of the memory in use; beyond it malloc would grow the heap
    largest = heap.fordblks.bit_length()  # than all gaps together
    of_large: list[int] = []
    follows = set()  # addresses after those blocks: the rest of a large gap, which a buffer may fit exactly
    for exponent in range(largest, _SMALLEST - 1, -1):
        for block in _gaps(libc, 2**exponent, end):
            if exponent > _LARGEST or block in follows:
                of_large.append(block)
                follows.add(block + libc.malloc_usable_size(block) + _HEADER)
    for block in of_large:
        libc.free(block)


def _gaps(libc: ctypes.CDLL, size: int, end: int) -> list[int]:
    """Addresses of blocks of `size` bytes in all gaps before `end` that hold one."""
    blocks = []
    while block := libc.malloc(size):
        if block >= end:
            libc.free(block)
            break
        blocks.append(block)
    return blocks
