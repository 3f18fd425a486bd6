"""Compare ways to train one network: memory, computing and time, one process each, in turn."""

import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.utils import import_modules_from_strings

from mmman.toolboxes import register_toolbox, toolbox_of

from .training_step import TrainingStep
from .units import megabytes

# What a peak is made of.
PARTS = ('parameters', 'gradients', 'states', 'activations')


@dataclass(frozen=True)
class Way:
    """A way to train.

    Args:
        name (str): What the table calls it.
        cfg (Config): Its config.
        kind (type[TrainingStep]): How a step of it runs. Defaults to TrainingStep.
        make_batch (Callable, optional): Makes the batch; the first of the config's data by default.
    """

    name: str
    cfg: Config
    kind: type[TrainingStep] = TrainingStep
    make_batch: Callable[[], Any] | None = None

    def step(self, dry: bool) -> TrainingStep:
        """Build a training step."""
        return self.kind(self.cfg, dry=dry, batch=self.make_batch() if self.make_batch else None)


@dataclass(frozen=True)
class Row:
    """What a way to train costs.

    Args:
        name (str): The way.
        peak (int): The most bytes of live tensors at once.
        parameters (int): Of the peak, parameters and buffers.
        gradients (int): Of the peak, the parameters' gradients.
        states (int): Of the peak, the optimizers' states.
        activations (int): Of the peak, all else: activations and their gradients, the batch.
        blocks (tuple[int, ...]): The peak while each block is at work.
        flops (int): Floating point operations of a step.
        time (float, optional): Median over the rounds of its time as a ratio to the first way's in the same round.
        seconds (float, optional): Median of its time.
        allocated (int, optional): ``torch.cuda.max_memory_allocated`` of a step; None without a GPU.
        reserved (int, optional): ``torch.cuda.max_memory_reserved``.
    """

    name: str
    peak: int
    parameters: int
    gradients: int
    states: int
    activations: int
    blocks: tuple[int, ...]
    flops: int
    time: float | None = None
    seconds: float | None = None
    allocated: int | None = None
    reserved: int | None = None


def measure_ways(ways: Sequence[Way], rounds: int = 0, report: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Measure several ways, each in a process of its own.

    Bytes and FLOPs come from dry runs; times, and on a GPU what its allocator says, from real steps, round after round
    in turn, so that a slow minute of the machine hits them all.

    Args:
        ways (Sequence[Way]): The ways; ratios are to the first.
        rounds (int): How often to time each; 0 runs no real step. Defaults to 0.
        report (Callable): Called with a line whenever something is done.

    Returns:
        list[Row]: One for each way that can be counted; a line says which cannot.

    Raises:
        MeasurementError: If a process that times, or that counts the first way, ends before it has answered.
    """
    rows, counted = [], []
    for way in ways:
        try:
            with _Process(way, dry=True) as process:
                rows.append(Row(way.name, **process.ask('count')))
        except MeasurementError as error:
            if not rows:
                raise
            report(f'{way.name}: left out, {error}')
            continue
        counted.append(way)
        report(f'{way.name}: {megabytes(rows[-1].peak)} MB, {rows[-1].flops / 1e12:.2f} TFLOP')
    if not rounds:
        return rows
    processes = [_Process(way, dry=False) for way in counted]
    try:
        memory = [process.ask('allocator') for process in processes]
        seconds = []
        for i in range(rounds):
            seconds.append([process.ask('seconds') for process in processes])
            report(f'round {i + 1}: ' + ' '.join(f'{s:.2f}' for s in seconds[-1]) + ' s')
    finally:
        for process in processes:
            process.close()
    medians = [statistics.median(times) for times in zip(*seconds, strict=True)]
    return [
        Row(**{**asdict(row), **allocator, 'time': ratio, 'seconds': median})
        for row, allocator, ratio, median in zip(rows, memory, median_ratios(seconds), medians, strict=True)
    ]


def median_ratios(rounds: Sequence[Sequence[float]]) -> list[float]:
    """What each member costs of the first, as the median over rounds: a slow minute of the machine hits them all.

    Args:
        rounds (Sequence[Sequence[float]]): Seconds by round and member.

    Returns:
        list[float]: One ratio for each member; the first is 1.
    """
    ratios = [[seconds / times[0] for seconds in times] for times in rounds]
    return [statistics.median(member) for member in zip(*ratios, strict=True)]


class MeasurementError(RuntimeError):
    """A process that measures has ended; the message is one line for the user."""


class _Process:
    """A training step in a process of its own, which answers to the names of measurements."""

    def __init__(self, way: Way, dry: bool) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(way, dry, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._name = way.name
        self.ask('ready')

    def ask(self, what: str) -> Any:
        try:
            self._pipe.send(what)
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise MeasurementError(
                f'the process that measures {self._name!r} ended with exit code {self._process.exitcode}; what it '
                'printed says why (-9: the machine has too little memory: measure a smaller batch, or rounds=0)'
            ) from None

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def __enter__(self) -> '_Process':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _serve(way: Way, dry: bool, pipe: Connection) -> None:
    register_toolbox(toolbox_of(way.cfg))
    if way.cfg.get('custom_imports'):
        import_modules_from_strings(**way.cfg.custom_imports)  # as Config.fromfile did in the process before
    step = way.step(dry)
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        pipe.send(_measure(step, what))


def _measure(step: TrainingStep, what: str) -> Any:
    if what == 'count':
        count = step.bytes()
        parts = {part: getattr(count, part) for part in PARTS}
        return dict(peak=count.peak, **parts, blocks=count.blocks, flops=step.flops())
    if what == 'seconds':
        return step.seconds()
    if what == 'allocator' and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        step.run()
        return dict(allocated=torch.cuda.max_memory_allocated(), reserved=torch.cuda.max_memory_reserved())
    return {}


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table.

    MB are 10^6 bytes; ratios are to the first row; parameters, gradients, states and activations are what the peak is
    made of; the block that sets the peak is bold.
    """
    first = rows[0]
    gpu = first.allocated is not None
    heads = ['peak live MB', 'ratio', *PARTS, 'FLOPs', 'time']
    heads += ['allocated MB', 'reserved MB'] if gpu else []
    heads.append('MB of each block')
    lines = ['| | ' + ' | '.join(heads) + ' |', '|---|' + '---|' * len(heads)]
    for row in rows:
        cells = [
            row.name,
            megabytes(row.peak),
            f'{row.peak / first.peak:.3f}',
            *(megabytes(getattr(row, part)) for part in PARTS),
        ]
        cells += [f'{row.flops / first.flops:.3f}', '-' if row.time is None else f'{row.time:.2f}']
        cells += [megabytes(row.allocated), megabytes(row.reserved)] if gpu else []
        blocks = [f'**{megabytes(peak)}**' if peak == row.peak else megabytes(peak) for peak in row.blocks]
        cells.append(' '.join(blocks) if len(blocks) > 1 else '')
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def save(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JSON."""
    dump([asdict(row) for row in rows], path, indent=1)
