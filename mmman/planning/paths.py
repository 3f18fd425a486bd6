"""The best ends of blocks: shortest paths through all blocks, for every peak at once.

Blocks run one after the other, so their peaks do not add up; what their branches add between steps does. A plan's peak
is

    resident + sum of what its branches add + the largest of its blocks' peaks.

For every sum and every largest peak there is a shortest path; the frontier is made of the best of these.
"""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from .pareto import undominated
from .worlds import LocalBlocks, Worlds

# Largest peaks, and sums of what branches add, are told apart so finely: finer ones count as the next larger.
THRESHOLDS = 4000
SUMS = 48


@dataclass(frozen=True)
class Path:
    """Blocks one after the other.

    Args:
        peak (float): The most bytes at once, with what is resident.
        work (float): Their work.
        threshold (float): What the largest of their own peaks may be.
        added (int): What their branches may add in all.
    """

    peak: float
    work: float
    threshold: float
    added: int


class Paths:
    """Shortest paths through blocks.

    Args:
        worlds (Worlds): The blocks.
        least_blocks (int): The smallest K that is wanted. Defaults to 2.
    """

    def __init__(self, worlds: Worlds, least_blocks: int = 2) -> None:
        self.worlds = worlds
        self.least_blocks = max(2, least_blocks)
        self.blocks = list(worlds.local_blocks())
        grain = max((block.added for block in self.blocks), default=0) / SUMS
        self._grain = grain if len({block.added for block in self.blocks}) > SUMS / 4 else 0

    def frontier(self) -> list[Path]:
        """The best paths, by rising work and falling peak."""
        if not self.blocks:
            return []
        last_blocks = self.worlds.last_blocks
        peaks = np.unique(np.concatenate([f.peaks for f in (*(b.frontier for b in self.blocks), *last_blocks)]))
        if len(peaks) > THRESHOLDS:  # round up to some of them
            peaks = peaks[np.unique(np.linspace(0, len(peaks) - 1, THRESHOLDS).round().astype(int))]
        found = []
        for added, works in self._shortest(peaks).items():
            better = np.append(True, works[1:] < np.minimum.accumulate(works)[:-1]) & np.isfinite(works)
            for peak, work in zip(peaks[better].tolist(), works[better].tolist(), strict=True):
                found.append(Path(self.worlds.resident + added + peak, work, peak, added))
        return undominated(found, attrgetter('peak'), attrgetter('work'))

    def blocks_of(self, path: Path) -> list[LocalBlocks]:
        """The blocks of a path, but for the last, whose first unit follows them."""
        threshold = np.array([path.threshold])
        steps: dict[tuple, tuple] = {}
        ends = self._ends(threshold, steps)
        _, state = min(
            ((works[0], state) for state, works in ends.items() if state[1] <= path.added), key=lambda found: found[0]
        )
        blocks: list[LocalBlocks] = []
        while state in steps:
            block, state = steps[state]
            blocks.append(block)
        return blocks[::-1]

    def _shortest(self, peaks: np.ndarray) -> dict[int, np.ndarray]:
        """By the sum of what branches add, the least work within each largest peak."""
        found: dict[int, np.ndarray] = {}
        for (_, added, _, _), works in self._ends(peaks).items():
            found[added] = np.minimum(found[added], works) if added in found else works
        return found

    def _ends(self, peaks: np.ndarray, steps: dict | None = None) -> dict[tuple, np.ndarray]:
        """The least work of all paths to the end, by their last state: unit, sum, number of blocks, all local.

        With one peak, ``steps`` gets the block that each state was reached by, and the state before it.
        """
        by_first: dict[int, list[tuple[LocalBlocks, np.ndarray]]] = {}
        for block in self.blocks:
            works = block.frontier.within(peaks)
            if np.isfinite(works).any():
                by_first.setdefault(block.first, []).append((block, works))
        needed = self.least_blocks - 1
        states: dict[int, dict[tuple, np.ndarray]] = {0: {(0, 0, 0, False): np.zeros(len(peaks))}}
        ends: dict[tuple, np.ndarray] = {}
        for unit in range(self.worlds.count):
            here = _undominated(states.pop(unit, {}))
            for state, works in here.items():
                _, added, have, all_local = state
                if all_local:
                    if have >= needed:
                        ends[state] = works + self.worlds.last_blocks[unit].within(peaks)
                    continue
                for block, own in by_first.get(unit, ()):
                    total = works + own
                    if not np.isfinite(total).any():
                        continue
                    reached = (block.last + 1, self._sum(added, block.added), min(have + 1, needed), block.is_last)
                    known = states.setdefault(block.last + 1, {})
                    if steps is not None and (reached not in known or total[0] < known[reached][0]):
                        steps[reached] = (block, state)
                    known[reached] = np.minimum(known[reached], total) if reached in known else total
        return ends

    def _sum(self, added: int, more: int) -> int:
        total = added + more
        return int(np.ceil(total / self._grain) * self._grain) if self._grain else total


def _undominated(states: dict[tuple, np.ndarray]) -> dict[tuple, np.ndarray]:
    """Without those that add more than another one, and are nowhere better."""
    kept: dict[tuple, np.ndarray] = {}
    for state in sorted(states, key=lambda s: (s[1], -s[2])):
        works = states[state]
        if not any(other[3] == state[3] and other[2] >= state[2] and (kept[other] <= works).all() for other in kept):
            kept[state] = works
    return kept
