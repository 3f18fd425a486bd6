"""Finds keys of a config that nobody reads."""

from collections import Counter
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any


class AskedKeys(dict):
    """A dict that counts how often each of its keys was asked for.

    Who copies it or iterates over it may read every key by that: all of them count as asked for. Printing it asks for
    none.

    Args:
        entries (dict): The entries.

    Attributes:
        asked (Counter): By key, how often it was asked for.
    """

    def __init__(self, entries: dict) -> None:
        super().__init__(entries)
        self.asked: Counter = Counter()

    def __getitem__(self, key: Any) -> Any:
        self.asked[key] += 1
        return super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        # As a ConfigDict, which the constructors of the toolboxes are otherwise given.
        if name not in dict.keys(self):
            raise AttributeError(f'no entry {name!r}')
        return self[name]

    def __contains__(self, key: Any) -> bool:
        self.asked[key] += 1
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """See ``dict.get``."""
        self.asked[key] += 1
        return super().get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        """See ``dict.pop``."""
        self.asked[key] += 1
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """See ``dict.setdefault``."""
        self.asked[key] += 1
        return super().setdefault(key, default)

    def __iter__(self) -> Iterator:
        self._ask_for_all()
        return super().__iter__()

    def keys(self) -> KeysView:
        """See ``dict.keys``."""
        self._ask_for_all()
        return super().keys()

    def values(self) -> ValuesView:
        """See ``dict.values``."""
        self._ask_for_all()
        return super().values()

    def items(self) -> ItemsView:
        """See ``dict.items``."""
        self._ask_for_all()
        return super().items()

    def copy(self) -> dict:
        """See ``dict.copy``."""
        self._ask_for_all()
        return super().copy()

    def _ask_for_all(self) -> None:
        self.asked.update(list(super().keys()))
