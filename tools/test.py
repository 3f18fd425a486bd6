#!/usr/bin/env python
"""Test (evaluate) a checkpoint of an mmdet, mmseg or mmpretrain config, with or without local learning."""

import argparse
import os

from mmman.apis import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('--work-dir', help='the folder for the metrics (default: ./work_dirs/<config name>)')
    parser.add_argument('--out', help='a pickle file for the predictions; with mmseg a folder for predicted maps')
    parser.add_argument('--show', action='store_true', help='show every prediction in a window')
    parser.add_argument('--show-dir', help='draw every prediction into this folder (mmdet: in work_dir/timestamp)')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    launch.add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = launch.load_config(args.config, args.cfg_options, args.launcher, args.work_dir)
        cfg = launch.localize_as_asked(cfg, args.local_learning)
        launch.apply_test_options(
            cfg, args.checkpoint, args.out, args.show, args.show_dir, wait_time=args.wait_time, tta=args.tta
        )
        launch.check_data(cfg, 'test')
    except (FileNotFoundError, launch.OptionError, launch.NotLocalizableError) as error:
        raise SystemExit(f'test.py: {error}') from None
    launch.build_runner(cfg).test()


if __name__ == '__main__':
    main()
