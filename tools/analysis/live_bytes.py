#!/usr/bin/env python
"""Print the peak live tensor bytes of one training step of each of some configs, and their ratio to the first."""

import argparse
import tempfile

from mmengine.config import DictAction

from mmman.analysis import measure_step
from mmman.engine import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='config files; ratios are to the first')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over all of them')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    first = None
    with tempfile.TemporaryDirectory() as work_dir:
        for path in args.configs:
            cfg = launch.load_config(path, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            try:
                launch.check_data(cfg, 'train')
            except FileNotFoundError as error:
                raise SystemExit(f'live_bytes.py: {error}') from None
            step = measure_step(cfg)
            first = first or step
            print(
                f'{path}: peak {step.peak / 1e6:.1f} MB ({step.peak / first.peak:.2f} of the first), '
                f'of these {step.resident / 1e6:.1f} MB parameters, buffers and optimizer states'
            )


if __name__ == '__main__':
    main()
