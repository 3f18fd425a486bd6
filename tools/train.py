#!/usr/bin/env python
"""Train the model of an mmdet, mmseg or mmpretrain config, with or without local learning."""

import argparse
import os

from mmengine.config import DictAction

from mmman.engine import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file')
    parser.add_argument('--work-dir', help='the folder for logs and checkpoints (default: ./work_dirs/<config name>)')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from auto_scale_lr.base_batch_size to the actual batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint or, without one, from the latest in the work dir',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='settings merged over the config: key=value, a list as key="[a,b]" or key=a,b, '
        'nested as key="[(a,b),(c,d)]" (quoted, without spaces)',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes the one or the other spelling, by its version.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = launch.load_config(args.config, args.cfg_options, args.launcher, args.work_dir)
        launch.apply_train_options(cfg, amp=args.amp, auto_scale_lr=args.auto_scale_lr, resume=args.resume)
        launch.check_data(cfg, 'train')
    except (FileNotFoundError, launch.OptionError) as error:
        raise SystemExit(f'train.py: {error}') from None
    launch.build_runner(cfg).train()


if __name__ == '__main__':
    main()
