"""A picture of memory against work."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


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
        best = frontier([(memory, amount) for name, memory, amount in points if name.endswith('AMP') is mixed])
        axes.step(
            [amount for _, amount in best],
            [memory for memory, _ in best],
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


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (memory, work) that no other one beats in both, by rising work."""
    best: list[tuple[float, float]] = []
    for memory, work in sorted(points, key=lambda point: (point[1], point[0])):
        if not best or memory < best[-1][0]:
            best.append((memory, work))
    return best
