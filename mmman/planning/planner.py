"""Finds the way to train a network within a memory that takes the least work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mmman.costs.part_costs import KEEP, Option, PartCosts
from mmman.costs.timeline import Work
from mmman.memory.recompute import MODES
from mmman.models.with_cp import TO

from .frontier import Frontier
from .paths import Path, Paths
from .worlds import Worlds

END_TO_END, LOCAL_LEARNING = 'end to end', 'MAN++'
# Whether blocks may learn locally: 'if-better' than end to end by this share of work.
CHOICES = ('never', 'always', 'if-better')
BETTER_BY = 0.03
# For amounts of work: what breaks ties between plans of the same FLOPs is less than this share.
SLACK = 1e-4


@dataclass(frozen=True)
class Plan:
    """A way to train, and what it is expected to cost.

    Args:
        name (str): ``'end to end'`` or ``'MAN++'``.
        ends (tuple[str, ...]): The last segment of each block but the last.
        backbone (dict[str, str]): How segments and auxiliary networks (``local.<place>``) are recomputed, by name.
        behind (dict[str, str]): How calls of neck and heads are recomputed, by name.
        peak (int): The most bytes of live tensors at once.
        blocks (tuple[int, ...]): That of each block.
        work (Work): The work of a step.
        ways (tuple[tuple[Option, ...], ...]): How each block runs, step by step.
    """

    name: str
    ends: tuple[str, ...]
    backbone: dict[str, str]
    behind: dict[str, str]
    peak: int
    blocks: tuple[int, ...]
    work: Work
    ways: tuple[tuple[Option, ...], ...] = field(repr=False)

    @property
    def num_blocks(self) -> int:
        """K."""
        return len(self.ends) + 1

    @property
    def title(self) -> str:
        """The name, with K where there are several blocks, and how much is recomputed."""
        name = f'{self.name}, K={self.num_blocks}' if self.ends else self.name
        modes = Counter([*self.backbone.values(), *self.behind.values()])
        parts = [f'{modes[mode]} {mode}' for mode in MODES if modes[mode]]
        return f'{name} ({", ".join(parts)})' if parts else name


class Planner:
    """Plans from measured parts.

    Args:
        costs (PartCosts): What the parts cost.
        by (str): What work is: ``'flops'`` or ``'seconds'``. Defaults to ``'flops'``.
        least_blocks (int): The smallest K of local learning that is wanted. Defaults to 2.
    """

    def __init__(self, costs: PartCosts, by: str = 'flops', least_blocks: int = 2) -> None:
        self.costs = costs
        self.worlds = Worlds(costs, by)
        self._paths = Paths(self.worlds, least_blocks)

    @property
    def by(self) -> str:
        """What work is."""
        return self.worlds.by

    def amount(self, plan: Plan) -> float:
        """A plan's work as one number."""
        return getattr(plan.work, self.by)

    # ------------------------------------------------------------------------------------------------------ the worlds

    def end_to_end(self) -> Plan:
        """Nothing recomputed."""
        return self._in_one_block(len(self._one_block) - 1)

    def best_end_to_end(self, memory: float) -> Plan | None:
        """The plan end to end with the least work that fits, or None if none does."""
        i = int(np.searchsorted(self._one_block.peaks, memory - self.worlds.resident, side='right')) - 1
        return self._in_one_block(i) if i >= 0 else None

    def best_local(self, memory: float) -> Plan | None:
        """The plan for local learning with the least work that fits, or None if none does."""
        fitting = [path for path in self._local if path.peak <= memory]
        return self._along(min(fitting, key=lambda path: path.work)) if fitting else None

    def smallest_end_to_end(self, work: float) -> Plan:
        """The plan end to end that needs the fewest bytes, of those with no more work; that with the least if none."""
        works = self._one_block.works
        fitting = np.flatnonzero(works <= work * (1 + SLACK))
        return self._in_one_block(int(fitting[0]) if len(fitting) else len(works) - 1)

    def smallest_local(self, work: float) -> Plan | None:
        """The plan of local learning that needs the fewest bytes, of those with no more work; None if none has."""
        fitting = [path for path in self._local if path.work <= work * (1 + SLACK)]
        return self._along(min(fitting, key=lambda path: path.peak)) if fitting else None

    def best(self, memory: float, local_learning: str = 'if-better') -> Plan | None:
        """The plan with the least work that fits, or None if none does.

        Args:
            memory (float): Bytes.
            local_learning (str): Whether blocks may learn locally: ``'never'``, ``'always'``, or ``'if-better'`` than
                end to end by 3 % of work, because end to end changes nothing about what is learned.
        """
        if local_learning == 'never':
            return self.best_end_to_end(memory)
        if local_learning == 'always' or self._takes_local(memory):
            return self.best_local(memory)
        return self.best_end_to_end(memory)

    def _takes_local(self, memory: float) -> bool:
        """Whether local learning is better by so much, or was with less memory, and end to end is not as good yet."""
        points = [(peak, END_TO_END, work) for peak, work in self.frontier(END_TO_END)]
        points += [(peak, LOCAL_LEARNING, work) for peak, work in self.frontier(LOCAL_LEARNING)]
        least = {END_TO_END: np.inf, LOCAL_LEARNING: np.inf}
        so_far, takes_local = np.inf, False
        for peak, name, work in sorted(points):
            if peak > memory:
                break
            least[name] = min(least[name], work)
            better = least[LOCAL_LEARNING] <= (1 - BETTER_BY) * least[END_TO_END]
            takes_local = better or least[END_TO_END] > so_far
            so_far = least[LOCAL_LEARNING] if takes_local else least[END_TO_END]
        return takes_local

    def least(self, local_learning: str = 'if-better') -> Plan:
        """The plan that needs the fewest bytes."""
        plans = [self._in_one_block(0)] if local_learning != 'always' or not self._local else []
        plans += [self._along(self._local[-1])] if local_learning != 'never' and self._local else []
        return min(plans, key=lambda plan: plan.peak)

    def frontier(self, name: str) -> list[tuple[float, float]]:
        """Peak and work of the plans of one world that no other one beats in both, by rising work.

        Args:
            name (str): ``'end to end'`` or ``'MAN++'``.
        """
        if name == LOCAL_LEARNING:
            return [(path.peak, path.work) for path in self._local]
        peaks = self.worlds.resident + self._one_block.peaks
        return list(zip(peaks.tolist(), self._one_block.works.tolist(), strict=True))[::-1]

    @cached_property
    def _one_block(self) -> Frontier:
        return self.worlds.last_blocks[0]

    @cached_property
    def _local(self) -> list[Path]:
        return self._paths.frontier()

    # ------------------------------------------------------------------------------------------ from ways to plans

    def _in_one_block(self, i: int) -> Plan:
        way = self._one_block.choices_of(i)
        peak = round(self.worlds.resident + self._one_block.peaks[i])
        return self._plan(END_TO_END, (), [way], (peak,), 0)

    def _along(self, path: Path) -> Plan:
        blocks, units = self._paths.blocks_of(path), self.costs.units
        added = sum(block.added for block in blocks)
        frontiers = [(block.frontier, place_of(units[block.last].name)) for block in blocks]
        frontiers.append((self.worlds.last_blocks[blocks[-1].last + 1], ''))
        ways, peaks = [], []
        for frontier, place in frontiers:
            i = int(np.searchsorted(frontier.peaks, path.threshold, side='right')) - 1
            own = frontier.choices_of(i)
            if place:
                own[-2] = replace(own[-2], part=place)  # the auxiliary network, before the local head
            ways.append(own)
            peaks.append(round(self.worlds.resident + added + frontier.peaks[i]))
        ends = tuple(units[block.last].name for block in blocks)
        return self._plan(LOCAL_LEARNING, ends, ways, tuple(peaks), blocks[-1].last + 1)

    def _plan(
        self, name: str, ends: tuple[str, ...], ways: Sequence[Sequence[Option]], peaks: tuple[int, ...], first: int
    ) -> Plan:
        """The plan whose last block begins with unit ``first``."""
        options = [option for way in ways for option in way]
        names = {name for unit in self.costs.units for name in (unit.name, place_of(unit.name))}
        recomputed = {o.part: o.mode for o in options if o.part is not None and o.mode != KEEP}
        return Plan(
            name=name,
            ends=ends,
            backbone={part: mode for part, mode in recomputed.items() if part.partition(TO)[0] in names},
            behind={part: mode for part, mode in recomputed.items() if part.partition(TO)[0] not in names},
            peak=max(peaks),
            blocks=peaks,
            work=sum((option.work for option in options), start=self.worlds.heads_behind(first).work),
            ways=tuple(map(tuple, ways)),
        )


def place_of(segment: str) -> str:
    """The name of the auxiliary network that stands at a segment."""
    return f'local.{segment.replace(".", "_")}'
