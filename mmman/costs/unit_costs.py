"""What each segment of a backbone costs: one after the other, and as the first of a block."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from mmman.memory.recompute import MODES
from mmman.partition import Segment, tensors

from .network import End, Network, drop_gradients, leaf, num_bytes
from .part_costs import KEEP, Option, Unit
from .timeline import Timeline, Visit

WAYS = (KEEP, *MODES)


def measure_units(network: Network, used: Iterable[int]) -> list[Unit]:
    """Measure every segment.

    Args:
        network (Network): The network.
        used (Iterable[int]): Keys of the features that something behind the backbone uses.
    """
    chain = {mode: _run_all(network, mode) for mode in WAYS}
    first = [{mode: _run_one(network, i, mode) for mode in WAYS} for i in range(len(network.segments))]
    units = []
    for i, segment in enumerate(network.segments):
        units.append(
            Unit(
                name=segment.name,
                stage=segment.stage,
                closes=segment.closes,
                output=num_bytes(network.xs[i + 1]),
                used=segment.closes in used,
                gradients=_gradients(network, segment),
                ways=_worthwhile({mode: ways[i] for mode, ways in chain.items()}),
                ways_first=_worthwhile(first[i]),
            )
        )
    return units


def _worthwhile(ways: dict[str, Option]) -> dict[str, Option]:
    """A frozen unit has no backward, for which anything could be kept or computed again."""
    return ways if ways[KEEP].backward else {KEEP: ways[KEEP]}


def _run_all(network: Network, mode: str) -> list[Option]:
    """All segments in one graph, with the gradients of all features at its end, as a neck gives them."""
    timeline = network.timeline()
    waiting = [0]  # bytes of the gradients of features that a unit's backward finds

    def run() -> list[Tensor]:
        x, ends = network.inputs, []
        for segment in network.segments:
            with timeline.visit(segment.name) as watch:
                watch(x := network.run(segment, x, mode))
            closed = tensors(x) if segment.closes is not None else []
            ends += closed
            waiting.append(waiting[-1] + num_bytes([t for t in closed if t.requires_grad]))
        return [*ends, *tensors(x)]

    _train(network, run, timeline)
    options, gradients = [], 0
    for i in reversed(range(len(network.segments))):
        start = timeline.moments[timeline.visits[i - 1].ends] if i else timeline.moments[0]
        options.append(_option(timeline, i, mode, start.live, waiting[i], gradients))
        gradients += _gradients(network, network.segments[i])
    return options[::-1]


def _gradients(network: Network, segment: Segment) -> int:
    params = network.family.parameters(network.backbone, segment)
    return sum(p.nbytes for p in params if p.requires_grad)


def _run_one(network: Network, i: int, mode: str) -> Option:
    """One segment, given an input that wants no gradient."""
    timeline = network.timeline()
    x = leaf(network.xs[i], False)

    def run() -> list[Tensor]:
        with timeline.visit(network.segments[i].name) as watch:
            watch(y := network.run(network.segments[i], x, mode))
        return tensors(y)

    _train(network, run, timeline)
    return replace(_option(timeline, 0, mode, timeline.moments[0].live, 0, 0), first=i, stop=i + 1)


def _train(network: Network, run: Callable[[], list[Tensor]], timeline: Timeline) -> None:
    with timeline, timeline.watch_gradients(network.model.parameters()):
        timeline.mark()
        with network.precise():
            learning = {id(x): x for x in run() if x.requires_grad}
        if learning:
            end = End.apply(*learning.values())
            learning.clear()
            end.backward()
        timeline.mark()

    drop_gradients(network.model)


def _option(timeline: Timeline, i: int, mode: str, start: int, waiting: int, gradients: int) -> Option:
    """What a visit cost without what was alive at its start, waiting gradients of features, and those of parameters."""
    visit: Visit = timeline.visits[i]
    forward = work = timeline.work(visit.begins, visit.ends)
    backward, own = 0, 0
    if visit.returns is not None:
        end = timeline.end_of_backward(visit, timeline.visits)
        peak = timeline.peak(visit.returns, end)
        backward, own = peak.bytes - start - waiting - gradients, peak.gradients - gradients
        work += timeline.work(visit.returns, end)
    return Option(
        first=i,
        stop=i + 1,
        mode=mode,
        part=visit.name,
        kept=timeline.live(visit.ends) - start,
        forward=timeline.peak(visit.begins, visit.ends).bytes - start,
        backward=backward,
        work=work,
        gradients=own,
        forward_work=forward,
    )
