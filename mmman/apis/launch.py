"""From a config file and the command line's options to a runner, for the configs of every toolbox.

The toolbox is the config's `default_scope` or, where that is None, the one that the model's class comes from.
"""

from __future__ import annotations

import importlib.util
import os.path as osp
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmman.hooks.plan_hook import out_of_memory
from mmman.toolboxes import register_toolbox, toolbox_of

from .config_parts import NotLocalizableError
from .data_check import check_data
from .launch_options import OptionError, add_common_arguments, apply_test_options, apply_train_options
from .localization import localize
from .processes import join_processes

__all__ = [
    'NotLocalizableError',
    'OptionError',
    'add_common_arguments',
    'apply_test_options',
    'apply_train_options',
    'build_runner',
    'check_data',
    'config_file',
    'join_processes',
    'load_config',
    'localize_as_asked',
    'register_toolbox',
    'train',
]


def load_config(
    path: str,
    cfg_options: dict[str, Any] | None = None,
    launcher: str = 'none',
    work_dir: str | None = None,
) -> Config:
    """Read a config, register its toolbox's modules and apply what training and testing have in common.

    Args:
        path: The config file, or one that a toolbox ships: `mmdet::retinanet/retinanet_r50_fpn_1x_coco.py`.
        cfg_options: Settings to merge over it, keys with dots.
        launcher: How the processes are started: none, pytorch, slurm or mpi.
        work_dir: The folder for logs and checkpoints; the config's own, else `./work_dirs/<name of the config>`.

    Returns:
        The config, from which `build_runner` builds.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    cfg = Config.fromfile(config_file(path))
    cfg.launcher = launcher
    if cfg_options is not None:
        cfg.merge_from_dict(cfg_options)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('./work_dirs', osp.splitext(osp.basename(path))[0])

    scope = toolbox_of(cfg)
    register_toolbox(scope)
    if cfg.get('default_scope') is None and scope != 'mmengine':
        # Defaults of the toolbox's classes are names, and so is what options add.
        print_log(f"The config has no default_scope: '{scope}' is taken, where its model comes from.", 'current')
        cfg.default_scope = scope
    if scope == 'mmpretrain':
        # mmpretrain's configs count on its scripts for these; without, images reach the model as a list.
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if cfg.get(name) is not None:
                _set_mmpretrain_defaults(cfg[name])
    return cfg


def localize_as_asked(cfg: Config, local_learning: int | str | None) -> Config:
    """Turn a stock config into what `--local-learning` asks for.

    Args:
        cfg: The config, other options applied: a plan depends on the precision.
        local_learning: So many blocks, or a memory such as `'8GB'`; see `mmman.localize`. None changes nothing.

    Raises:
        NotLocalizableError: If the config cannot be trained in blocks, or in so little memory.
    """
    if local_learning is None:
        return cfg
    how = dict(memory=local_learning) if isinstance(local_learning, str) else dict(num_blocks=local_learning)
    return localize(cfg, **how)


def config_file(path: str) -> str:
    """The file that a path means: `mmseg::...` is one that a toolbox ships.

    Args:
        path: A path, or a toolbox and a path in its folder of configs.

    Raises:
        FileNotFoundError: If the toolbox ships no such file.
    """
    toolbox, separator, inside = path.partition('::')
    if not separator:
        return path
    if importlib.util.find_spec(toolbox) is None:
        raise FileNotFoundError(f"'{path}' names the toolbox {toolbox}, which is not installed")
    file = osp.join(osp.dirname(importlib.util.find_spec(toolbox).origin), '.mim', 'configs', inside)
    if not osp.exists(file):
        raise FileNotFoundError(f"{toolbox} ships no config '{inside}' (there is no '{file}')")
    return file


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config names by `runner_type`, else mmengine's.

    Args:
        cfg: A complete config.
    """
    join_processes(cfg)
    return RUNNERS.build(cfg)


def train(runner: Runner) -> None:
    """Train; where a GPU has too little memory, say in the log what to do.

    Args:
        runner: What `build_runner` gave.
    """
    try:
        runner.train()
    except torch.OutOfMemoryError:
        runner.logger.error(out_of_memory(runner))
        raise


def _set_mmpretrain_defaults(dataloader: ConfigDict) -> None:
    dataloader.setdefault('pin_memory', True)
    # torch refuses persistent workers where there are none.
    dataloader.setdefault('persistent_workers', dataloader.get('num_workers', 0) > 0)
    dataloader.setdefault('collate_fn', dict(type='default_collate'))
