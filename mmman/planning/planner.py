"""Finds the fastest way to train a network within a memory, from what its parts cost."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import attrgetter

from mmengine.config import Config

from mmman.costs.part_costs import PartCost, PartCosts
from mmman.costs.variants import neck_and_heads

from .pareto import undominated

INFINITE = float('inf')


@dataclass(frozen=True)
class Plan:
    """A way to train, and what it is expected to cost.

    Args:
        name (str): ``'end to end'``, ``'end to end, with_cp'``, ``'end to end, all recomputed'`` or ``'MAN++'``.
        ends (tuple[str, ...]): The last segment of each block but the last.
        recomputed (tuple[int, ...]): Numbers of the blocks whose activations are recomputed.
        neck_and_heads_recomputed (bool): Whether those of neck and heads are.
        peak (int): The most bytes of live tensors at once.
        blocks (tuple[int, ...]): That of each block.
        flops (int): Floating point operations of a step.
        seconds (float): Time of a step, 0 where times were not measured.
    """

    name: str
    ends: tuple[str, ...]
    recomputed: tuple[int, ...]
    neck_and_heads_recomputed: bool
    peak: int
    blocks: tuple[int, ...]
    flops: int
    seconds: float

    @property
    def num_blocks(self) -> int:
        """K."""
        return len(self.ends) + 1

    @property
    def title(self) -> str:
        """The name, with K where there are several blocks."""
        return f'{self.name}, K={self.num_blocks}' if self.ends else self.name

    def lines(self, cfg: Config) -> str:
        """What to write into a config that inherits the one that was planned for, beside lean losses.

        Args:
            cfg (Config): That config.
        """
        if self.name == 'end to end':
            return '# the end-to-end config as it is'
        if self.name == 'end to end, with_cp':
            return '# in the end-to-end config\nmodel = dict(backbone=dict(with_cp=True))'
        partition = f'ends={list(self.ends)!r}' if self.ends else 'num_blocks=1'
        backbone = f'with_cp={list(self.recomputed)!r}, partition=dict(_delete_=True, {partition})'
        lines = [f'model = dict(backbone=dict({backbone}))']
        if self.neck_and_heads_recomputed:
            hooks = [dict(hook) for hook in cfg.get('custom_hooks', [])]
            hooks.append(dict(type='mmman.RecomputeHook', parts=neck_and_heads(cfg.model)))
            lines.append(f'custom_hooks = {hooks!r}')
        return '\n'.join(lines)


@dataclass(frozen=True, eq=False)
class _Choice:
    """A block that a plan may have: segments first..last, recomputed or not, and what follows them.

    The end is auxiliary network and local head, or neck and heads.
    """

    first: int
    last: int
    recomputed: tuple[bool, ...]  # of each segment
    end: PartCost
    is_last_local: bool | None  # None for the last block

    @property
    def is_local(self) -> bool:
        return self.is_last_local is not None


class Planner:
    """Plans from measured parts.

    Args:
        costs (PartCosts): What the parts cost.
    """

    def __init__(self, costs: PartCosts) -> None:
        self.costs = costs
        self.count = len(costs.segments)

    @cached_property
    def resident(self) -> int:
        """Bytes of the plain model and its optimizer states, and of the batch."""
        return (
            sum(s.resident for s in self.costs.segments)
            + self.costs.neck_and_heads[True, False].resident
            + self.costs.batch
        )

    # ------------------------------------------------------------------------------------------------ ways end to end

    def end_to_end(self) -> Plan:
        """Nothing recomputed."""
        return self._in_one_block('end to end', [False] * self.count, False)

    def with_cp(self) -> Plan:
        """All units recomputed, the stem not: what the toolboxes' ``with_cp=True`` does."""
        return self._in_one_block('end to end, with_cp', [i > 0 for i in range(self.count)], False)

    def recompute_all(self) -> Plan:
        """Everything recomputed."""
        return self._in_one_block('end to end, all recomputed', [True] * self.count, True)

    def _in_one_block(self, name: str, recomputed: list[bool], neck_and_heads_recomputed: bool) -> Plan:
        end = self.costs.neck_and_heads[True, neck_and_heads_recomputed]
        return self._plan((_Choice(0, self.count - 1, tuple(recomputed), end, None),), name, neck_and_heads_recomputed)

    # -------------------------------------------------------------------------------------------------- local learning

    def fastest(self, memory: float = INFINITE, by: str = 'flops', least_blocks: int = 2) -> Plan | None:
        """The plan for local learning with the least work that fits.

        Args:
            memory (float): Bytes. Defaults to infinity.
            by (str): What work is: ``'flops'`` or ``'seconds'``. Defaults to ``'flops'``.
            least_blocks (int): The smallest K that is wanted. Defaults to 2.

        Returns:
            Plan | None: The plan, or None if nothing fits.
        """
        found = [plan for plan in self.frontier(by, least_blocks) if plan.peak <= memory]
        exact = self._fit(memory, by, least_blocks)
        return min([*found, *([exact] if exact else [])], key=attrgetter(by), default=None)

    @lru_cache  # noqa: B019 - a planner lives as long as its plans are wanted
    def frontier(self, by: str = 'flops', least_blocks: int = 2) -> tuple[Plan, ...]:
        """Plans for local learning that no other one beats in both, by rising work, in steps of 1 % of memory or more.

        Args:
            by (str): See :meth:`fastest`.
            least_blocks (int): See :meth:`fastest`.
        """
        plans, memory = [], INFINITE
        while (plan := self._fit(memory, by, least_blocks)) is not None:
            plans.append(plan)
            memory = 0.99 * plan.peak
        return tuple(undominated(plans, attrgetter('peak'), attrgetter(by)))

    def _fit(self, memory: float, by: str, least_blocks: int) -> Plan | None:
        # Auxiliary networks and local heads are resident, too, and how many there are depends on the plan. What is
        # reckoned with here may be more than the plan then adds, so that a better one is missed.
        added = 0
        while True:
            blocks = self._shortest(memory - self.resident - added, by, least_blocks)
            if blocks is None:
                return None
            plan = self._plan(blocks, 'MAN++', blocks[-1].end is self.costs.neck_and_heads[False, True])
            if plan.peak <= memory:
                return plan
            added = _added(blocks)

    def _shortest(self, budget: float, by: str, least_blocks: int) -> tuple[_Choice, ...] | None:
        """Shortest path over the ends of blocks, through blocks that need no more than the budget."""
        # By the next segment, the number of blocks so far (no further than it matters), and whether only the last block
        # may follow: the least work, and its blocks.
        found: dict[tuple[int, int, bool], tuple[float, tuple[_Choice, ...]]] = {(0, 0, False): (0.0, ())}
        best: tuple[float, tuple[_Choice, ...] | None] = (INFINITE, None)
        for first in range(self.count):
            for have in range(least_blocks):
                work, blocks = found.get((first, have, False), (INFINITE, ()))
                for block in self._local_blocks(first) if work < INFINITE else ():
                    place = (block.last + 1, min(have + 1, least_blocks - 1), block.is_last_local)
                    total = work + self._work_of(block, by)
                    if total < found.get(place, (INFINITE,))[0] and self._peak_of(block) <= budget:
                        found[place] = (total, (*blocks, block))
            work, blocks = found.get((first, least_blocks - 1, True), (INFINITE, ()))
            for block in self._last_blocks(first) if work < INFINITE else ():
                total = work + self._work_of(block, by)
                if total < best[0] and self._peak_of(block) <= budget:
                    best = (total, (*blocks, block))
        return best[1]

    @lru_cache  # noqa: B019
    def _local_blocks(self, first: int) -> list[_Choice]:
        """Blocks that begin here and have something to learn."""
        return [
            _Choice(
                first, last, (recomputed,) * (last + 1 - first), self.costs.local[last, is_last, recomputed], is_last
            )
            for last in range(first, self.count - 1)
            if any(part.gradients for part in self.costs.segments[first : last + 1])
            for is_last in (False, True)
            for recomputed in (False, True)
        ]

    @lru_cache  # noqa: B019
    def _last_blocks(self, first: int) -> list[_Choice]:
        return [
            _Choice(first, self.count - 1, (recomputed,) * (self.count - first), end, None)
            for recomputed in (False, True)
            for end in (self.costs.neck_and_heads[False, False], self.costs.neck_and_heads[False, True])
        ]

    def _peak_of(self, block: _Choice) -> int:
        """The most bytes while a block is at work, beyond what stays between steps."""
        return self._received(block.first) + self._own_peak(block)

    def _received(self, first: int) -> int:
        """What earlier blocks have handed on: their output, and features for the neck."""
        handed_on = {i for i in range(first) if self.costs.closes[i]} | ({first - 1} if first else set())
        return sum(self.costs.segments[i].output for i in handed_on)

    @lru_cache  # noqa: B019
    def _own_peak(self, block: _Choice) -> int:
        parts = self.costs.segments[block.first : block.last + 1]
        closes = self.costs.closes[block.first : block.last + 1]
        alive, peak, before = 0, 0, []
        for part, recomputed in zip(parts, block.recomputed, strict=True):
            before.append(alive)
            peak = max(peak, alive + part.forward)
            alive += part.output if recomputed else part.kept
        peak = max(peak, alive + block.end.forward, alive + block.end.backward)

        # Backwards. Of a local block the output and the features for the neck outlive the graph; of the last block the
        # features' gradients, which come from the neck, wait for theirs.
        gradients = block.end.gradients
        held = [closes[i] or (block.is_local and i == len(parts) - 1) for i in range(len(parts))]
        outputs = [part.output * keep for part, keep in zip(parts, held, strict=True)]
        for i in reversed(range(len(parts))):
            others = sum(outputs[i + 1 :] if block.is_local else outputs[:i])
            peak = max(peak, before[i] + parts[i].backward + gradients + others)
            gradients += parts[i].gradients
        return peak

    @lru_cache  # noqa: B019
    def _work_of(self, block: _Choice, by: str) -> float:
        parts = self.costs.segments[block.first : block.last + 1]
        again = sum(
            getattr(part, by)[0] for part, recomputed in zip(parts, block.recomputed, strict=True) if recomputed
        )
        return again + sum(sum(getattr(part, by)) for part in (*parts, block.end))

    def _plan(self, blocks: tuple[_Choice, ...], name: str, neck_and_heads_recomputed: bool) -> Plan:
        peaks = tuple(self.resident + _added(blocks) + self._peak_of(block) for block in blocks)
        return Plan(
            name=name,
            ends=tuple(self.costs.names[block.last] for block in blocks[:-1]),
            recomputed=tuple(i for i, block in enumerate(blocks, start=1) if all(block.recomputed)),
            neck_and_heads_recomputed=neck_and_heads_recomputed,
            peak=max(peaks),
            blocks=peaks,
            flops=round(sum(self._work_of(block, 'flops') for block in blocks)),
            seconds=sum(self._work_of(block, 'seconds') for block in blocks),
        )


def _added(blocks: tuple[_Choice, ...]) -> int:
    """Bytes of auxiliary networks and local heads with their optimizer states."""
    return sum(block.end.resident for block in blocks if block.is_local)
