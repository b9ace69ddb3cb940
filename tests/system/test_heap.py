"""glibc's malloc as the programs set it, in a process of its own: the settings hold to the end of one."""

import json
import subprocess
import sys

import pytest

# The gaps are counted that a block of 8 KB finds before malloc would grow the heap.
PROGRAM = """
import ctypes, json, os, sys
import jax
from wbcjax.system import heap

BUFFER = 2**26 + 300_000  # bytes, in no way round
libc = ctypes.CDLL(None)
if os.name != "posix" or not hasattr(libc, "mallinfo2"):
    sys.exit()
heap.tune_malloc()
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.free.argtypes = libc.malloc.argtypes = [ctypes.c_size_t]
libc.mallinfo2.restype = heap.MallInfo

def gaps(size):
    end, blocks = libc.sbrk(0) - libc.mallinfo2().keepcost, []
    while not blocks or blocks[-1] < end:
        blocks.append(libc.malloc(size))
    for block in blocks:
        libc.free(block)
    return len(blocks) - 1

blocks = [libc.malloc(9000 + 48 * i) for i in range(1000)]
buffer, last = libc.malloc(BUFFER), libc.malloc(2**20)
for block in [*blocks[::2], buffer]:
    libc.free(block)
found = [gaps(2**13)]
for event, seconds in (("/some/other", 9.0), (heap.COMPILED, 0.1), (heap.COMPILED, 9.0)):
    jax.monitoring.record_event_duration_secs(event, seconds)
    found.append(gaps(2**13))
json.dump({"small": found, "large": gaps(BUFFER)}, sys.stdout)
"""


def test_gaps_left_by_compiling_are_filled():
    """Gaps that a long compilation leaves are filled and those for big buffers stay."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    if not run.stdout:
        pytest.skip("glibc 2.33 and later has mallinfo2")
    found = json.loads(run.stdout)
    *before, after = found["small"]
    assert len(set(before)) == 1  # by other events and short compilations nothing changes
    assert before[0] > 2**13 + 500
    assert after <= 2**13 + 37  # those of the buffer
    assert found["large"] == 1


SETTLED = """
import ctypes, json, os, sys
from wbcjax.system import heap

SIZE = 2**28  # bytes
libc = ctypes.CDLL(None)
if os.name != "posix" or not hasattr(libc, "mallinfo2"):
    sys.exit()
assert heap.settled(len) is len, "malloc is as it is"
heap.tune_malloc()
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

def run():
    "Uses a large buffer, behind which something stays in use."
    buffer = libc.malloc(SIZE)
    ctypes.memset(buffer, 1, SIZE)
    libc.malloc(2**20)
    libc.free(buffer)
    return 7

settled, held = heap.settled(run), []
for work in (run, *[settled] * (heap._SETTLING + 1)):
    before = megabytes()
    assert work() == 7
    held.append(megabytes() - before)
json.dump(held, sys.stdout)
"""


def test_the_first_calls_of_a_program_give_their_buffers_back():
    """A settled program gives free buffers back after its first calls and keeps them after."""
    run = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    if not run.stdout:
        pytest.skip("glibc 2.33 and later has mallinfo2")
    plain, *settling, at_last = json.loads(run.stdout)
    assert plain > 250
    assert all(held < 5 for held in settling)
    assert at_last > 250
