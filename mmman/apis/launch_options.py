"""What the options of `tools/train.py` and `tools/test.py` do to a config.

Where the toolboxes' own scripts differ (what `--out`, `--show-dir` and `--tta` do), a config gets what its own toolbox
would do.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os.path as osp

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.logging import print_log

from mmman.costs.units import parse_bytes
from mmman.toolboxes import toolbox_of, type_name

from .resuming import go_on_inside_epochs, moved_checkpoint_of


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share.

    Args:
        parser: The parser of a script.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings merged over the config: key=value, a list as key="[a,b]" or key=a,b, '
        'nested as key="[(a,b),(c,d)]" (quoted, without spaces)',
    )
    parser.add_argument(
        '--local-learning',
        type=blocks_or_memory,
        metavar='K|MEMORY',
        help='train a stock config in K gradient-isolated blocks (MAN++), with light local heads; or, as in 8GB, in '
        'the way that takes the least work within a memory',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes the one or the other spelling, by its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def blocks_or_memory(text: str) -> int | str:
    """Read what ``--local-learning`` takes: a number of blocks, or a memory such as 8GB."""
    if text.isdecimal():
        return int(text)
    parse_bytes(text)
    return text


class OptionError(ValueError):
    """An option that does not go with the config; the message is one line for the user."""


def apply_train_options(
    cfg: Config, amp: bool = False, auto_scale_lr: bool = False, resume: str | None = None
) -> Config:
    """Apply the options of `tools/train.py` to a config, in place.

    Args:
        cfg: What `load_config` gave.
        amp: Train with automatic mixed precision.
        auto_scale_lr: Scale the learning rate from `auto_scale_lr.base_batch_size` to the actual batch size.
        resume: `'auto'` for the latest checkpoint in the work dir, else the path of a checkpoint.

    Returns:
        The same config.

    Raises:
        OptionError: If the config has no place for an option.
        FileNotFoundError: If the checkpoint does not exist, or the one that `last_checkpoint` names.
    """
    if amp:
        kind = type_name(cfg.optim_wrapper.get('type', 'OptimWrapper'))
        if kind == 'AmpOptimWrapper':
            print_log(
                'The config trains with mixed precision already: --amp changes nothing.', 'current', logging.WARNING
            )
        elif kind == 'OptimWrapper':
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        else:
            raise OptionError(f"--amp goes with optim_wrapper.type 'OptimWrapper' only, and the config has '{kind}'")
    if auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= set(cfg.get('auto_scale_lr') or ()):
            raise OptionError(
                '--auto-scale-lr needs auto_scale_lr = dict(enable=False, base_batch_size=...) in the config'
            )
        cfg.auto_scale_lr.enable = True
    if resume is not None:
        if resume != 'auto':
            _check_checkpoint(resume)
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    if cfg.get('resume') and cfg.get('load_from') is None and cfg.get('work_dir'):
        cfg.load_from = moved_checkpoint_of(cfg)
    go_on_inside_epochs(cfg)
    return cfg


def apply_test_options(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
) -> Config:
    """Apply the options of `tools/test.py` to a config, in place.

    Args:
        cfg: What `load_config` gave.
        checkpoint: The checkpoint to test.
        out: Where the predictions go: a pickle file, with mmseg a folder.
        show: Show every prediction in a window.
        show_dir: Draw every prediction into this folder.
        wait_time: Seconds that a window stays.
        tta: Test-time augmentation by the config's `tta_model` and `tta_pipeline`, else by a flip.

    Returns:
        The same config.

    Raises:
        OptionError: If the config has no place for an option.
        FileNotFoundError: If the checkpoint does not exist.
    """
    scope = toolbox_of(cfg)
    _check_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    if show or show_dir:
        _draw_predictions(cfg, scope, show, show_dir, wait_time)
    if tta:
        _augment_at_test_time(cfg, scope)
    if out is not None:
        _dump_predictions(cfg, scope, out)
    return cfg


def _check_checkpoint(path: str) -> None:
    if '://' not in path and not osp.exists(path):
        raise FileNotFoundError(f"checkpoint not found: '{path}' does not exist")


def _draw_predictions(cfg: Config, scope: str, show: bool, show_dir: str | None, wait_time: float) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise OptionError('--show and --show-dir need a `visualization` hook among the default_hooks of the config')
    hook['enable' if scope == 'mmpretrain' else 'draw'] = True
    if show:
        hook['show'] = True
        hook['wait_time'] = wait_time
    if show_dir:
        if scope == 'mmseg':
            cfg.visualizer['save_dir'] = show_dir
        else:
            hook['out_dir' if scope == 'mmpretrain' else 'test_out_dir'] = show_dir


def _augment_at_test_time(cfg: Config, scope: str) -> None:
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'tta_model' not in cfg:
        cfg.tta_model = _default_tta_model(scope)
        print_log(f'The config has no tta_model: {cfg.tta_model.type} is taken.', 'current', logging.WARNING)
    if 'tta_pipeline' not in cfg:
        if scope == 'mmseg':
            raise OptionError('--tta needs tta_pipeline in the config of a segmentor')
        *steps, pack = copy.deepcopy(dataset.pipeline)
        if 'meta_keys' in pack:
            pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
        print_log('The config has no tta_pipeline: each image and its mirror are taken.', 'current', logging.WARNING)
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _default_tta_model(scope: str) -> dict:
    if scope == 'mmdet':
        return dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
    if scope == 'mmpretrain':
        return dict(type='AverageClsScoreTTA')
    raise OptionError(f"--tta needs tta_model in a config of scope '{scope}'")


def _dump_predictions(cfg: Config, scope: str, out: str) -> None:
    evaluator = cfg.test_evaluator
    if scope == 'mmseg':
        for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
            metric['output_dir'] = out
            metric['keep_results'] = True
        return
    if not out.endswith(('.pkl', '.pickle')):
        raise OptionError(f"--out writes a pickle file: its name must end in .pkl or .pickle, not '{out}'")
    dump = dict(type='DumpDetResults' if scope == 'mmdet' else 'DumpResults', out_file_path=out)
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        metrics = evaluator['metrics']
        evaluator['metrics'] = [*(metrics if isinstance(metrics, list) else [metrics]), dump]
    else:
        cfg.test_evaluator = [*(evaluator if isinstance(evaluator, list) else [evaluator]), dump]
