"""A property that is computed when it is first asked for, and once for each object; other objects do not wait for it."""

import threading
from functools import cached_property
from typing import Any, TypeVar, overload

T = TypeVar("T")
_NOT_YET = object()


class lazy(cached_property[T]):  # a decorator, spelt like the one it stands in for
    """functools.cached_property with a lock for each object. Before Python 3.12 that has one lock for all objects of a class, so
    one person's merge would wait until another's is made; from 3.12 on it has none, and two threads that ask at once compute twice.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> "lazy[T]": ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        assert self.attrname is not None
        kept, waits = vars(instance), f"{self.attrname} is computed"
        with kept.setdefault(waits, threading.RLock()):  # one call: no other thread comes between
            try:
                if (found := kept.get(self.attrname, _NOT_YET)) is _NOT_YET:
                    found = kept[self.attrname] = self.func(instance)
            finally:
                kept.pop(waits, None)  # an object that is copied or saved carries no lock
        return found
