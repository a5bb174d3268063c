"""What was made once and is likely to be wanted again, up to a number of bytes."""

from __future__ import annotations

import gc
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from types import FunctionType, ModuleType
from typing import Any, Generic, TypeVar

V = TypeVar("V")
_NO_DATA = (type, ModuleType, FunctionType, re.Pattern)


class Memory(Generic[V]):
    """Makes values, and forgets those first that have not been wanted for longest.

    :param make: makes the value for a key; what it raises is not remembered.
    :param limit: bytes of all keys and values together. What is larger by itself is made each time.
    :param count: how many values at most.
    """

    def __init__(self, make: Callable[..., V], limit: int, count: int) -> None:
        self._make, self._limit, self._count = make, limit, count
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self.bytes = 0

    def __call__(self, *key: Hashable) -> V:
        """Return the value for *key*, the arguments of ``make``."""
        with self._lock:
            if found := self._values.get(key):
                self._values.move_to_end(key)
                return found[0]
        value = self._make(*key)
        size = size_of((key, value))
        with self._lock:
            if size <= self._limit and key not in self._values:
                self._values[key] = value, size
                self.bytes += size
                while self.bytes > self._limit or len(self._values) > self._count:
                    self.bytes -= self._values.popitem(last=False)[1][1]
        return value


def size_of(value: Any) -> int:
    """Return the bytes of *value* and of all data that it leads to, each counted once."""
    seen: set[int] = set()
    total, ahead = 0, [value]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or isinstance(each, _NO_DATA):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        ahead += gc.get_referents(each)
    return total
