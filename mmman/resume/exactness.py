"""What keeps a resumed run from being what it would have been without a break."""

import math
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from .loops import ResumableEpochBasedTrainLoop

LOOP_TYPE = f'mmman.{ResumableEpochBasedTrainLoop.__name__}'


def warnings_before(runner: Runner, hook: CheckpointHook) -> list[str]:
    """Why training cannot be resumed exactly from checkpoints that are yet to be written.

    Args:
        runner (Runner): The runner, about to train.
        hook (CheckpointHook): The hook that writes them.

    Returns:
        list[str]: A line for each reason.
    """
    if hook.interval <= 0:
        return []
    lines = []
    loop = runner.train_loop
    per_checkpoint = len(loop.dataloader) if hook.by_epoch else 1
    counts = _accumulative_counts(runner.optim_wrapper)
    if hook.interval * per_checkpoint % counts or hook.save_begin * per_checkpoint % counts:
        step = counts // math.gcd(counts, per_checkpoint)
        exact = math.ceil(hook.interval / step) * step
        lines.append(
            f'the optimizer steps every {counts} iterations, and checkpoints fall in between, where the gradients '
            f'gathered so far are lost: training resumed from these is not exact; with interval={exact} (now '
            f'{hook.interval}) and save_begin=0 (now {hook.save_begin}) it is'
        )
    if hook.by_epoch or not isinstance(loop, EpochBasedTrainLoop) or isinstance(loop, ResumableEpochBasedTrainLoop):
        return lines
    length = len(loop.dataloader)
    if hook.interval % length or hook.save_begin % length:
        lines.append(
            f'checkpoints fall inside of epochs of {length} batches, and {type(loop).__name__} cannot go on from them: '
            f"set train_cfg.type='{LOOP_TYPE}'"
        )
    return lines


def _accumulative_counts(wrapper: OptimWrapper | OptimWrapperDict) -> int:
    inner = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return max(wrapper._accumulative_counts for wrapper in inner if isinstance(wrapper, OptimWrapper))


def why_inexact(loop: Any, loaded: dict) -> str:
    """Why training cannot go on exactly from a checkpoint.

    Args:
        loop (BaseLoop): The loop that is to go on.
        loaded (dict): What :class:`mmman.ExactCheckpointHook` wrote into the checkpoint; empty where it did not.

    Returns:
        str: The reason; empty where there is none.
    """
    if not loaded:
        return 'the checkpoint has no random states, because ExactCheckpointHook did not write it'
    if len(loaded['rng']) != get_world_size():
        return (
            f'the checkpoint was written by {len(loaded["rng"])} process(es), and now there is/are {get_world_size()}'
        )
    if isinstance(loop, EpochBasedTrainLoop) and loaded['epoch_length'] != len(loop.dataloader):
        return f'an epoch had {loaded["epoch_length"]} batches, and now has {len(loop.dataloader)}'
    if isinstance(loop, IterBasedTrainLoop):
        if not hasattr(loop.dataloader_iterator, 'skip_iter'):
            return "this mmengine's IterBasedTrainLoop starts reading data before it resumes; onedl-mmengine does not"
        if loop.fast_forward_on_resume:
            return 'with fast_forward_on_resume=True the data start from the beginning'
    return ''
