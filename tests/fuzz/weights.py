"""Attacks on the readers of weights: whatever a file holds, `read_weights` returns arrays or raises ValueError.

    python -m tests.fuzz.weights --runs 20000 --seed 1 [--kind h5]

Each thousand inputs run in a process of their own, as C libraries that read a damaged file may end it. An input that
does anything else is kept in --findings, and told at the end.
"""

import argparse
import multiprocessing
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import Choose, mutated_bytes
from tests.fuzz.sandbox import Escape, folder, watch
from tests.weights.pickled import write_torch
from tests.weights.test_malicious_files import ARRAYS, WHOLE

KINDS = (*sorted(WHOLE), "pth", "noise")
CHUNK = 1000  # inputs of a process
STARTS = (b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"\x80\2", b"\x80\4", b"\x10" + b"\0" * 7 + b"{", b"\xff" * 8 + b"{")


def make(kind: str, whole: bytes, choose: Choose) -> bytes:
    """A damaged file; one byte in most, at its start or end in many, where formats keep what all else hangs on."""
    if kind == "noise":
        return STARTS[choose(len(STARTS))] + bytes(choose(256) for _ in range(choose(300)))
    if choose(3) == 0:
        return mutated_bytes(whole, choose)
    raw = bytearray(whole)
    for _ in range(1 + choose(3)):
        end = (len(raw), min(200, len(raw)), min(2000, len(raw)))[choose(3)]
        place = choose(end) if choose(2) else len(raw) - 1 - choose(end)
        values = bytes([choose(256)]), b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x01\0\0\0"
        value = values[choose(len(values))]
        raw[place : place + len(value)] = value
    return bytes(raw)


def attempt(path: Path, data: bytes) -> None:
    """Read bytes as a weights file. Raises what it may not raise, and Escape."""
    from wbcjax.weights.files import read_weights

    path.write_bytes(data)
    with watch(path.parent):
        try:
            arrays = read_weights(path).arrays
        except ValueError as error:
            if not str(error).startswith(str(path)):
                raise AssertionError(f"the error does not name the file: {error}") from error
            return
    if sum(array.nbytes for array in arrays.values()) > 8 * len(data):
        raise AssertionError("more than the file holds")


def run(kind: str, runs: int, seed: int, findings: Path) -> list[str]:
    """Attack the reader of a kind of file. Returns a line for each kind of finding."""
    told: dict[str, str] = {}
    with folder() as place:
        whole = WHOLE.get(kind) or write_torch(place / "whole", ARRAYS).read_bytes()
        for start in range(seed, seed + runs, CHUNK):
            numbers = range(start, min(start + CHUNK, seed + runs))
            with multiprocessing.get_context("fork").Manager() as manager:
                found = manager.dict()
                child = multiprocessing.get_context("fork").Process(
                    target=_chunk, args=(kind, whole, numbers, place, found)
                )
                child.start()
                child.join()
                kinds = dict(found)
            if child.exitcode:
                kinds[f"the process ended with {child.exitcode}"] = f"{kind} from {start}"
                findings.mkdir(parents=True, exist_ok=True)
                (findings / f"{kind}_crash_{start}").write_bytes((place / "weights").read_bytes())
            for name, line in kinds.items():
                told.setdefault(name, line)
    return list(told.values())


def _chunk(kind: str, whole: bytes, numbers: range, place: Path, found: dict[str, str]) -> None:
    for number in numbers:
        try:
            attempt(place / "weights", make(kind, whole, random.Random(number).randrange))
        except (Exception, Escape) as error:
            name = f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1][:3]}"
            found[name] = f"{kind} {number}: {error!r:.300} {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="(default: all)")
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder for files that end a process")
    options = parser.parse_args()
    for kind in [options.kind] if options.kind else KINDS:
        begun = time.monotonic()
        told = run(kind, options.runs, options.seed, options.findings)
        speed = options.runs / (time.monotonic() - begun)
        sys.stdout.write(f"{kind}: {options.runs} inputs, {speed:.0f} a second, {len(told)} findings\n")
        sys.stdout.write("".join(f"  {line}\n" for line in told))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
