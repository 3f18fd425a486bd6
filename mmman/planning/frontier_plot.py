"""A picture of memory against work."""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from matplotlib.figure import Figure

from .pareto import undominated


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
