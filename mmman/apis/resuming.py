"""What a config needs for its training to go on: the checkpoint, and a loop that can begin where it was written."""

import os.path as osp

from mmengine.config import Config
from mmengine.logging import print_log

from mmman.resume import ExactCheckpointHook, ResumableEpochBasedTrainLoop
from mmman.resume.last_checkpoint import LAST_CHECKPOINT, last_checkpoint, moved_checkpoint
from mmman.toolboxes import is_type, type_name


def moved_checkpoint_of(cfg: Config) -> str | None:
    """The checkpoint to go on from in a folder that was moved or copied; said in the log.

    Args:
        cfg (Config): A config with a ``work_dir``.

    Returns:
        str | None: The file; None leaves it to mmengine to find it.

    Raises:
        FileNotFoundError: If there is neither the file that ``last_checkpoint`` names nor one of this name beside it.
    """
    work_dir = osp.abspath(cfg.work_dir)
    out_dir = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')
    folders = [] if out_dir is None else [osp.join(out_dir, osp.basename(work_dir))]
    moved, named = moved_checkpoint(work_dir, folders), last_checkpoint(work_dir)
    if moved is not None:
        print_log(f"'{work_dir}' was moved or copied: training goes on from '{moved}'.", 'current')
    elif named is not None and '://' not in named and not osp.exists(named):
        raise FileNotFoundError(
            f"checkpoint not found: '{osp.join(work_dir, LAST_CHECKPOINT)}' names '{named}', which does not exist, and "
            'there is none of this name beside it: name one, --resume CHECKPOINT'
        )
    return moved


def go_on_inside_epochs(cfg: Config) -> None:
    """Take the loop that can go on inside of an epoch where checkpoints are written inside of epochs; said in the log.

    Args:
        cfg (Config): A config, changed in place.
    """
    hooks = [(cfg.get('default_hooks') or {}).get('checkpoint'), *(cfg.get('custom_hooks') or [])]
    inside = any(
        isinstance(hook, dict) and is_type(hook.get('type'), ExactCheckpointHook) and not hook.get('by_epoch', True)
        for hook in hooks
    )
    loop = cfg.get('train_cfg')
    if inside and loop and (loop.get('by_epoch') or type_name(loop.get('type')) == 'EpochBasedTrainLoop'):
        loop.pop('by_epoch', None)
        loop.type = f'mmman.{ResumableEpochBasedTrainLoop.__name__}'
        print_log(f'Checkpoints fall inside of epochs: {loop.type} is taken, which can go on there.', 'current')
