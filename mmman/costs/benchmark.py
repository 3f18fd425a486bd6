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

from . import variants
from .training_step import StepInBackward, TrainingStep
from .units import megabytes

# What a peak is made of.
PARTS = ('parameters', 'gradients', 'states', 'activations')


@dataclass(frozen=True)
class Way:
    """A way to train.

    Args:
        name (str): What the table calls it.
        cfg (Config): Its config.
        step_in_backward (bool): Whether parameters are stepped during the backward. Defaults to False.
    """

    name: str
    cfg: Config
    step_in_backward: bool = False

    def step(self, dry: bool) -> TrainingStep:
        """Build a training step."""
        return (StepInBackward if self.step_in_backward else TrainingStep)(self.cfg, dry=dry)


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


def ways_of(cfg: Config, tuned: Config | None = None) -> list[Way]:
    """End to end and its rivals, the config as it is, and a tuned one.

    Args:
        cfg (Config): A config of local learning.
        tuned (Config, optional): One that was tuned for memory. Defaults to None.

    Returns:
        list[Way]: End to end comes first.
    """
    plain = variants.end_to_end(cfg)
    ways = [Way('end to end', plain)]
    if (with_cp := variants.with_cp(cfg)) is not None:
        ways.append(Way('end to end, with_cp', with_cp))
    ways.append(Way('end to end, all recomputed', variants.recompute_all(cfg), step_in_backward=True))
    ways.append(Way('end to end, AMP', variants.mixed_precision(plain)))
    ways.append(Way('as configured', cfg))
    if tuned is not None:
        ways.append(Way('tuned', tuned))
        if tuned.model.backbone.get('with_cp'):
            ways.append(Way('tuned, nothing recomputed', variants.nothing_recomputed(tuned)))
        ways.append(Way('tuned, AMP', variants.mixed_precision(tuned)))
    return ways


def choose(ways: Sequence[Way], names: Sequence[str]) -> list[Way]:
    """Some of the ways, by name, in the order of the ways.

    Raises:
        ValueError: If there is no such way.
    """
    known = [way.name for way in ways]
    for name in names:
        if name not in known:
            raise ValueError(f'there is no way {name!r}: name some of {", ".join(map(repr, known))}')
    return [way for way in ways if way.name in names]


def measure_ways(ways: Sequence[Way], rounds: int = 0, report: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Measure several ways, each in a process of its own.

    Bytes and FLOPs come from dry runs; times, and on a GPU what its allocator says, from real steps, round after round
    in turn, so that a slow minute of the machine hits them all.

    Args:
        ways (Sequence[Way]): The ways; ratios are to the first.
        rounds (int): How often to time each; 0 runs no real step. Defaults to 0.
        report (Callable): Called with a line whenever something is done.

    Returns:
        list[Row]: One for each way.

    Raises:
        MeasurementError: If a process ends before it has answered.
    """
    rows = []
    for way in ways:
        with _Process(way, dry=True) as process:
            rows.append(Row(way.name, **process.ask('count')))
        report(f'{way.name}: {megabytes(rows[-1].peak)} MB, {rows[-1].flops / 1e12:.2f} TFLOP')
    if not rounds:
        return rows
    processes = [_Process(way, dry=False) for way in ways]
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


def save(rows: Sequence[Row], picture: Path) -> None:
    """Write the rows as JSON beside their picture."""
    dump([asdict(row) for row in rows], picture.with_suffix('.json'), indent=1)
