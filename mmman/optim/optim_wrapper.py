"""The optimizer wrapper of local learning: one inner wrapper per block, stepped as soon as its block has learned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mmman.models import LocalLearning, LocalStep, find_local_backbone, normalisation_of, see_raw_images, unwrapped

from .averaging import start_averaging
from .block_update import (
    abandon_step,
    check_learns,
    check_scale_can_help,
    has_loss_scaler,
    not_finite,
    start_agreeing,
    step_unless_overflown,
)
from .data_parallel import LocalDistributedDataParallel
from .optimizer_states import states_that_fit, with_segments
from .parameter_groups import averaged_parameters


class LocalOptimWrapper(OptimWrapperDict):
    """Updates the blocks of a :class:`mmman.models.LocalBackbone` separately.

    Inside :meth:`optim_context` the model's forward makes blocks 1..K-1 learn: backward, clipping, step and zeroing of
    gradients are those of the block's own inner wrapper. :meth:`update_params` then updates block K with all that lies
    behind the backbone. To a runner it is one optimizer wrapper: it logs block K's learning rate (all blocks follow the
    same schedulers), and counts accumulation as block K does.

    Built by :class:`mmman.optim.LocalOptimWrapperConstructor`.

    Args:
        **optim_wrappers (OptimWrapper): The inner wrappers, named ``block1`` to ``blockK``, in this order.

    Attributes:
        local_log_vars (dict[str, Tensor]): The latest step's local losses, named ``local<block>.<loss>``.
        segments (dict[str, str]): By block, what it consists of; empty if its constructor does not say so.
    """

    def __init__(self, **optim_wrappers: OptimWrapper) -> None:
        super().__init__(**optim_wrappers)
        expected = [f'block{i}' for i in range(1, len(optim_wrappers) + 1)]
        if list(optim_wrappers) != expected or not expected:
            raise ValueError(f'LocalOptimWrapper takes wrappers named block1, block2, ..., got {list(optim_wrappers)}')
        self.local_log_vars: dict[str, Tensor] = {}
        self.segments: dict[str, str] = {}
        self._local: LocalLearning | None = None
        # The blocks' counts of iterations when the latest step began, and whether it still waits for update_params.
        self._counts: list[int] = []
        self._unfinished = False
        # Over several processes: what remains to be done for the block whose gradients are on their way.
        self._finish_pending: Callable[[], None] | None = None
        # By block: what is wrong with a loss of the current window of accumulation. It goes on to the window's end,
        # when all processes hear of it and raise together, or the loss scaler skips the step.
        self._broken: dict[int, FloatingPointError] = {}
        # Numbers of the blocks that have had a gradient. Their losses reach them, though not in every batch: an image
        # without proposals may give none.
        self._learning: set[int] = set()
        self._group: dist.ProcessGroup | None = None
        self._main_group: dist.ProcessGroup | None = None
        # Parameters of block K that the model's wrapper does not average.
        self._unreduced: list[nn.Parameter] = []
        for i, wrapper in enumerate(list(self.values())[:-1], start=1):
            if wrapper.clip_grad_kwargs:
                # mmengine logs the norm it clips under this name; K blocks would overwrite each other's.
                wrapper.grad_name = f'local{i}.{wrapper.grad_name}'

    @property
    def main(self) -> OptimWrapper:
        """The inner wrapper of block K, the neck and the heads."""
        return self.optim_wrappers[f'block{len(self)}']

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Let the model's forward train blocks 1..K-1; precision is what the inner wrappers ask for.

        Args:
            model (nn.Module): The model that is being trained.

        Raises:
            RuntimeError: If the model is wrapped for several processes by a wrapper that knows nothing of blocks.
        """
        if len(self) == 1:
            with self.main.optim_context(model):
                yield
            return
        if self._unfinished:  # what was raised after the forward was raised outside of this wrapper
            self._abandon_step()
        plain, no_sync = unwrapped(model), nullcontext()
        several = is_model_wrapper(model) and get_world_size() > 1
        if is_model_wrapper(model) and not isinstance(model, LocalDistributedDataParallel):
            if several:
                raise RuntimeError(
                    f'{type(model).__name__} cannot train {len(self)} blocks on {get_world_size()} processes: it '
                    'would average the gradients of the last block only. Write '
                    "model_wrapper_cfg = dict(type='mmman.LocalDistributedDataParallel') (with FlexibleRunner: "
                    "strategy = dict(type='DDPStrategy', model_wrapper=dict(...)))"
                )
            # One process has nothing to average; the reducer must not wait for blocks that learned before it was
            # armed.
            no_sync, model = model.no_sync(), plain
        group = model.process_group if several else None
        self._unreduced = model.unreduced_parameters() if several else []

        def take_targets(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            step.take_targets(kwargs['data_samples'] if 'data_samples' in kwargs else args[1])

        handle = plain.register_forward_pre_hook(take_targets, with_kwargs=True)
        try:
            with (
                no_sync,
                self.main.optim_context(model),
                self.local_step(plain, group) as step,
                find_local_backbone(plain).local.bind(step),
            ):
                self._unfinished = True
                yield
        finally:
            handle.remove()

    @contextmanager
    def local_step(
        self, model: nn.Module, group: dist.ProcessGroup | None = None, main_group: dist.ProcessGroup | None = None
    ) -> Iterator[LocalStep]:
        """One training step, to run blocks in; an exception leaves model and optimizers usable.

        Args:
            model (nn.Module): The plain model, not wrapped.
            group (ProcessGroup, optional): The processes over which the gradients of blocks 1..K-1 are averaged.
            main_group (ProcessGroup, optional): Those over which :meth:`update_params` averages block K's, where no
                wrapper of the model does.

        Yields:
            LocalStep: The step. Its targets are not set yet.
        """
        self._local = find_local_backbone(model).local
        self._group, self._main_group = group, main_group
        self.local_log_vars = {}
        self._counts = [wrapper.inner_count for wrapper in self.values()]
        for param in averaged_parameters(find_local_backbone(model).local):
            param.requires_grad_(False)  # a hook may have unfrozen the backbone with all that is in it
        mean, std = normalisation_of(model)
        step = LocalStep(update=partial(self._update_block, model), mean=mean, std=std)
        with self._usable_after_failure(), see_raw_images(model, step):
            yield step

    def _update_block(
        self, model: nn.Module, index: int, losses: dict[str, Tensor], after_step: Callable[[], None]
    ) -> None:
        """Let one of the blocks 1..K-1 learn from its losses.

        Over several processes the block's step waits until the next block has done its backward; in the meantime its
        gradients are averaged. No result depends on that: the step of block j is still before that of block j+1.
        """
        loss, log_vars = model.parse_losses(losses)
        log_vars = {name: value.detach() for name, value in log_vars.items()}
        self.local_log_vars.update({f'local{index}.{name}': value for name, value in log_vars.items()})
        wrapper = self.optim_wrappers[f'block{index}']
        if not any(param.requires_grad for param in _params_of(wrapper)):  # a hook has frozen all of the block
            self.finish()
            wrapper._inner_count += 1
            return
        # The forward may run under autocast; backward and step must not. Autocast holds copies of weights: they would
        # stay alive through the backward, and be out of date after the step.
        torch.clear_autocast_cache()
        with torch.autocast(loss.device.type, enabled=False):
            self._backward(index, loss, log_vars)
            self.finish()
            if wrapper.should_update() and self._group is None:
                self._step(index, index not in self._broken, log_vars, after_step)
            elif wrapper.should_update():
                averaging = start_averaging(_params_of(wrapper), index not in self._broken, self._group)
                self._finish_pending = lambda: self._step(index, averaging.finish(), log_vars, after_step)
        torch.clear_autocast_cache()

    def _backward(self, index: int, loss: Tensor, log_vars: dict[str, Tensor]) -> None:
        """A block's backward; a loss that is not finite raises now if no other process and no loss scaler is told."""
        wrapper = self.optim_wrappers[f'block{index}']
        if not torch.isfinite(loss):
            error = not_finite(index, len(self), log_vars)
            if self._group is None and not has_loss_scaler(wrapper):
                raise error
            self._broken.setdefault(index, error)
        wrapper.backward(wrapper.scale_loss(loss))
        if index not in self._learning and self._local is not None and check_learns(self._local, index):
            self._learning.add(index)

    def _step(
        self,
        index: int,
        finite: bool,
        log_vars: dict[str, Tensor],
        after_step: Callable[[], None] | None = None,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Step a block at the end of a window of accumulation, unless its loss scaler skips the step.

        Args:
            index (int): Number of the block.
            finite (bool): Whether all its losses in the window were finite, on all processes.
            log_vars (dict[str, Tensor]): The latest of them, for a message.
            after_step (Callable, optional): What follows a step that was not skipped.
            step_kwargs (dict, optional): Arguments of the optimizer's ``step``.
            zero_kwargs (dict, optional): Arguments of the optimizer's ``zero_grad``.

        Raises:
            FloatingPointError: If a loss is not finite and there is no loss scaler, or none can help.
        """
        wrapper = self.optim_wrappers[f'block{index}']
        error = self._broken.pop(index, None)
        if not finite and not has_loss_scaler(wrapper):
            raise error or not_finite(index, len(self), log_vars, elsewhere=True)
        stepped = step_unless_overflown(wrapper, **(step_kwargs or {}))
        wrapper.zero_grad(**(zero_kwargs or {}))
        if not stepped:
            check_scale_can_help(wrapper, index, len(self), finite)
        elif after_step is not None:
            after_step()

    def finish(self) -> None:
        """Step the block whose gradients are being averaged, if any."""
        if self._finish_pending is not None:
            finish, self._finish_pending = self._finish_pending, None
            finish()

    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Update block K and what lies behind it from the model's own loss.

        Args:
            loss (Tensor): The model's loss.
            step_kwargs (dict, optional): Arguments of the optimizer's ``step``.
            zero_kwargs (dict, optional): Arguments of the optimizer's ``zero_grad``.
        """
        if len(self) == 1:
            self.main.update_params(loss, step_kwargs, zero_kwargs)
            return
        with self._usable_after_failure():
            log_vars = dict(loss=loss.detach())
            self._backward(len(self), loss, log_vars)
            finite = len(self) not in self._broken
            # Until all processes have told, block K-1 steps: its gradients were averaged while block K computed.
            wait = None
            if self.should_update() and self._main_group is not None:
                wait = start_averaging(_params_of(self.main), finite, self._main_group).finish
            elif self.should_update() and self._unreduced:
                wait = start_averaging(self._unreduced, finite, self._group).finish
            elif self.should_update() and self._group is not None:
                wait = start_agreeing(finite, loss.device, self._group)
            self.finish()
            if self.should_update():
                finite = finite if wait is None else wait()
                self._step(len(self), finite, log_vars, step_kwargs=step_kwargs, zero_kwargs=zero_kwargs)
        self._unfinished = False

    @contextmanager
    def _usable_after_failure(self) -> Iterator[None]:
        """After an exception in mid-step the next step is a whole one."""
        try:
            yield
        except BaseException:
            self._abandon_step()
            raise

    def _abandon_step(self) -> None:
        """Leave no half gradients, and all blocks at the same count of accumulation."""
        self._unfinished = False
        self._finish_pending = None
        self._broken.clear()
        for wrapper, count in zip(self.values(), self._counts, strict=False):
            abandon_step(wrapper, count)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Tell every block how long training is, for gradient accumulation; see ``OptimWrapper``."""
        if self._unfinished:
            self._abandon_step()
        for wrapper in self.values():
            # The model only decides a warning about BatchNorm, which is wanted once.
            wrapper.initialize_count_status(model if wrapper is self.main else nn.Identity(), init_counts, max_counts)

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rate(s) of block K's parameter groups, as a plain optimizer wrapper gives them."""
        return self.main.get_lr()

    def get_momentum(self) -> dict[str, list[float]]:
        """Momentum of block K's parameter groups, as a plain optimizer wrapper gives it."""
        return self.main.get_momentum()

    def should_update(self) -> bool:
        """Whether the blocks' weights are stepped in this iteration."""
        return self.main.should_update()

    def should_sync(self) -> bool:
        """Whether gradients are to be averaged over processes in this iteration."""
        return self.main.should_sync()

    @property
    def _accumulative_counts(self) -> int:
        """Iterations in a window of accumulation. mmengine's strategies ask for it by this name."""
        return self.main._accumulative_counts

    @property
    def inner_count(self) -> int:
        """Number of iterations so far."""
        return self.main.inner_count

    def state_dict(self) -> dict[str, dict]:
        """The states of all blocks' optimizers, each with the segments that it belongs to."""
        return with_segments(super().state_dict(), self.segments)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the states of all blocks' optimizers.

        Raises:
            ValueError: If they are the states of another number of blocks, of other blocks, or of other parameters.
        """
        super().load_state_dict(states_that_fit(state_dict, self.optim_wrappers, self.segments))


def _params_of(wrapper: OptimWrapper) -> list[nn.Parameter]:
    return [param for group in wrapper.optimizer.param_groups for param in group['params']]
