"""The pictures of the analyses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mmengine.fileio import dump

from .grad_cam import Explanation

MANY = 6  # lines; for more, a colour bar stands in the place of the legend
WIDE = 50  # letters of all names on an axis together; more are written upwards
DPI = 80


@dataclass(frozen=True)
class Panel:
    """One plot.

    Args:
        title (str): Its title.
        x (Sequence[float] | Sequence[str]): Where the values stand, or their names.
        lines (dict[str, Sequence[float]]): The values of each line.
        xlabel (str): What x is.
        ylabel (str): What the values are.
        log (bool): Whether the values' axis is logarithmic.
    """

    title: str
    x: Sequence[Any]
    lines: dict[str, Sequence[float]]
    xlabel: str = ''
    ylabel: str = ''
    log: bool = False


def draw_panels(panels: Sequence[Panel], file: Path) -> None:
    """Draw plots side by side.

    Args:
        panels (Sequence[Panel]): The plots.
        file (Path): The picture's file.
    """
    figure = Figure(figsize=(5.5 * len(panels), 4), layout='constrained')
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        named, many = isinstance(panel.x[0], str), len(panel.lines) > MANY
        colours = ScalarMappable(Normalize(1, len(panel.lines)), 'viridis')
        for i, (label, values) in enumerate(panel.lines.items(), start=1):
            style = dict(color=colours.to_rgba(i)) if many else dict(label=label)
            x = range(len(panel.x)) if named else panel.x
            axis.plot(x, values, marker='o' if named else None, markersize=4, linewidth=1.2, **style)
        axis.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel, yscale='log' if panel.log else 'linear')
        if named:
            broken = [name.replace(' (', '\n(').replace(' to ', '\nto ') for name in panel.x]
            wide = sum(max(map(len, name.split('\n'))) for name in broken) > WIDE
            axis.set_xticks(range(len(panel.x)), broken, rotation=90 if wide else 0, fontsize='small')
        if panel.log:
            for formatted in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                formatted('{x:g}')
        axis.grid(alpha=0.3)
        if many:
            bar = figure.colorbar(colours, ax=axis)
            bar.set_ticks([1, len(panel.lines)], labels=[list(panel.lines)[0], list(panel.lines)[-1]])
        elif len(panel.lines) > 1:
            axis.legend(loc='upper left', bbox_to_anchor=(1, 1), fontsize='small')
    _save(figure, file)


def draw_metrics(metrics: dict[str, dict[str, float]], title: str, file: Path) -> str:
    """Draw the metrics of each block, and write them beside the picture.

    Args:
        metrics (dict[str, dict[str, float]]): By block, its metrics by their names. What is no single number is not
            drawn.
        title (str): The title.
        file (Path): The picture's file.

    Returns:
        str: The same as a table.
    """
    names = [name for name, value in next(iter(metrics.values())).items() if isinstance(value, float)]
    drawn = {name: [found[name] for found in metrics.values()] for name in names}
    draw_panels([Panel(title, list(metrics), drawn, ylabel=names[0] if len(names) == 1 else '')], file)
    dump(metrics, file.with_suffix('.json'), indent=1)
    width = max(map(len, metrics))
    lines = [' ' * width + ''.join(f'{name:>20}' for name in names)]
    lines += [
        f'{block:{width}}' + ''.join(f'{found[name]:20.3f}' for name in names) for block, found in metrics.items()
    ]
    return '\n'.join([*lines, str(file)])


def draw_matrix(matrix: np.ndarray, names: Sequence[str], title: str, axes: tuple[str, str], file: Path) -> None:
    """Draw a matrix of values in [0, 1].

    Args:
        matrix (np.ndarray): The values, (rows, columns).
        names (Sequence[str]): Of its rows, and of its columns.
        title (str): The title.
        axes (tuple[str, str]): What rows and columns are.
        file (Path): The picture's file.
    """
    figure = Figure(figsize=(6, 5), layout='constrained')
    axis = figure.subplots()
    image = axis.imshow(matrix, vmin=0, vmax=1, origin='lower')
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set(title=title, ylabel=axes[0], xlabel=axes[1])
    figure.colorbar(image)
    _save(figure, file)


def draw_explanations(explanations: Sequence[Explanation], file: Path) -> None:
    """Draw each image in a row: itself, then every layer's Grad-CAM over it.

    Args:
        explanations (Sequence[Explanation]): Images with maps of the same layers.
        file (Path): The picture's file; a JPEG is a fifth of a PNG.
    """
    layers = list(explanations[0].maps)
    heights = [2.4 * found.image.shape[0] / found.image.shape[1] + 0.35 for found in explanations]
    figure = Figure(figsize=(2.4 * (1 + len(layers)), sum(heights)), layout='constrained')
    rows = figure.subplots(len(heights), 1 + len(layers), squeeze=False, height_ratios=heights)
    for row, found in zip(rows, explanations, strict=True):
        row[0].imshow(found.image)
        row[0].set_title(f'{found.what} ({found.score:.2f})', fontsize=9)
        for axis, (name, heat) in zip(row[1:], found.maps.items(), strict=True):
            axis.imshow(found.image.mean(axis=2), cmap='gray', vmin=0, vmax=1)
            axis.imshow(heat, cmap='jet', alpha=0.5, vmin=0, vmax=1)
            axis.set_title(name, fontsize=9)
        for axis in row:
            axis.set_axis_off()
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=DPI, pil_kwargs=dict(optimize=True))
