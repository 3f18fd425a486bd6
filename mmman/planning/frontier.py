"""All worthwhile ways through a chain of parts at once: the least work for every peak.

A chain runs forwards from its first part to its last, and backwards in the reverse order. What a part keeps is alive
while all later parts run. So the peak of a way is, from the last part to the first,

    peak(part, later parts) = max(forward(part), backward(part), kept(part) + peak(later parts)),

and of two ways through the later parts of which one needs no more bytes and no more work, the other is never wanted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# A longer frontier is thinned.
LONGEST = 2000


@dataclass(frozen=True, eq=False)
class Frontier:
    """Ways of which none needs both more bytes and more work than another one.

    Args:
        peaks (np.ndarray): Bytes that each needs, rising.
        works (np.ndarray): Its work, falling.
        choices (np.ndarray): The number of the choice that it begins with.
        nexts (np.ndarray): The number of the way that it goes on with.
        taken (Sequence): The choices, each with the frontier that follows it, or None.
    """

    peaks: np.ndarray
    works: np.ndarray
    choices: np.ndarray
    nexts: np.ndarray
    taken: Sequence[tuple[Any, 'Frontier | None']]

    def __len__(self) -> int:
        return len(self.peaks)

    def within(self, peaks: np.ndarray) -> np.ndarray:
        """The least work within each of several peaks; infinite where nothing fits."""
        works = np.append(self.works, np.inf)  # -1: nothing
        return works[np.searchsorted(self.peaks, peaks, side='right') - 1]

    def raised(self, more: float) -> 'Frontier':
        """The same ways with some bytes more."""
        return replace(self, peaks=self.peaks + more)

    def at_least(self, floor: float) -> 'Frontier':
        """The same ways where something else needs so many bytes: the way of the least work stands for all below."""
        first = max(int(np.searchsorted(self.peaks, floor, side='right')) - 1, 0)
        return replace(
            self,
            peaks=np.maximum(self.peaks[first:], floor),
            works=self.works[first:],
            choices=self.choices[first:],
            nexts=self.nexts[first:],
        )

    def choices_of(self, i: int) -> list[Any]:
        """The choices of way ``i``, in order."""
        found, frontier = [], self
        while frontier is not None:
            choice, following = frontier.taken[frontier.choices[i]]
            found.append(choice)
            i, frontier = frontier.nexts[i], following
        return found


@dataclass(frozen=True)
class Step:
    """One way to run the part that comes first.

    Args:
        choice (Any): What it is.
        floor (float): Bytes that its own forward and backward need.
        kept (float): Bytes that are alive while what follows runs.
        work (float): Its work.
        following (Frontier, optional): What follows; None at the end.
    """

    choice: Any
    floor: float
    kept: float
    work: float
    following: Frontier | None


def frontier_of(steps: Iterable[Step], step: float) -> Frontier:
    """The frontier of all ways that begin with one of some steps.

    Args:
        steps (Iterable[Step]): The steps.
        step (float): Of a very long frontier, ways whose work differs by less count as one: the one that needs fewer
            bytes stays.
    """
    steps = list(steps)
    peaks, works, choices, nexts = [], [], [], []
    for number, each in enumerate(steps):
        if each.following is None:
            peak, work = np.array([each.floor], float), np.array([each.work], float)
        else:
            peak = np.maximum(each.floor, each.kept + each.following.peaks)
            work = each.work + each.following.works
        peaks.append(peak)
        works.append(work)
        choices.append(np.full(len(peak), number))
        nexts.append(np.arange(len(peak)))
    taken = [(each.choice, each.following) for each in steps]
    return _undominated(*map(np.concatenate, (peaks, works, choices, nexts)), step, taken)


def _undominated(
    peaks: np.ndarray,
    works: np.ndarray,
    choices: np.ndarray,
    nexts: np.ndarray,
    step: float,
    taken: Sequence[tuple[Any, Frontier | None]],
) -> Frontier:
    order = np.lexsort((works, peaks))
    works = works[order]
    least = np.minimum.accumulate(works)
    better = np.append(True, least[1:] < least[:-1]) if len(works) else np.zeros(0, bool)
    order, works = order[better], works[better]
    if len(works) > LONGEST and step > 0:  # of ways of nearly the same work, the first needs the fewest bytes
        bucket = np.floor(works / step)
        stays = np.append(True, bucket[1:] < bucket[:-1])
        stays[-1] = True
        order, works = order[stays], works[stays]
    return Frontier(peaks[order], works, choices[order], nexts[order], taken)
