#!/usr/bin/env python
"""Compare ways to train a config's network: end to end, its rivals, as configured, tuned. Memory, FLOPs and time."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import Config, DictAction

from mmman.apis import launch
from mmman.costs.benchmark import MeasurementError, choose, measure_ways, save, table, ways_of
from mmman.planning.frontier_plot import plot_frontier


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of local learning')
    parser.add_argument('--tuned', help='config file that was tuned for memory')
    parser.add_argument(
        '--rounds',
        type=int,
        default=0,
        help='time so many rounds of real steps, in turn (default: none, dry runs only)',
    )
    parser.add_argument(
        '--ways', nargs='+', help='measure these rows of the table alone, for example "end to end" tuned'
    )
    parser.add_argument('--out', type=Path, help='folder for benchmark.json and benchmark.png')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over both configs')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as work_dir:

        def load(path: str) -> Config:
            cfg = launch.load_config(path, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'ERROR'
            return cfg

        try:
            cfg, tuned = load(args.config), load(args.tuned) if args.tuned else None
            launch.check_data(cfg, 'step')
            ways = ways_of(cfg, tuned)
            if args.ways:
                ways = choose(ways, args.ways)
            rows = measure_ways(ways, args.rounds, lambda line: print(line, flush=True))
        except (FileNotFoundError, ValueError, MeasurementError) as error:
            raise SystemExit(f'benchmark.py: {error}') from None
    print(table(rows))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        save(rows, args.out / 'benchmark.png')
        by, first = ('time' if args.rounds else 'FLOPs'), rows[0]
        points = [(row.name, row.peak / first.peak, row.time or row.flops / first.flops) for row in rows]
        plot_frontier(points, by, args.out / 'benchmark.png')


if __name__ == '__main__':
    main()
