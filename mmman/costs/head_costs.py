"""What neck and heads cost, call by call: found out by running them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from mmman.memory import recompute
from mmman.memory.recompute import MODES

from .live_bytes import Peak
from .part_costs import KEEP, Heads, Option
from .timeline import Timeline, Visit, Work

# Methods that do what a module's forward does elsewhere: a dense head of mmdet goes through the pyramid level by level.
METHODS = ('forward_single',)
# A part is worth a look where recomputing it would free this share of all that is kept.
WORTH = 0.005
DEPTHS = 3  # of parts in parts


Train = Callable[[Timeline], int]
Levels = Sequence[frozenset[str]]


def find_calls(model: nn.Module, names: Collection[str], train: Train, timeline: Timeline) -> Levels:
    """Find the calls that are worth to be recomputed.

    Args:
        model (nn.Module): The model.
        names (Collection[str]): Qualified names of the modules whose calls may be recomputed.
        train (Callable): Runs a forward and backward pass; marks its start, the end of the forward and its end; gives
            the bytes of the parameters' gradients.
        timeline (Timeline): A new timeline.

    Returns:
        Sequence[frozenset[str]]: Calls that do not lie in one another: the outermost; those with the calls inside of
        them in their place; and so on.
    """
    with _calls_watched(model, names, timeline, None, KEEP):
        train(timeline)
    return [frozenset(visit.name for visit in level) for level in _levels(_worthy(timeline))]


class MeasuredCalls:
    """Neck and heads, measured call by call, kept and recomputed.

    Args:
        model (nn.Module): The model.
        names (Collection[str]): See :func:`find_calls`.
        levels (Sequence): What that found.
        timeline (Callable): Makes a new timeline.
    """

    def __init__(
        self, model: nn.Module, names: Collection[str], levels: Levels, timeline: Callable[[], Timeline]
    ) -> None:
        self.model, self.names, self.levels, self.timeline = model, names, levels, timeline

    def measure(self, train: Train) -> Heads:
        """Measure them; see :func:`find_calls`."""
        kept, gradients = self._run(train, frozenset().union(*self.levels))
        lines = {
            (depth, mode): self._run(train, level, mode)[0] for depth, level in enumerate(self.levels) for mode in MODES
        }
        options, length = _chain(kept, kept.visits, lines, self.levels)
        return Heads(length, options, gradients, kept.work(0, len(kept.moments) - 1))

    def adapted(self, heads: Heads, train: Train) -> Heads:
        """The same where fewer features want a gradient: without what their gradients need.

        Args:
            heads (Heads): What was measured where all want one.
            train (Callable): Runs it where fewer do.
        """
        kept, gradients = self._run(train, frozenset().union(*self.levels))
        steps, length = _chain(kept, kept.visits, {}, self.levels)
        if length != heads.length:
            return self.measure(train)
        less = [o.backward - step.backward for o, step in zip(heads.options, steps, strict=False)]
        options = [replace(o, backward=o.backward - min(less[o.first : o.stop])) for o in heads.options[length:]]
        return Heads(length, (*steps, *options), gradients, kept.work(0, len(kept.moments) - 1))

    def _run(self, train: Train, calls: Collection[str], mode: str = KEEP) -> tuple[Timeline, int]:
        line = self.timeline()
        with _calls_watched(self.model, self.names, line, calls, mode):
            gradients = train(line)
        return line, gradients


@contextmanager
def _calls_watched(
    model: nn.Module, names: Collection[str], timeline: Timeline, calls: Collection[str] | None, mode: str
) -> Iterator[None]:
    """Inside, calls are visits of the timeline: all of them, or those named, run in a mode."""
    number: Counter[str] = Counter()

    def watched(name: str, module: nn.Module, run: Callable, *args: Any, **kwargs: Any) -> Any:
        call = f'{name}:{number[name]}'
        number[name] += 1
        if calls is not None and call not in calls:
            return run(*args, **kwargs)
        with timeline.visit(call) as watch:
            if mode == KEEP:
                results = run(*args, **kwargs)
            else:
                results = recompute(partial(run, **kwargs), *args, modules=[module], mode=mode)
            watch(results)
        return results

    patched = []
    for name in names:
        module = model.get_submodule(name)
        for method in ('forward', *METHODS):
            if hasattr(module, method) and method not in vars(module):
                label = name if method == 'forward' else f'{name}.{method}'
                setattr(module, method, partial(watched, label, module, getattr(module, method)))
                patched.append((module, method))
    try:
        yield
    finally:
        for module, method in patched:
            delattr(module, method)


def _worthy(line: Timeline) -> list[Visit]:
    """Visits that keep much more than they return."""
    forward_end = _forward_end(line)
    all_kept = line.live(forward_end) - line.live(0)
    found = []
    for visit in line.visits:
        saved = line.live(visit.ends) - line.live(visit.begins) - visit.output
        if visit.returns is not None and visit.ends <= forward_end and saved > WORTH * all_kept:
            found.append(visit)
    return found


def _levels(visits: Sequence[Visit]) -> list[list[Visit]]:
    if not visits:
        return []
    levels = [[v for v in visits if not any(_lies_in(v, other) for other in visits)]]
    while len(levels) < DEPTHS:
        level = []
        for visit in levels[-1]:
            inside = [v for v in visits if _lies_in(v, visit)]
            level += [v for v in inside if not any(_lies_in(v, other) for other in inside)] or [visit]
        if level == levels[-1]:
            break
        levels.append(level)
    return levels


def _lies_in(visit: Visit, other: Visit) -> bool:
    return visit is not other and other.begins <= visit.begins and visit.ends <= other.ends


def _forward_end(line: Timeline) -> int:
    """The moment in which the forward has ended: the last before any backward."""
    first = min((v.returns for v in line.visits if v.returns is not None), default=len(line.moments) - 1)
    return first - 1


def _chain(
    kept: Timeline,
    visits: Sequence[Visit],
    lines: Mapping[tuple[int, str], Timeline],
    levels: Sequence[Collection[str]],
) -> tuple[tuple[Option, ...], int]:
    """The chain of what lies between the borders of visits, and the ways to recompute them."""
    end = _forward_end(kept)
    borders = sorted({0, end, *(v.begins for v in visits), *(v.ends for v in visits)})
    place = {moment: i for i, moment in enumerate(borders)}
    options = [_kept_step(kept, visits, borders, i) for i in range(len(borders) - 1)]
    by_name = {v.name: v for v in visits}
    for (depth, mode), line in lines.items():
        of_level = [v for v in visits if v.name in levels[depth]]
        for visit in line.visits:
            plain = by_name.get(visit.name)
            if plain is None or plain.returns is None or visit.returns is None:
                continue
            option = _recomputed(line, visit, mode, place[plain.begins], place[plain.ends])
            option = replace(option, kept=option.kept + _held_longer(line, visit, kept, plain, of_level))
            before = _work(kept, plain, of_level)
            option = replace(option, work=option.work - before)
            if option.kept < kept.live(plain.ends) - kept.live(plain.begins):
                options.append(option)
    return tuple(dict.fromkeys(options)), len(borders) - 1


def _held_longer(line: Timeline, visit: Visit, kept: Timeline, plain: Visit, of_level: Sequence[Visit]) -> int:
    """Bytes of a recomputed call's input that would be freed behind it if the call kept what it needs of it."""
    following = next((v.begins for v in of_level if v.begins >= plain.ends), _forward_end(kept))
    until = next((v.begins for v in line.visits if v.begins >= visit.ends), _forward_end(line))
    freed = kept.live(plain.ends) - kept.live(following)
    return max(0, freed - (line.live(visit.ends) - line.live(until)))


def _kept_step(kept: Timeline, visits: Sequence[Visit], borders: Sequence[int], i: int) -> Option:
    start, stop = borders[i], borders[i + 1]
    peaks = [Peak(kept.live(start), 0)]
    if i + 2 == len(borders):  # the loss
        first = min((v.returns for v in visits if v.returns is not None), default=len(kept.moments) - 1)
        peaks.append(kept.peak(stop, first))
    for visit in visits:
        if visit.ends == stop and visit.returns is not None:
            peaks.append(kept.peak(visit.returns, kept.end_of_backward(visit, visits)))
    backward = max(peaks)
    return Option(
        first=i,
        stop=i + 1,
        kept=kept.live(stop) - kept.live(start),
        forward=kept.peak(start, stop).bytes - kept.live(start),
        backward=backward.bytes - kept.live(start),
        gradients=backward.gradients,
    )


def _recomputed(line: Timeline, visit: Visit, mode: str, first: int, stop: int) -> Option:
    start = line.live(visit.begins)
    backward = line.peak(visit.returns, line.end_of_backward(visit, line.visits))
    return Option(
        first=first,
        stop=stop,
        mode=mode,
        part=visit.name,
        kept=line.live(visit.ends) - start,
        forward=line.peak(visit.begins, visit.ends).bytes - start,
        backward=backward.bytes - start,
        work=_work(line, visit, line.visits),
        gradients=backward.gradients,
    )


def _work(line: Timeline, visit: Visit, among: Sequence[Visit]) -> Work:
    end = line.end_of_backward(visit, among)
    return line.work(visit.begins, visit.ends) + line.work(visit.returns, end)
