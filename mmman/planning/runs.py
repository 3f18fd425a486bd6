"""Consecutive units that are recomputed as one: less is kept, more is alive while they have their backward."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mmman.costs.live_bytes import Peak
from mmman.costs.part_costs import KEEP, Option
from mmman.costs.timeline import Work
from mmman.models.with_cp import TO

# Of units that may be recomputed as one.
LONGEST_RUN = 8


def ways_through(ways: Sequence[Mapping[str, Option]], alive: Sequence[Peak], twice: Sequence[int]) -> Iterator[Option]:
    """The ways to run the first of some units, alone or as one with the next ones.

    Args:
        ways (Sequence[Mapping[str, Option]]): How each unit runs by itself, by mode.
        alive (Sequence[Peak]): What else is alive during each unit's backward.
        twice (Sequence[int]): Bytes of each unit's output that stay alive while it is computed again.
    """
    for mode, option in ways[0].items():
        yield _with_more(option, alive[0].bytes + (twice[0] if mode != KEEP else 0), alive[0].gradients)
    for length in range(2, len(ways) + 1):
        for mode in ways[0]:
            if mode != KEEP and all(mode in unit for unit in ways[:length]):  # none is frozen
                yield _with_more(_as_one(ways[:length], alive, mode), twice[length - 1], 0)


def _with_more(option: Option, more: int, gradients: int) -> Option:
    return replace(option, backward=option.backward + more, gradients=option.gradients + gradients)


def _as_one(ways: Sequence[Mapping[str, Option]], alive: Sequence[Peak], mode: str) -> Option:
    """Units recomputed as one. Their backward begins with a forward that keeps all."""
    kept = forward = before = 0
    backward = Peak(0, 0)
    gradient = ways[-1]['full'].kept  # of the output, which waits for the forward
    work = Work()
    for i, (unit, others) in enumerate(zip(ways, alive, strict=False)):
        own, whole = unit[mode], unit[KEEP]
        forward = max(forward, kept + own.forward)
        # What the last full recomputation keeps is its output. The others' are computed again, too.
        output = unit['full'].kept
        kept += own.kept - (output if i + 1 < len(ways) else 0)
        backward = max(
            backward,
            Peak(before + whole.backward + others.bytes, whole.gradients + others.gradients),
            Peak(before + whole.forward + others.bytes + gradient, others.gradients),
        )
        before += whole.kept
        # In the midst of a run the whole output is computed again.
        work += whole.work + whole.forward_work if mode == 'full' and i + 1 < len(ways) else own.work
    first, last = ways[0][mode], ways[-1][mode]
    part = f'{first.part}{TO}{last.part}'
    return Option(first.first, last.stop, mode, part, kept, forward, backward.bytes, work, backward.gradients)
