"""What peaks are made of: the kinds add up, and gradients are those that are there at that moment."""

import pytest
from scenarios.naive_plans import random_costs

from mmman.costs.part_costs import Heads, Option, PartCosts, Unit, extrapolated
from mmman.costs.timeline import Work
from mmman.planning import Planner
from mmman.planning.peak_parts import PeakParts, parts_of_peaks


def plans_of(planner):
    """All plans end to end, and those of local learning where its frontier has a point."""
    found = [planner.best_end_to_end(peak) for peak, _ in planner.frontier('end to end')]
    return found + [planner.best_local(peak) for peak, _ in planner.frontier('MAN++')]


def test_the_kinds_add_up_to_every_peak():
    for seed in range(60):
        costs = random_costs(seed, 2 + seed % 3)
        planner = Planner(costs)
        trained = costs.accumulates * sum(unit.gradients for unit in costs.units)
        for plan in plans_of(planner):
            parts = parts_of_peaks(planner, plan)
            assert tuple(map(sum, parts)) == plan.blocks
            assert all(min(part) >= 0 and part.gradients >= trained for part in parts)
            assert len({(part.parameters, part.states) for part in parts}) == 1  # they are there all the time


def chain(backwards, accumulates=False):
    """Two units, whose backwards need so much, and a head."""
    units = []
    for i, backward in enumerate(backwards):
        ways = {'keep': Option(i, i + 1, 'keep', f's{i}', 4, 4, backward, gradients=1)}
        units.append(Unit(f's{i}', 'stage', i, 2, True, 3, ways, ways))
    heads = Heads(1, (Option(0, 1, kept=0, forward=5, backward=9, gradients=1),), 2, Work())
    return PartCosts(tuple(units), {2: heads}, {}, resident=100, states=40, batch=20, accumulates=accumulates)


@pytest.mark.parametrize(
    ('backwards', 'gradients', 'rest'),
    [
        ((4, 4), 1, 20 + 4 + 4 + 9 - 1),  # in the head's backward
        ((4, 30), 2 + 1, 20 + 4 + 2 + 30 - 1),  # the head's are over, the feature before waits for its gradient
        ((60, 4), 2 + 3 + 1, 20 + 60 - 1),  # the last unit's, too
    ],
)
def test_gradients_are_those_of_what_had_its_backward(backwards, gradients, rest):
    planner = Planner(chain(backwards))
    assert parts_of_peaks(planner, planner.end_to_end()) == [PeakParts(40, 40, gradients, rest)]


def test_gradients_that_stay_are_there_at_every_peak():
    planner = Planner(chain((4, 4), accumulates=True))
    # What the part at work makes anew is there beside what stays, until it is added.
    assert parts_of_peaks(planner, planner.end_to_end())[0].gradients == (3 + 3 + 2) + 1


def test_more_images_make_no_more_gradients():
    """Of three images the peak may be at another moment than of two."""
    two, three = Option(0, 1, backward=10, gradients=8), Option(0, 1, backward=13, gradients=2)
    assert extrapolated(two, three, 10) == Option(0, 1, backward=40, gradients=2)
