"""A picture of memory against work."""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from matplotlib.figure import Figure

from .pareto import undominated
from .planner import END_TO_END, LOCAL_LEARNING, Plan, Planner


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
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.subplots()
    for name, memory, amount in points:
        local = not name.startswith('end to end')
        axes.plot(amount, memory, 'o' if local else 's', color='tab:blue' if local else 'tab:gray')
        axes.annotate(name, (amount, memory), xytext=(5, 4), textcoords='offset points', fontsize=8)
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
    axes.margins(x=0.2, y=0.12)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
