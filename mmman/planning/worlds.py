"""All worthwhile ways to train a network, end to end and in blocks, from what its parts cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mmman.costs.live_bytes import Peak
from mmman.costs.part_costs import Branch, Heads, Option, PartCosts
from mmman.costs.timeline import Work

from .frontier import Frontier, Step, frontier_of
from .runs import LONGEST_RUN, ways_through

# Of ways with the same FLOPs the one that computes fewer bytes again: this is what a byte counts for.
FLOPS_OF_A_BYTE = 1e-3
# The work of a way may be more than the least by this share, where frontiers are very long.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class LocalBlocks:
    """All ways to run one block but the last, with its auxiliary network and local head.

    Args:
        first (int): Its first unit.
        last (int): Its last unit.
        is_last (bool): Whether it is the last block but one.
        added (int): Bytes that its branch adds between steps: parameters, buffers and states.
        frontier (Frontier): The ways: peaks are beyond what is resident.
    """

    first: int
    last: int
    is_last: bool
    added: int
    frontier: Frontier


class Worlds:
    """All ways through a network, block by block.

    Args:
        costs (PartCosts): What the parts cost.
        by (str): What work is: ``'flops'`` or ``'seconds'``. Defaults to ``'flops'``.
    """

    def __init__(self, costs: PartCosts, by: str = 'flops') -> None:
        self.costs = costs
        self.by = by
        self.count = len(costs.units)
        parts = self.count + max(heads.length for heads in costs.heads.values())
        heads = max(self.amount(heads.work) for heads in costs.heads.values())
        self.step = TOLERANCE * (heads + sum(self.amount(u.ways['keep'].work) for u in costs.units)) / parts

    def amount(self, work: Work) -> float:
        """Work as one number."""
        return work.seconds if self.by == 'seconds' else work.flops + FLOPS_OF_A_BYTE * work.moved

    @cached_property
    def resident(self) -> int:
        """Bytes of the plain model, its optimizer states and the batch; of gradients where they stay."""
        return self.costs.resident + self.staying

    @cached_property
    def staying(self) -> int:
        """Bytes of the plain model's gradients where they stay from step to step."""
        behind = max(heads.gradients for heads in self.costs.heads.values())
        return self.costs.accumulates * (sum(unit.gradients for unit in self.costs.units) + behind)

    @cached_property
    def last_blocks(self) -> list[Frontier]:
        """By its first unit, all ways through the last block and what is behind it; the first is end to end."""
        found: dict[int, Frontier] = {}
        for count, heads in self.costs.heads.items():
            behind = self._heads_frontier(heads)
            if not self.count:
                return [behind.at_least(self.peak_of_step(0, None, heads.gradients).bytes)]
            used = [i for i in range(self.count) if self.is_used(i)]
            waiting = set(used[len(used) - count :])  # whose gradients the neck has made
            others = [sum(self.costs.units[j].output for j in waiting if j < i) for i in range(self.count)]
            for first, frontier, gradients in self._through_units(
                self.count - 1, behind, heads.gradients, others, [0] * self.count
            ):
                if self._count_of_features(first) == count:
                    floor = self.peak_of_step(first, None, gradients).bytes
                    found[first] = frontier.raised(self.received(first)).at_least(floor)
        return [found[i] for i in range(self.count)]

    def local_blocks(self) -> Iterator[LocalBlocks]:
        """All blocks that may come before the last, and their ways."""
        units = self.costs.units
        for (last, is_last), branch in self.costs.branches.items():
            outlive = [i for i in range(last + 1) if self.is_handed_on(i) or i == last]
            others = [sum(units[j].output for j in outlive if j > i) for i in range(last + 1)]
            twice = [units[i].output if i in outlive else 0 for i in range(last + 1)]
            behind = self._branch_frontier(branch)
            added = branch.resident + self.costs.accumulates * branch.gradients
            for first, frontier, gradients in self._through_units(last, behind, branch.gradients, others, twice):
                if any(unit.gradients for unit in units[first : last + 1]):
                    floor = self.peak_of_step(first, last, gradients).bytes
                    frontier = frontier.raised(self.received(first)).at_least(floor)
                    yield LocalBlocks(first, last, is_last, added, frontier)

    def _branch_frontier(self, branch: Branch) -> Frontier:
        head = branch.head
        step = Step(head, max(head.forward, head.backward), 0, self.amount(head.work), None)
        behind = frontier_of([step], self.step)
        more = 0 if self.costs.accumulates else branch.gradients_of_head
        ways = [replace(o, backward=o.backward + more, gradients=o.gradients + more) for o in branch.auxiliary.values()]
        return frontier_of(
            [Step(o, max(o.forward, o.backward), o.kept, self.amount(o.work), behind) for o in ways], self.step
        )

    def peak_of_step(self, first: int, last: int | None, gradients: int) -> Peak:
        """What is alive while a block's parameters are stepped, beyond what is resident.

        Args:
            first (int): The block's first unit.
            last (int, optional): Its last one; None for the last block, after which no features are alive.
            gradients (int): Bytes of the block's gradients, with its branch or what is behind it.
        """
        features = 0
        if last is not None:
            handed_on = [i for i in range(first, last + 1) if i == last or self.is_handed_on(i)]
            features = self.received(first) + sum(self.costs.units[i].output for i in handed_on)
        share = min(1.0, gradients / self.costs.largest) if self.costs.largest else 0.0
        own = 0 if self.costs.accumulates else gradients
        return Peak(features + own + round(share * self.costs.stepping), own)

    def received(self, first: int) -> int:
        """Bytes that earlier blocks have handed on to one: their output, and features for what is behind."""
        handed_on = {i for i in range(first) if self.is_handed_on(i)} | ({first - 1} if first else set())
        return sum(self.costs.units[i].output for i in handed_on)

    def is_handed_on(self, i: int) -> bool:
        """Whether a unit's output waits for what is behind the backbone: it is used, or cannot be dropped."""
        unit = self.costs.units[i]
        return unit.closes is not None and (unit.used or not self.costs.outputs_are_features)

    def is_used(self, i: int) -> bool:
        """Whether a gradient comes back to a unit's output from behind the backbone."""
        return self.costs.units[i].closes is not None and self.costs.units[i].used

    def heads_behind(self, first: int) -> Heads:
        """Neck and heads as they are behind a last block that begins with a unit."""
        return self.costs.heads[self._count_of_features(first)]

    def _count_of_features(self, first: int) -> int:
        count = sum(self.is_used(i) for i in range(first, self.count))
        return min(max(count, min(self.costs.heads)), max(self.costs.heads))

    def _heads_frontier(self, heads: Heads) -> Frontier:
        """All ways through neck and heads. The work that they have in common is that of the last step."""
        starting: dict[int, list[Option]] = {}
        for option in heads.options:
            starting.setdefault(option.first, []).append(option)
        frontiers: dict[int, Frontier | None] = {heads.length: None}
        for i in reversed(range(heads.length)):
            steps = [
                Step(
                    option,
                    max(option.forward, option.backward),
                    option.kept,
                    self.amount(option.work) + (self.amount(heads.work) if option.stop == heads.length else 0.0),
                    frontiers[option.stop],
                )
                for option in starting[i]
            ]
            frontiers[i] = frontier_of(steps, self.step)
        return frontiers[0]

    def _through_units(
        self, last: int, behind: Frontier, gradients: int, others: Sequence[int], twice: Sequence[int]
    ) -> Iterator[tuple[int, Frontier, int]]:
        """All ways through the units up to ``last`` and what is behind them, for every unit that a block begins with.

        The third number is the bytes of the gradients of the block's parameters, with those behind.

        Args:
            last (int): The last unit.
            behind (Frontier): What is behind.
            gradients (int): Bytes of gradients that are alive when it has had its backward.
            others (Sequence[int]): Other bytes that are alive during each unit's backward.
            twice (Sequence[int]): Bytes of each unit's output that stay alive while it is computed again.
        """
        units = self.costs.units[: last + 1]
        alive = [Peak(0, 0)] * len(units)
        following = {len(units): behind}
        for i in reversed(range(len(units))):
            made = 0 if self.costs.accumulates else gradients
            alive[i] = Peak(others[i] + made, made)
            gradients += units[i].gradients
            closing = next((j for j in range(i, len(units)) if units[j].closes is not None), last)
            later = [unit.ways for unit in units[i + 1 : min(i + LONGEST_RUN, closing + 1)]]
            as_first, as_later = (
                [
                    Step(o, max(o.forward, o.backward), o.kept, self.amount(o.work), following[o.stop])
                    for o in ways_through([ways, *later], alive[i : i + LONGEST_RUN], twice[i : i + LONGEST_RUN])
                ]
                for ways in (units[i].ways_first, units[i].ways)
            )
            following[i] = frontier_of(as_later, self.step)
            yield i, frontier_of(as_first, self.step), gradients
