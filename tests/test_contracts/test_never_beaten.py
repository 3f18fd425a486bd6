"""Contract 12: no way of training needs less than a plan, and none is missed."""

from itertools import pairwise

import pytest
from scenarios.naive_plans import all_ways, random_costs

from mmman.planning import Planner

SETS = 400


@pytest.mark.parametrize('chunk', range(4))
def test_no_plan_is_worse_than_the_best_of_all_ways(chunk):
    for seed in range(chunk * SETS // 4, (chunk + 1) * SETS // 4):
        costs = random_costs(seed, 2 + seed % 3)
        planner = Planner(costs)
        whole, local = all_ways(costs)
        budgets = sorted({peak for peak, _ in whole + local})
        for memory in budgets[:: max(1, len(budgets) // 6)] + [budgets[0] - 1]:
            for ways, plan in (
                (whole, planner.best_end_to_end(memory)),
                (local, planner.best_local(memory)),
            ):
                least = min((work for peak, work in ways if peak <= memory), default=None)
                assert (plan is None) == (least is None), (seed, memory)
                if plan is not None:
                    assert plan.peak <= memory
                    assert planner.worlds.amount(plan.work) <= 1.001 * least, (seed, memory)
            assert (planner.best(memory) is None) == (min(peak for peak, _ in whole + local) > memory)


def test_a_larger_memory_never_gives_a_slower_plan():
    for seed in range(40):
        planner = Planner(random_costs(seed, 4))
        least = planner.least().peak
        plans = [planner.best(least * (1 + i / 20)) for i in range(40)]
        assert all(planner.amount(larger) <= planner.amount(smaller) for smaller, larger in pairwise(plans))
        for i, plan in enumerate(plans):
            whole = planner.best_end_to_end(least * (1 + i / 20))
            assert whole is None or planner.amount(plan) <= planner.amount(whole)
        for name in ('end to end', 'MAN++'):
            for (peak, work), (next_peak, next_work) in pairwise(planner.frontier(name)):
                assert peak > next_peak and work < next_work
