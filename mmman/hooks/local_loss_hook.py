"""Puts what the blocks do into the log."""

from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmman.optim.optim_wrapper import LocalOptimWrapper
from mmman.registry import HOOKS


@HOOKS.register_module()
class LocalLossHook(Hook):
    """Logs every block's local losses, the scale s of its auxiliary network and, on request, its gradient norm.

    Names are stable: ``local<block>.<loss>`` (``local1.loss_cls``; ``local1.loss`` is their sum),
    ``local<block>.scale`` and ``local<block>.grad_norm``. They go to the message hub under ``train/``, from there to
    the log and all visualiser backends. Block K's losses are the model's own, logged as ever.

    Args:
        grad_norm (bool): Whether to log the norm of every block's gradient, as its optimizer steps with it. Where
            ``clip_grad`` is set, mmengine logs the norm before clipping under the same name, and this adds nothing.
            Defaults to False.
    """

    priority = 'NORMAL'

    def __init__(self, grad_norm: bool = False) -> None:
        self.grad_norm = grad_norm

    def before_train(self, runner: Runner) -> None:
        """Check that there are blocks to log.

        Args:
            runner (Runner): The runner.

        Raises:
            TypeError: If the optimizer wrapper was not built for local learning.
        """
        optim_wrapper = runner.optim_wrapper
        if not isinstance(optim_wrapper, LocalOptimWrapper):
            raise TypeError(
                'LocalLossHook logs the blocks of local learning, but optim_wrapper is a '
                f'{type(optim_wrapper).__name__}'
                ": set optim_wrapper = dict(constructor='mmman.LocalOptimWrapperConstructor', ...)"
            )
        if not self.grad_norm:
            return
        for i, wrapper in enumerate(optim_wrapper.values(), start=1):
            if not wrapper.clip_grad_kwargs:
                name = 'train/grad_norm' if wrapper is optim_wrapper.main else f'train/local{i}.grad_norm'
                wrapper.optimizer.register_step_pre_hook(partial(_log_grad_norm, runner.message_hub, name))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Log the iteration.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch in the loop.
            data_batch (dict, optional): The batch.
            outputs (dict, optional): The model's own log variables.
        """
        for name, value in runner.optim_wrapper.local_log_vars.items():
            runner.message_hub.update_scalar(f'train/{name}', value)


def _log_grad_norm(message_hub: Any, name: str, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    grads = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
    if grads:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        message_hub.update_scalar(name, norm)
