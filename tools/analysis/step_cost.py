#!/usr/bin/env python
"""Compare what one training step of several configs costs: memory, computing and time, as ratios to the first."""

import argparse
import tempfile

from mmengine.config import DictAction

from mmman.analysis import TrainingStep, time_in_turn
from mmman.engine import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--rounds', type=int, default=0, help='time so many rounds, the configs in turn (default: none)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over all of them')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as work_dir:
        steps = []
        for path in args.configs:
            cfg = launch.load_config(path, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            try:
                launch.check_data(cfg, 'train')
            except FileNotFoundError as error:
                raise SystemExit(f'step_cost.py: {error}') from None
            steps.append(TrainingStep(cfg))
        counts = [step.bytes() for step in steps]
        flops = [step.flops() for step in steps]
        times = time_in_turn(steps, args.rounds) if args.rounds else [None] * len(steps)

    print(
        f'{"config":60} {"peak MB":>9} {"ratio":>6} {"resident MB":>12} {"FLOPs":>6} {"time":>6}  peak MB of each block'
    )
    for path, count, operations, ratio in zip(args.configs, counts, flops, times, strict=True):
        print(
            f'{path:60} {count.peak / 1e6:9.1f} {count.peak / counts[0].peak:6.2f} {count.resident / 1e6:12.1f} '
            f'{operations / flops[0]:6.2f} ' + (f'{ratio:6.2f}  ' if ratio else f'{"-":>6}  '),
            *(f'{peak / 1e6:.0f}' for peak in count.blocks),
        )


if __name__ == '__main__':
    main()
