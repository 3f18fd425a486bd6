#!/usr/bin/env python
"""Train the model of an mmdet, mmseg or mmpretrain config, with or without local learning."""

import argparse
import os

from mmman.apis import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
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
    launch.add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = launch.load_config(args.config, args.cfg_options, args.launcher, args.work_dir)
        launch.apply_train_options(cfg, amp=args.amp, auto_scale_lr=args.auto_scale_lr, resume=args.resume)
        cfg = launch.localize_as_asked(cfg, args.local_learning)
        launch.check_data(cfg, 'train')
    except (FileNotFoundError, launch.OptionError, launch.NotLocalizableError) as error:
        raise SystemExit(f'train.py: {error}') from None
    launch.train(launch.build_runner(cfg))


if __name__ == '__main__':
    main()
