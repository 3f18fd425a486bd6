"""What training costs on several processes: time and live bytes of one process, data parallel and pipeline."""

import copy
import statistics
import time
from collections.abc import Mapping

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn

from mmman.pipeline import PipelineParallel

from .live_bytes import LiveBytes, tensors_of
from .training_step import TrainingStep

WRAPPERS = {'data parallel': 'mmman.LocalDistributedDataParallel', 'pipeline': 'mmman.PipelineParallel'}


def setups(cfg: Config) -> dict[str, Config]:
    """One batch trained in three ways, by all processes of the current group.

    Args:
        cfg (Config): A config of local learning, for one process.

    Returns:
        dict[str, Config]: ``'one process'``; ``'data parallel'``, where each process has its part of the batch; and
        ``'pipeline'``.

    Raises:
        ValueError: If the batch cannot be shared out among the processes.
    """
    processes, batch_size = dist.get_world_size(), cfg.train_dataloader.batch_size
    if batch_size % processes:
        raise ValueError(
            f'a batch of {batch_size} cannot be shared out among {processes} processes: set '
            f'train_dataloader.batch_size to a multiple of {processes}'
        )
    configs = {'one process': copy.deepcopy(cfg)}
    configs['one process'].launcher = 'none'
    for name, wrapper in WRAPPERS.items():
        configs[name] = copy.deepcopy(cfg)
        configs[name].launcher = 'pytorch'
        configs[name].model_wrapper_cfg = dict(type=wrapper)
    configs['data parallel'].train_dataloader.batch_size //= processes
    for name, config in configs.items():
        config.experiment_name = name.replace(' ', '_')  # one process's runners share loggers by name
    return configs


class ParallelStep(TrainingStep):
    """A training step in which all processes take part, each with its own share; one process may do it all.

    Args:
        cfg (Config): One of :func:`setups`.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg)
        self.alone = cfg.launcher == 'none'

    def prepare(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """Free what other stages of a pipeline train."""
        if isinstance(model, PipelineParallel):
            model.take_own_part(optim_wrapper)

    def peak_of_each_process(self, steps: int) -> list[int]:
        """The most bytes of live tensors that each process has in some steps; called by all.

        Args:
            steps (int): How many.

        Returns:
            list[int]: Peaks by rank; of a step that one process does, only its own.
        """
        with LiveBytes(tensors_of(self.model, self.optim_wrapper)) as live:
            for _ in range(steps if self._takes_part else 0):
                self.run()
        peaks: list[int] = [0] * dist.get_world_size()
        dist.all_gather_object(peaks, live.peak)
        return peaks[:1] if self.alone else peaks

    def seconds_per_step(self, steps: int) -> float:
        """Time some steps in a row, from when all processes begin until all have finished; called by all.

        Args:
            steps (int): How many; a pipeline's include those of filling it.
        """
        dist.barrier()
        start = time.perf_counter()
        for _ in range(steps if self._takes_part else 0):
            self.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        dist.barrier()
        return (time.perf_counter() - start) / steps

    @property
    def _takes_part(self) -> bool:
        return not self.alone or dist.get_rank() == 0


def time_all_in_turn(
    named_steps: Mapping[str, ParallelStep], rounds: int, steps: int
) -> dict[str, tuple[float, float]]:
    """Time setups round after round, so that a slow minute of the machine hits them all; called by all processes.

    Args:
        named_steps (Mapping[str, ParallelStep]): The setups; the first is what the others are compared with.
        rounds (int): How often.
        steps (int): How many steps in a row.

    Returns:
        dict[str, tuple[float, float]]: Of each, the median seconds of a step, and the median of its ratio to the first
        one's in the same round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in named_steps}
    for _ in range(rounds):
        for name, step in named_steps.items():
            seconds[name].append(step.seconds_per_step(steps))
    first = next(iter(seconds.values()))
    return {
        name: (statistics.median(times), statistics.median(a / b for a, b in zip(times, first, strict=True)))
        for name, times in seconds.items()
    }


def seconds_of_blocks(step: TrainingStep, rounds: int) -> list[float]:
    """How long each block takes in a step on one process: until its optimizer has stepped.

    Args:
        step (TrainingStep): A step of local learning.
        rounds (int): How often it is timed.

    Returns:
        list[float]: Median seconds of each block; the last one's with neck and heads.
    """
    ends: list[float] = []
    hooks = [
        wrapper.optimizer.register_step_post_hook(lambda *args: ends.append(time.perf_counter()))
        for wrapper in step.optim_wrapper.values()
    ]
    measured = []
    for _ in range(rounds):
        ends[:] = [time.perf_counter()]
        step.run()
        measured.append([b - a for a, b in zip(ends, ends[1:], strict=False)])
    for hook in hooks:
        hook.remove()
    return [statistics.median(times) for times in zip(*measured, strict=True)]
