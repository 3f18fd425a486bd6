"""What the peaks of a plan's blocks are made of."""

from collections.abc import Iterable
from typing import NamedTuple

from mmman.costs.live_bytes import Peak
from mmman.costs.part_costs import Option

from .planner import Plan, Planner


class PeakParts(NamedTuple):
    """Bytes that are alive at the peak of a block, by kind.

    Args:
        parameters (int): Parameters and buffers, those of all auxiliary networks and local heads included.
        states (int): The optimizers' states.
        gradients (int): The parameters' gradients, as far as they are there at that moment.
        activations (int): All else: activations and their gradients, the batch.
    """

    parameters: int
    states: int
    gradients: int
    activations: int


def parts_of_peaks(planner: Planner, plan: Plan) -> list[PeakParts]:
    """Tell what the peak of each block is made of; the kinds add up to ``plan.blocks``.

    Args:
        planner (Planner): Who made the plan.
        plan (Plan): The plan.
    """
    costs, worlds = planner.costs, planner.worlds
    names = [unit.name for unit in costs.units]
    ends = [names.index(end) for end in plan.ends]
    branches = [costs.branches[end, end == ends[-1]] for end in ends]
    states = costs.states + sum(branch.states for branch in branches)
    resident = costs.resident - costs.batch + sum(branch.resident for branch in branches)
    staying = worlds.staying + costs.accumulates * sum(branch.gradients for branch in branches)
    firsts = [0, *(end + 1 for end in ends)]
    behind = [*(branch.gradients for branch in branches), worlds.heads_behind(firsts[-1]).gradients]
    found = []
    for first, last, gradients, way in zip(firsts, [*ends, None], behind, plan.ways, strict=True):
        gradients += sum(unit.gradients for unit in costs.units[first : None if last is None else last + 1])
        peak = max(_peak_of(way, worlds.received(first)), worlds.peak_of_step(first, last, gradients))
        found.append(
            PeakParts(
                parameters=resident - states,
                states=states,
                gradients=staying + peak.gradients,
                activations=costs.batch + peak.bytes - peak.gradients,
            )
        )
    return found


def _peak_of(way: Iterable[Option], kept: int) -> Peak:
    """The most that is alive at once while a block runs that was given so many bytes."""
    most = Peak(0, 0)
    for option in way:
        most = max(most, Peak(kept + option.forward, 0), Peak(kept + option.backward, option.gradients))
        kept += option.kept
    return most
