"""Consecutive units that are recomputed as one: less is kept, more is alive while they have their backward."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mmman.costs.part_costs import KEEP, Option
from mmman.costs.timeline import Work
from mmman.models.with_cp import TO

# Of units that may be recomputed as one.
LONGEST_RUN = 4


def ways_through(ways: Sequence[Mapping[str, Option]], alive: Sequence[int], twice: Sequence[int]) -> Iterator[Option]:
    """The ways to run the first of some units, alone or as one with the next ones.

    Args:
        ways (Sequence[Mapping[str, Option]]): How each unit runs by itself, by mode.
        alive (Sequence[int]): Other bytes that are alive during each unit's backward.
        twice (Sequence[int]): Bytes of each unit's output that stay alive while it is computed again.
    """
    for mode, option in ways[0].items():
        yield replace(option, backward=option.backward + alive[0] + (twice[0] if mode != KEEP else 0))
    for length in range(2, len(ways) + 1):
        for mode in ways[0]:
            if mode != KEEP:
                option = _as_one(ways[:length], alive, mode)
                yield replace(option, backward=option.backward + twice[length - 1])


def _as_one(ways: Sequence[Mapping[str, Option]], alive: Sequence[int], mode: str) -> Option:
    """Units recomputed as one. Their backward begins with a forward that keeps all."""
    kept = forward = before = backward = 0
    gradient = ways[-1]['full'].kept  # of the output, which waits for the forward
    work = Work()
    for i, (unit, others) in enumerate(zip(ways, alive, strict=False)):
        own, whole = unit[mode], unit[KEEP]
        forward = max(forward, kept + own.forward)
        # What the last full recomputation keeps is its output. The others' are computed again, too.
        output = unit['full'].kept
        kept += own.kept - (output if i + 1 < len(ways) else 0)
        backward = max(backward, before + whole.backward + others, before + whole.forward + others + gradient)
        before += whole.kept
        work += own.work
    first, last = ways[0][mode], ways[-1][mode]
    return Option(first.first, last.stop, mode, f'{first.part}{TO}{last.part}', kept, forward, backward, work)
