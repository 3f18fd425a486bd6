"""What one training step of a config costs: peak live tensor bytes and time."""

import copy
import inspect
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmman.hooks import ChannelsLastHook, CompileBlocksHook, RecomputeHook
from mmman.models import LocalLearning, unwrapped

from .dry_run import DryRun
from .live_bytes import LiveBytes, Peak, tensors_of

# Hooks that change how a step is computed.
PREPARING = (ChannelsLastHook, CompileBlocksHook, RecomputeHook)


class StepBytes(NamedTuple):
    """Live tensor bytes of a training step.

    Args:
        peak (int): The most that was alive at once: everything, parameters and optimizer states included.
        resident (int): What stays between steps: parameters, buffers, optimizer states.
        blocks (tuple[int, ...]): The most that was alive at once while each block was at work, 1..K; the last with all
            that comes before block 1 and after block K-1. The peak alone where there are no blocks.
        parameters (int): Of ``resident``, parameters and buffers.
        gradients (int): Of ``peak``, the parameters' gradients.
    """

    peak: int
    resident: int
    blocks: tuple[int, ...]
    parameters: int
    gradients: int

    @property
    def states(self) -> int:
        """Of ``resident``, the optimizers' states."""
        return self.resident - self.parameters

    @property
    def activations(self) -> int:
        """Of ``peak``, all else: activations and their gradients, the batch."""
        return self.peak - self.resident - self.gradients


class TrainingStep:
    """One training step of a config that can be run over and over, on the first batch of its data.

    Args:
        cfg (Config): A config that trains; its modules are registered.
        dry (bool): Whether steps compute nothing (:class:`DryRun`): bytes and FLOPs are those of a real step, there is
            no time to measure. Defaults to False.
        batch (optional): The batch, as a dataloader gives it; the first of the config's data by default.

    Attributes:
        holders (list): The modules, optimizers and optimizer wrappers whose tensors live between steps.
    """

    dry_run, live_bytes = DryRun, LiveBytes

    def __init__(self, cfg: Config, dry: bool = False, batch: Any = None) -> None:
        cfg = copy.deepcopy(cfg)
        # In this process: the images of the batch are counted, a worker's shared memory would not be.
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.resume, cfg.load_from = False, None
        cfg.randomness = {'seed': 0, **cfg.get('randomness', {})}  # the same batch for every config, every time
        runner = RUNNERS.build(cfg)
        if batch is None:
            batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)))
        self.batch = batch
        self.model = runner.model
        if not dry:  # else no value matters, and pretrained weights need not be there
            unwrapped(self.model).init_weights()
        self.model.train()
        if cfg.get('activation_checkpointing'):
            turn_on_activation_checkpointing(self.model, cfg.activation_checkpointing)  # as Runner.train does
        self.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        for hook in runner.hooks:
            if isinstance(hook, PREPARING):
                hook.before_train(runner)
        for key in ('epoch', 'iter'):  # as mmengine's loops write them: TOOD chooses its assigner by the epoch
            runner.message_hub.update_info(key, 0)
        self.holders = [self.model, self.optim_wrapper]
        self.dry = dry
        self.prepare(self.model, self.optim_wrapper)
        # Outermost, so that others see what it makes, not how.
        self._mode = self.dry_run(tensors_of(*self.holders)) if dry else nullcontext()
        with self._mode:
            self.run()  # the optimizer states exist from now on, for all that has a gradient

    def prepare(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """What is to be done before the first step; nothing here."""

    def run(self) -> None:
        """Train one step."""
        self.model.train_step(copy.deepcopy(self.batch), self.optim_wrapper)

    def bytes(self) -> StepBytes:
        """Count the live bytes of a step; the same on every machine of one kind."""
        parameters = LiveBytes(tensors_of(self.model)).current
        with self._mode, self.live_bytes(tensors_of(*self.holders)) as live:
            resident = live.current
            with _peaks_of_blocks(self.model, live) as peaks, live.watch_gradients(self.model.parameters()):
                self.run()
        most = max(peaks)
        return StepBytes(most.bytes, resident, tuple(peak.bytes for peak in peaks), parameters, most.gradients)

    def flops(self) -> int:
        """Count the floating point operations of a step, those of recomputation included, by torch's counter."""
        with self._mode, FlopCounterMode(display=False) as counter:
            self.run()
        return counter.get_total_flops()

    def seconds(self) -> float:
        """Time a step.

        Raises:
            RuntimeError: If steps compute nothing.
        """
        if self.dry:
            raise RuntimeError('a dry step computes nothing: its time means nothing. Build TrainingStep with dry=False')
        start = time.perf_counter()
        self.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


class StepInBackward(TrainingStep):
    """A training step in which each parameter is stepped as soon as its gradient is known, and the gradient freed.

    What end-to-end training can do against the memory of gradients, where neither norms are clipped nor gradients
    accumulated (PyTorch's tutorial "How to save memory by fusing the optimizer step into the backward pass").

    Args:
        cfg (Config): A config that trains end to end.
        dry (bool): See :class:`TrainingStep`.
    """

    def prepare(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """Give every parameter that is trained an optimizer of its own, with the config's options for it."""
        (wrapper,) = wrappers_of(optim_wrapper)
        optimizer = wrapper.optimizer
        if isinstance(wrapper, AmpOptimWrapper):
            wrapper.loss_scaler = torch.amp.GradScaler(enabled=False)  # it would find no gradients to scale back
        self.holders.remove(optim_wrapper)  # its optimizer never meets a gradient
        known = inspect.signature(type(optimizer)).parameters  # a group also has what AdamW fixes for Adam
        for group in optimizer.param_groups:
            options = {name: value for name, value in group.items() if name in known and name != 'params'}
            for param in [param for param in group['params'] if param.requires_grad]:
                own = type(optimizer)([param], **options)
                self.holders.append(own)
                param.register_post_accumulate_grad_hook(partial(_step_and_free, own))


def wrappers_of(wrapper: OptimWrapper | OptimWrapperDict) -> list[OptimWrapper]:
    """The wrappers of single optimizers that an optimizer wrapper is, or has inside."""
    if isinstance(wrapper, OptimWrapperDict):
        return [inner for each in wrapper.values() for inner in wrappers_of(each)]
    return [wrapper]


def _step_and_free(optimizer: torch.optim.Optimizer, param: nn.Parameter) -> None:
    optimizer.step()
    param.grad = None


@contextmanager
def _peaks_of_blocks(model: nn.Module, live: LiveBytes) -> Iterator[list[Peak]]:
    """Afterwards, the list has the peak of each of the blocks 1..K-1, and that of all else."""
    peaks: list[Peak] = []
    others: list[Peak] = []
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, LocalLearning):
                watch = module.watch(
                    lambda _: others.append(live.take_peak()), lambda _: peaks.append(live.take_peak())
                )
                stack.enter_context(watch)
        yield peaks
    peaks.append(max([*others, live.take_peak()]))
