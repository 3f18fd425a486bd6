"""A page to look at: what every memory gives, in one HTML file that needs no network."""

import html
import json
from collections.abc import Callable
from importlib.resources import files
from math import ceil
from string import Template
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs

from .peak_parts import parts_of_peaks
from .plan_report import describe, nothing_fits
from .planner import CHOICES, END_TO_END, LOCAL_LEARNING, Plan, Planner

# Round memories that the slider can take; where a world begins, where end to end fits, and what was asked come on top.
STOPS = 56
# Where they begin and end: so much of the least peak, and of the peak of end to end.
BELOW, BEYOND = 0.99, 1.06


class _Page(Template):
    """The page's file. Its own script is full of dollar signs."""

    delimiter = '%%'


def plan_page(
    planner: Planner,
    memory: int,
    local_learning: str,
    title: str,
    about: str,
    lines: Callable[[Plan, int], str],
) -> str:
    """Write a page with a slider for the memory: the plan, what its peaks are made of, and its config.

    All answers are :meth:`Planner.best`'s, for some memories that lie close together; the page only chooses one.

    Args:
        planner (Planner): The planner.
        memory (int): Bytes, where the slider starts.
        local_learning (str): The choice that the page starts with; see :meth:`Planner.best`.
        title (str): What is planned.
        about (str): What it is planned for, besides a memory.
        lines (Callable): Gives the text of the config that trains by a plan, which was made for some bytes.

    Returns:
        str: The HTML.
    """
    first = planner.end_to_end()
    memories = memories_of(planner, memory)
    data = dict(
        about=about,
        by=planner.by,
        choices=CHOICES,
        choice=local_learning,
        memories=memories,
        start=memories.index(memory),
        # A memory far beyond end to end would leave nothing to see of all below.
        most=BEYOND * max(first.peak, memory if memory < 2 * first.peak else 0),
        frontiers={name: _frontier(planner, name) for name in (END_TO_END, LOCAL_LEARNING)},
        answers={choice: [_answer(planner, m, choice, lines) for m in memories] for choice in CHOICES},
    )
    page = _Page(files(__package__).joinpath('plan_page.html').read_text(encoding='utf-8'))
    in_script = json.dumps(data).replace('<', '\\u003c')  # `</script>` in a text would end the script
    return page.substitute(title=html.escape(title), plotly=get_plotlyjs(), data=in_script)


def memories_of(planner: Planner, memory: int) -> list[int]:
    """The memories that the slider can take: round ones from below the least plan to above end to end.

    They lie closer together where there is less memory, because plans differ more there.

    Args:
        planner (Planner): The planner.
        memory (int): Bytes that are to be among them.
    """
    frontiers = [planner.frontier(name) for name in (END_TO_END, LOCAL_LEARNING)]
    begins = [ceil(points[-1][0]) for points in frontiers if points]
    whole = planner.end_to_end().peak
    grid = np.geomspace(BELOW * min(begins), BEYOND * whole, STOPS)
    return sorted({*(int(float(f'{bytes_:.3g}')) for bytes_ in grid), *begins, whole, memory})


def _frontier(planner: Planner, name: str) -> dict[str, list[float]]:
    """Memory and work of a world's plans, by rising memory."""
    first = planner.amount(planner.end_to_end())
    points = planner.frontier(name)[::-1]
    return dict(memory=[peak for peak, _ in points], work=[round(work / first, 5) for _, work in points])


def _answer(planner: Planner, memory: int, local_learning: str, lines: Callable[[Plan, int], str]) -> dict[str, Any]:
    plan = planner.best(memory, local_learning)
    if plan is None:
        return dict(says=nothing_fits(planner, memory, local_learning), blocks=[], lines='')
    names = [f'block {i}<br>to {end}' for i, end in enumerate(plan.ends, 1)]
    names.append(f'block {plan.num_blocks}<br>to the loss' if plan.ends else END_TO_END)
    parts = parts_of_peaks(planner, plan)
    return dict(
        says=describe(planner, plan),
        peak=plan.peak,
        work=planner.amount(plan) / planner.amount(planner.end_to_end()),
        blocks=[dict(name=name, **part._asdict()) for name, part in zip(names, parts, strict=True)],
        lines=lines(plan, memory),
    )
