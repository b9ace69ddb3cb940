"""What is decoded once, as far as memory is given for it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """`kept[i]` is `read(i)`. The first ones asked for are kept, as long as they take `megabytes` at most together.

    An epoch asks for everything once: to keep the latest in place of the first would keep none long enough. `size`
    gives the bytes of one. Threads may ask at the same time.
    """

    def __init__(self, read: Callable[[int], Item], size: Callable[[Item], int], megabytes: float) -> None:
        self._read, self._size = read, size
        self._kept: dict[int, Item] = {}
        self._bytes_left = 1e6 * megabytes
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Item:
        if (kept := self._kept.get(index)) is not None:
            return kept
        item = self._read(index)
        with self._lock:
            if index not in self._kept and self._size(item) <= self._bytes_left:
                self._kept[index] = item
                self._bytes_left -= self._size(item)
        return item
