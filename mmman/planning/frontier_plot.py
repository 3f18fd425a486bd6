"""A picture of memory against work."""

import math
from collections.abc import Sequence
from itertools import count
from operator import itemgetter
from pathlib import Path

from matplotlib.figure import Figure

from .pareto import undominated
from .planner import END_TO_END, LOCAL_LEARNING, Plan, Planner

# Of a point, and of its number with up to two digits, in typographic points.
MARKER = 6
NUMBER = (12, 9)
ANGLES = range(45, 405, 30)


def plot_planner(planner: Planner, plan: Plan, path: Path) -> None:
    """Draw all plans of both worlds, and the one that was chosen.

    Args:
        planner (Planner): The planner.
        plan (Plan): The plan.
        path (Path): The picture's file.
    """
    first = planner.end_to_end()
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    for name, color in ((END_TO_END, 'tab:gray'), (LOCAL_LEARNING, 'tab:blue')):
        points = planner.frontier(name)
        if points:
            works = [work / planner.amount(first) for _, work in points]
            axes.step(works, [peak / 1e6 for peak, _ in points], where='post', color=color, label=name)
    axes.plot(
        planner.amount(plan) / planner.amount(first), plan.peak / 1e6, '*', color='tab:red', ms=12, label=plan.name
    )
    axes.set_xlabel(f'{planner.by}, of end to end')
    axes.set_ylabel('peak live MB')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def plot_frontier(points: Sequence[tuple[str, float, float]], work: str, path: Path) -> None:
    """Draw ways to train, and the line that no other is left of and below; mixed precision has a line of its own.

    Args:
        points (Sequence[tuple[str, float, float]]): Name, memory and work of each way, as ratios to the first way's.
            Names that end in AMP are those of mixed precision.
        work (str): What the work is.
        path (Path): The picture's file.
    """
    draw_frontier(points, work).savefig(path, dpi=110)


def draw_frontier(points: Sequence[tuple[str, float, float]], work: str) -> Figure:
    """The picture of :func:`plot_frontier`: points have numbers, which the names beside the chart explain."""
    figure = Figure(figsize=(9.5, 5), layout='constrained')
    axes = figure.subplots()
    for number, (name, memory, amount) in enumerate(points, start=1):
        color = 'tab:gray' if name.startswith(END_TO_END) else 'tab:blue'
        face = 'none' if name.endswith('AMP') else color
        axes.plot(amount, memory, 'o', ms=MARKER, color=color, mfc=face, ls='', label=f'{number} {name}')
    for mixed, style in ((False, '-'), (True, ':')):
        best = undominated([p for p in points if p[0].endswith('AMP') is mixed], itemgetter(1), itemgetter(2))
        axes.step(
            [amount for _, _, amount in best],
            [memory for _, memory, _ in best],
            style,
            where='post',
            color='tab:blue',
            lw=0.8,
        )
    axes.set_xlabel(f'{work}, of end to end')
    axes.set_ylabel('peak live bytes, of end to end')
    axes.margins(x=0.1, y=0.1)
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right center', fontsize=8, frameon=False)
    figure.draw_without_rendering()  # from here on places in the chart are known
    figure.set_layout_engine('none')
    places = [(amount, memory) for _, memory, amount in points]
    inches = (axes.transData.transform(places) / figure.dpi).tolist()
    offsets = offsets_of_numbers([(72 * x, 72 * y) for x, y in inches])
    for number, (place, offset) in enumerate(zip(places, offsets, strict=True), start=1):
        line = dict(arrowstyle='-', color='tab:gray', lw=0.5, shrinkA=0, shrinkB=0)
        axes.annotate(
            str(number),
            place,
            offset,
            textcoords='offset points',
            fontsize=8,
            ha='center',
            va='center',
            arrowprops=line,
        )
    return figure


def offsets_of_numbers(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the numbers of points stand, so that none lies on another one or on a point.

    Args:
        places (Sequence[tuple[float, float]]): The points, in typographic points.

    Returns:
        list[tuple[float, float]]: Offsets of the numbers' middles.
    """
    taken, offsets = [(x, y, MARKER, MARKER) for x, y in places], []
    for x, y in places:
        around = ((r * math.cos(a), r * math.sin(a)) for r in count(NUMBER[0], 4) for a in map(math.radians, ANGLES))
        dx, dy = next((dx, dy) for dx, dy in around if not any(_overlap((x + dx, y + dy, *NUMBER), t) for t in taken))
        taken.append((x + dx, y + dy, *NUMBER))
        offsets.append((dx, dy))
    return offsets


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes overlap, given by their middle, width and height."""
    return all(abs(one[i] - other[i]) < (one[i + 2] + other[i + 2]) / 2 for i in (0, 1))
