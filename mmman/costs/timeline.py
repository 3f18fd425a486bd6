"""What a forward and backward pass does when: bytes, operations and seconds at the borders of its parts."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.flop_counter import flop_registry

from mmman.partition import tensors

from .live_bytes import LiveBytes, Peak
from .operation_times import OperationTimes


class Work(NamedTuple):
    """What was done.

    Args:
        flops (int): Floating point operations, by torch's counter (convolutions and matrix products only).
        moved (int): Bytes of results of all other operations: what norms and activations have written.
        seconds (float): Time that the operations take on this machine; 0 where they are not timed.
    """

    flops: float = 0
    moved: float = 0
    seconds: float = 0.0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: 'Work') -> 'Work':
        return Work(*(a - b for a, b in zip(self, other, strict=True)))

    def __mul__(self, factor: float) -> 'Work':
        return Work(*(factor * a for a in self))


class Moment(NamedTuple):
    """A moment of a pass.

    Args:
        live (int): Bytes that are alive.
        peak (Peak): The most that was alive at once since the moment before.
        work (Work): What was done so far.
    """

    live: int
    peak: Peak
    work: Work


class Visit:
    """One run of a part: its forward, and where its backward begins.

    Args:
        name (str): The part.
        begins (int): The number of the moment in which it begins.

    Attributes:
        ends (int): The number of the moment in which its forward ends.
        returns (int, optional): The number of the moment in which its backward begins; None if it has none.
        output (int): Bytes of what it returned.
    """

    def __init__(self, name: str, begins: int) -> None:
        self.name = name
        self.begins = begins
        self.ends = begins
        self.returns: int | None = None
        self.output = 0


class Timeline(LiveBytes):
    """Live bytes and work, with moments: whenever a part begins or ends, and whenever its backward begins.

    Autograd runs the operations of a graph in the reverse of the order in which they were recorded. So the backward of
    a part lasts until that of the part before it begins.

    Args:
        tensors (Iterable[Tensor]): What is alive at the start.
        times (OperationTimes, optional): What times operations. Not timed by default.

    Attributes:
        moments (list[Moment]): All moments, in order.
        visits (list[Visit]): All visits, in the order in which they begin.
    """

    def __init__(self, tensors: Iterable[Tensor] = (), times: OperationTimes | None = None) -> None:
        super().__init__(tensors)
        self._times = times
        self.moments: list[Moment] = []
        self.visits: list[Visit] = []
        self._flops = 0
        self._moved = 0
        self._seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation; count its results and its work."""
        kwargs = kwargs or {}
        if self._times is not None and not func.is_view:
            self._seconds += self._times.seconds(func, args, kwargs)
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func.overloadpacket in flop_registry:
            self._flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        elif not func.is_view:
            self._moved += out.nbytes if isinstance(out, Tensor) else sum(x.nbytes for x in tensors(out))
        return out

    def mark(self) -> int:
        """Record this moment, and give its number."""
        self.moments.append(Moment(self.current, self.take_peak(), Work(self._flops, self._moved, self._seconds)))
        return len(self.moments) - 1

    @contextmanager
    def visit(self, name: str) -> Iterator[Callable[[Any], None]]:
        """A part that runs inside; the function that it gives takes what the part returns."""
        visit = Visit(name, self.mark())
        self.visits.append(visit)
        yield lambda results: self._watch(visit, results)
        visit.ends = self.mark()

    def _watch(self, visit: Visit, results: Any) -> None:
        def begin(*_: Any) -> None:
            if visit.returns is None:
                visit.returns = self.mark()

        visit.output = sum({x.untyped_storage()._cdata: x.nbytes for x in tensors(results)}.values())
        for x in tensors(results):
            if x.grad_fn is not None:
                x.grad_fn.register_prehook(begin)

    # --------------------------------------------------------------------------------------------- what it has told

    def live(self, moment: int) -> int:
        """Bytes that were alive at a moment."""
        return self.moments[moment].live

    def peak(self, start: int, stop: int) -> Peak:
        """The most that was alive at once between two moments."""
        return max(m.peak for m in self.moments[start + 1 : stop + 1])

    def work(self, start: int, stop: int) -> Work:
        """What was done between two moments."""
        return self.moments[stop].work - self.moments[start].work

    def end_of_backward(self, visit: Visit, among: Iterable[Visit]) -> int:
        """The moment in which a visit's backward is over: that of another one begins, or all has ended."""
        later = [v.returns for v in among if v.returns is not None and v.returns > visit.returns]
        return min(later, default=len(self.moments) - 1)
