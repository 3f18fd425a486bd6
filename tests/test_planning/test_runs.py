"""Units that are recomputed as one."""

import pytest

from mmman.costs.live_bytes import Peak
from mmman.costs.part_costs import Option
from mmman.costs.timeline import Work
from mmman.planning.runs import ways_through

ALIVE = [Peak(0, 0)] * 2


def unit(i, frozen=False):
    """A unit of work 30, 10 of it forward, of which a recomputation by itself leaves out 3."""
    keep = Option(i, i + 1, 'keep', f's{i}', 40, 45, 0 if frozen else 50, Work(30), forward_work=Work(10))
    full = Option(i, i + 1, 'full', f's{i}', 8, 20, 55, Work(37), forward_work=Work(10))
    return {'keep': keep} if frozen else {'keep': keep, 'full': full}


def test_in_the_midst_of_a_run_all_is_computed_again():
    (run,) = [o for o in ways_through([unit(0), unit(1)], ALIVE, [0, 0]) if o.stop == 2]
    assert run.part == 's0-s1' and run.work == Work(30 + 10 + 37)
    assert run.kept == 8  # its output alone


@pytest.mark.parametrize('frozen', [0, 1])
def test_no_run_has_a_frozen_unit(frozen):
    ways = [unit(i, frozen=i == frozen) for i in range(2)]
    assert all(o.stop == 1 for o in ways_through(ways, ALIVE, [0, 0]))
