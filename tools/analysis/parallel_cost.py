#!/usr/bin/env python
"""Time and peak live tensor bytes of a step on one process, data parallel and in a pipeline, measured in turn.

Start it on all devices: torchrun --nproc_per_node=N tools/analysis/parallel_cost.py CONFIG
"""

import argparse
import tempfile
from pathlib import Path

import torch.distributed as dist
from mmengine.config import DictAction
from mmengine.fileio import dump

from mmman.apis import launch
from mmman.costs.parallel_steps import ParallelStep, seconds_of_blocks, setups, time_all_in_turn


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of local learning, for one process')
    parser.add_argument('--rounds', type=int, default=5, help='time so many rounds (default: 5)')
    parser.add_argument(
        '--steps', type=int, default=8, help='in a row, a pipeline is filled anew each time (default: 8)'
    )
    parser.add_argument('--blocks', type=Path, help="write the blocks' seconds as JSON for simulate_schedule.py")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options, launcher='pytorch', work_dir=tempfile.mkdtemp())
    cfg.log_level = 'WARNING'
    launch.join_processes(cfg)
    steps = {name: ParallelStep(config) for name, config in setups(cfg).items()}
    peaks = {name: step.peak_of_each_process(steps=3) for name, step in steps.items()}
    times = time_all_in_turn(steps, args.rounds, args.steps)
    if dist.get_rank() == 0:
        print(f'{"":16} {"s/step":>8} {"ratio":>6}  peak MB of each process')
        for name, (seconds, ratio) in times.items():
            print(f'{name:16} {seconds:8.3f} {ratio:6.2f}  ' + ' '.join(f'{peak / 1e6:.0f}' for peak in peaks[name]))
        blocks = seconds_of_blocks(steps['one process'], args.rounds)
        print('seconds of the blocks on one process: ' + ' '.join(f'{seconds:.3f}' for seconds in blocks))
        if args.blocks:
            dump({'blocks': [{'seconds': seconds} for seconds in blocks]}, args.blocks, file_format='json')
    dist.barrier()


if __name__ == '__main__':
    main()
