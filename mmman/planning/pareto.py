"""Which of several ways are worth their memory."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar('T')


def undominated(ways: Iterable[T], memory: Callable[[T], float], work: Callable[[T], float]) -> list[T]:
    """Leave out every way that another one equals or beats in both memory and work.

    Args:
        ways (Iterable): The ways.
        memory (Callable): Gives a way's memory.
        work (Callable): Gives a way's work.

    Returns:
        list: The others, by rising work and falling memory.
    """
    best: list[T] = []
    for way in sorted(ways, key=lambda way: (work(way), memory(way))):
        if not best or memory(way) < memory(best[-1]):
            best.append(way)
    return best
