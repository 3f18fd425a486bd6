"""A plan as settings that a person would write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmman.costs.part_costs import PartCosts
from mmman.memory.recompute import MODES

from .planner import Plan


def settings_of(plan: Plan, costs: PartCosts) -> dict[str, Any]:
    """The settings of a plan, as arguments of :func:`mmman.localize`.

    Args:
        plan (Plan): The plan.
        costs (PartCosts): What it was made from.
    """
    settings: dict[str, Any] = dict(partition=dict(ends=list(plan.ends))) if plan.ends else dict(num_blocks=1)
    stages: dict[str, list[str]] = {}
    for unit in costs.units:
        stages.setdefault(unit.stage, []).append(unit.name)
    with_cp = _by_mode(_in_short(plan.backbone, stages))
    recompute = _by_mode(_without_numbers(plan.behind, costs))
    dropped = [i for i, unit in enumerate(u for u in costs.units if u.closes is not None) if not unit.used]
    settings |= {'with_cp': with_cp} if with_cp else {}
    settings |= {'recompute': recompute} if recompute else {}
    settings |= {'drop_outputs': dropped} if plan.ends and dropped and costs.outputs_are_features else {}
    settings |= {'efficient_conv_bn_eval': True} if costs.efficient_conv_bn_eval else {}
    return settings | {'lean': True}


def _by_mode(parts: Mapping[str, str]) -> dict[str, list[str]]:
    found = {mode: [part for part, own in parts.items() if own == mode] for mode in MODES}
    return {mode: names for mode, names in found.items() if names}


def _in_short(parts: Mapping[str, str], stages: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Stages in the place of all of their segments."""
    short = dict(parts)
    for stage, names in stages.items():
        modes = {parts.get(name) for name in names}
        if len(modes) == 1 and None not in modes and len(names) > 1 and stage not in parts:
            first = list(short).index(names[0])
            entries = [(name, mode) for name, mode in short.items() if name not in names]
            entries.insert(min(first, len(entries)), (stage, modes.pop()))
            short = dict(entries)
    return short


def _without_numbers(parts: Mapping[str, str], costs: PartCosts) -> dict[str, str]:
    """Calls without their number, where the part is called once, or all of its calls are recomputed alike."""
    known = _calls(option.part for heads in costs.heads.values() for option in heads.options if option.part)
    short: dict[str, str] = {}
    for call, mode in parts.items():
        name = call.rpartition(':')[0]
        alike = all(parts.get(other) == mode for other in known[name])
        short[name if alike else call] = mode
    return short


def _calls(calls: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for call in calls:
        found.setdefault(call.rpartition(':')[0], set()).add(call)
    return found
