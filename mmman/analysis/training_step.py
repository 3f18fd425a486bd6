"""What one training step of a config costs: peak live tensor bytes and time."""

import copy
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmman.models import LocalBackbone

from .live_bytes import LiveBytes, tensors_of


class StepBytes(NamedTuple):
    """Live tensor bytes of a training step.

    Args:
        peak (int): The most that was alive at once: everything, parameters and optimizer states included.
        resident (int): What stays between steps: parameters, buffers, optimizer states.
        blocks (tuple[int, ...]): The most that was alive at once while each block was at work, 1..K; the last with all
            that comes before block 1 and after block K-1. The peak alone where there are no blocks.
    """

    peak: int
    resident: int
    blocks: tuple[int, ...]


class TrainingStep:
    """One training step of a config that can be run over and over, on the first batch of its data.

    Args:
        cfg (Config): A config that trains; its modules are registered.
    """

    def __init__(self, cfg: Config) -> None:
        cfg = copy.deepcopy(cfg)
        # In this process: the images of the batch are counted, a worker's shared memory would not be.
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.resume, cfg.load_from = False, None
        cfg.randomness = {'seed': 0, **cfg.get('randomness', {})}  # the same batch for every config, every time
        runner = Runner.from_cfg(cfg)
        self.batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)))
        self.model = runner.model
        getattr(self.model, 'module', self.model).init_weights()
        self.model.train()
        if cfg.get('activation_checkpointing'):
            turn_on_activation_checkpointing(self.model, cfg.activation_checkpointing)  # as Runner.train does
        self.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        self.prepare(self.model, self.optim_wrapper)
        self.run()  # the optimizer states exist from now on

    def prepare(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """What is to be done before the first step; nothing here."""

    def run(self) -> None:
        """Train one step."""
        self.model.train_step(copy.deepcopy(self.batch), self.optim_wrapper)

    def bytes(self) -> StepBytes:
        """Count the live bytes of a step; the same on every machine of one kind."""
        with LiveBytes(tensors_of(self.model, self.optim_wrapper)) as live:
            resident = live.current
            with _peaks_of_blocks(self.model, live) as blocks:
                self.run()
            rest = live.peak
        return StepBytes(max(*blocks, rest, resident), resident, (*blocks, rest))

    def flops(self) -> int:
        """Count the floating point operations of a step, those of recomputation included, by torch's counter."""
        with FlopCounterMode(display=False) as counter:
            self.run()
        return counter.get_total_flops()

    def seconds(self) -> float:
        """Time a step."""
        start = time.perf_counter()
        self.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


@contextmanager
def _peaks_of_blocks(model: nn.Module, live: LiveBytes) -> Iterator[list[int]]:
    """Inside, the list gets the peak of each of the blocks 1..K-1; that of all else is left in ``live``."""
    peaks: list[int] = []
    backbones = [module for module in model.modules() if isinstance(module, LocalBackbone)]
    if not backbones:
        yield peaks
        return
    (backbone,) = backbones
    learn = backbone.learn

    def learn_and_look(*args: Any) -> Tensor:
        rest = live.peak
        live.reset_peak()
        x = learn(*args)
        peaks.append(live.peak)
        live.peak = max(rest, live.current)
        return x

    backbone.learn = learn_and_look
    try:
        yield peaks
    finally:
        del backbone.learn


def time_in_turn(steps: Sequence[TrainingStep], rounds: int) -> list[float]:
    """Time several steps round after round, so that a slow minute of the machine hits them all.

    Args:
        steps (Sequence[TrainingStep]): What to time.
        rounds (int): How often.

    Returns:
        list[float]: The median over the rounds of each step's time as a ratio to the first step's in the same round.
    """
    ratios: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        first, *others = (step.seconds() for step in steps)
        for ratio, seconds in zip(ratios, (first, *others), strict=True):
            ratio.append(seconds / first)
    return [statistics.median(ratio) for ratio in ratios]
