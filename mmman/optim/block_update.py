"""What can go wrong between a block's loss and its step: an overflow, nothing learned, an exception."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor

from mmman.models import LocalLearning

# While a loss is not finite and the scale below this, no smaller one helps: torch's GradScaler says so in its
# documentation, and does not look.
LEAST_SCALE = 1.0
# The smallest number of float16. A scaled loss's gradient starts as the scale itself: below this it starts as zero.
LEAST_SCALE_OF_GRADIENTS = 2.0**-24
ADVICE = 'Lower the learning rate, set optim_wrapper.clip_grad, or look at the batch'


def has_loss_scaler(wrapper: OptimWrapper) -> bool:
    """Whether a wrapper scales its loss, and skips steps whose gradients overflow."""
    return isinstance(wrapper, AmpOptimWrapper) and wrapper.loss_scaler.is_enabled()


def start_agreeing(finite: bool, device: torch.device, group: dist.ProcessGroup | None) -> Callable[[], bool]:
    """Tell the other processes whether this one's loss was finite, without waiting for what they tell.

    Args:
        finite (bool): Whether it was.
        device (torch.device): Where the processes exchange tensors.
        group (ProcessGroup, optional): The processes; None for all.

    Returns:
        Callable: Waits, and returns whether the losses of all processes were finite.
    """
    own = torch.tensor([float(finite)], device=device)
    flags = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    work = dist.all_gather(flags, own, group=group, async_op=True)

    def agreed() -> bool:
        work.wait()
        return bool(torch.cat(flags).all())

    return agreed


def step_unless_overflown(wrapper: OptimWrapper, **kwargs: Any) -> bool:
    """Let a wrapper step, and tell whether its loss scaler skipped the step.

    Args:
        wrapper (OptimWrapper): The block's wrapper, with its gradients.
        **kwargs: Arguments of the optimizer's ``step``.

    Returns:
        bool: Whether the weights were stepped.
    """
    if not has_loss_scaler(wrapper):
        wrapper.step(**kwargs)
        return True
    steps = []

    def note(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        # A fused optimizer is called in any case, and skips the step itself.
        steps.append(not getattr(optimizer, 'found_inf', False))

    # By a hook, because scales do not tell: a fixed one is the same after an overflow.
    handle = wrapper.optimizer.register_step_post_hook(note)
    try:
        wrapper.step(**kwargs)
    finally:
        handle.remove()
    return any(steps)


def check_scale_can_help(wrapper: OptimWrapper, block: int, num_blocks: int, loss_is_finite: bool) -> None:
    """Raise if a block whose step was skipped cannot be stepped at any loss scale.

    The loss scaler's own scale is all that is known of the skipped steps before. A fixed scale (``loss_scale=512.0``)
    tells nothing of them: then only weights that are not finite are recognised.

    Args:
        wrapper (OptimWrapper): The block's wrapper, after the skipped step.
        block (int): Number of the block.
        num_blocks (int): K.
        loss_is_finite (bool): Whether the losses were finite, on all processes.

    Raises:
        FloatingPointError: If the block's weights are not finite, or the scale has become too small to be the cause.
    """
    subject = f'the gradient of block {block} is' if loss_is_finite else f'{_loss_of(block, num_blocks)} is'
    if any(not param.isfinite().all() for group in wrapper.optimizer.param_groups for param in group['params']):
        raise FloatingPointError(
            f'{subject} not finite because the weights are not: no loss scale makes a step possible. Start again from '
            'an earlier checkpoint, with a lower learning rate'
        )
    scale = wrapper.loss_scaler.get_scale()
    is_fixed = wrapper._scale_update_param is not None
    if not is_fixed and scale < (LEAST_SCALE_OF_GRADIENTS if loss_is_finite else LEAST_SCALE):
        raise FloatingPointError(
            f'{subject} still not finite after skipped steps have brought the loss scale down to {scale:g}: no loss '
            f'scale makes a step possible. {ADVICE}'
        )


def check_learns(local: LocalLearning, index: int) -> bool:
    """Raise if the loss of a block has given no gradient to the block's own segments.

    Args:
        local (LocalLearning): All blocks.
        index (int): Number of the block whose backward is done.

    Returns:
        bool: Whether it has given one; False where nothing of the segments is to be trained, for now.

    Raises:
        ValueError: If parameters of the segments require a gradient, and none has one.
    """
    block = local.blocks[index - 1]
    params = [p for segment in block.segments for p in local.family.parameters(local.backbone, segment)]
    if any(p.grad is not None for p in params):
        return True
    if not any(p.requires_grad for p in params):
        return False
    if block is local.blocks[-1]:
        cause = 'neither neck nor heads use its output'
        cure = "Let them (the backbone's out_indices, the heads' in_index, the levels of the neck)"
    else:
        cause, cure = 'its local head does not use its output', 'Use another local head'
    raise ValueError(
        f'{block} of {len(local.blocks)} would learn nothing: its loss gives it no gradient, {cause}. {cure}, end the '
        'blocks earlier (partition.ends), or ask for fewer blocks (partition.num_blocks)'
    )


def not_finite(
    block: int, num_blocks: int, log_vars: Mapping[str, Tensor], elsewhere: bool = False
) -> FloatingPointError:
    """The error about a loss that is not finite, where no loss scaler deals with it.

    Args:
        block (int): Number of the block.
        num_blocks (int): K.
        log_vars (Mapping[str, Tensor]): The losses by their names in the log.
        elsewhere (bool): Whether it is another process's loss that is not finite. Defaults to False.
    """
    values = ', '.join(f'{name}={float(value):g}' for name, value in log_vars.items())
    values = f'on another process; here {values}' if elsewhere else values
    return FloatingPointError(
        f'{_loss_of(block, num_blocks)} is not finite ({values}); the block was not stepped. {ADVICE}'
    )


def _loss_of(block: int, num_blocks: int) -> str:
    return f'the {"local " if block < num_blocks else ""}loss of block {block}'


def abandon_step(wrapper: OptimWrapper, count: int) -> None:
    """Make a wrapper ready for a new step after an exception, without gradients. What was stepped stays stepped.

    Args:
        wrapper (OptimWrapper): The wrapper.
        count (int): The number of iterations before the step.
    """
    wrapper.zero_grad()
    if wrapper.inner_count != count and has_loss_scaler(wrapper):
        # A scaler unscales gradients once between two updates. This one keeps the scale.
        wrapper.loss_scaler.update(wrapper.loss_scaler.get_scale())
    wrapper._inner_count = count
