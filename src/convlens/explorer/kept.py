"""What was used last is kept, up to a bound; the rest goes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A dictionary that forgets what was not used for longest once it weighs more than `most`.

    weight: of a value, by default 1. The newest value stays even where it alone weighs more.
    Several threads may use it at once.
    """

    def __init__(self, most: int, weight: Callable[[Value], int] = lambda value: 1):
        self.most, self.weight = most, weight
        self.total = 0
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> Value | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: object, value: Value) -> Value:
        """Keep `value`, and return it."""
        with self._lock:
            self._drop(key)
            self._values[key] = value
            self.total += self.weight(value)
            while self.total > self.most and len(self._values) > 1:
                self._drop(next(iter(self._values)))
        return value

    def made(self, key: object, make: Callable[[], Value]) -> Value:
        """What is kept, else what `make` makes, which then is."""
        found = self.get(key)
        return self.put(key, make()) if found is None else found

    def _drop(self, key: object) -> None:
        if key in self._values:
            self.total -= self.weight(self._values.pop(key))
