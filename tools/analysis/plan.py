#!/usr/bin/env python
"""Find the fastest way to train a config's network within a memory: end to end, recomputed, or in which blocks."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.costs import CannotRunDry, measure_parts, variants
from mmman.costs.units import parse_bytes
from mmman.planning import Planner
from mmman.planning.frontier_plot import plot_frontier
from mmman.planning.plan_report import frontier_table, report, ways


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of local learning; its partition does not matter')
    parser.add_argument('--memory', type=parse_bytes, required=True, help='bytes to stay within: 8GB, 7.5GiB, 900MB')
    parser.add_argument('--batch-size', type=int, help="images in a batch (default: the config's)")
    parser.add_argument('--least-blocks', type=int, default=2, help='the smallest K to consider (default: 2)')
    parser.add_argument('--time', action='store_true', help='measure times and plan by them (default: by FLOPs)')
    parser.add_argument('--out', type=Path, help='file for the picture of the frontier, such as plan.png')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
        cfg.log_level = 'ERROR'
        if args.batch_size:
            cfg.train_dataloader.batch_size = args.batch_size
        try:
            launch.check_data(cfg, 'step')
            planner = Planner(measure_parts(variants.lean_losses(cfg), timed=args.time))
        except (FileNotFoundError, ValueError, CannotRunDry) as error:
            raise SystemExit(f'plan.py: {error}') from None
    by = 'seconds' if args.time else 'flops'
    print(frontier_table(planner, by, args.least_blocks))
    print(report(planner, cfg, args.memory, by, args.least_blocks))
    if args.out:
        plans = ways(planner, by, args.least_blocks)
        first = plans[0]
        points = [(plan.title, plan.peak / first.peak, getattr(plan, by) / getattr(first, by)) for plan in plans]
        plot_frontier(points, 'time' if args.time else 'FLOPs', args.out)


if __name__ == '__main__':
    main()
