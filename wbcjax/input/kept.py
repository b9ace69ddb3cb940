"""Decoded items kept in memory, within a limit."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """`kept[i]` is `read(i)`. The first items that are read stay in memory, up to `megabytes` together.

    An epoch reads every item once: a cache of the latest items would drop each before it is read again. `size` gives
    the bytes of an item. Several threads may read at the same time.
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
