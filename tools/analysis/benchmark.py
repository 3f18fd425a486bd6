#!/usr/bin/env python
"""Compare the ways to train a config's network: end to end and its rivals, MAN++ as it is and planned."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.apis.benchmark_ways import NAMES, Question, ways_of
from mmman.costs.benchmark import MeasurementError, measure_ways, save, table
from mmman.planning.frontier_plot import plot_frontier


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
    parser.add_argument(
        '--work',
        type=float,
        default=1.13,
        help='the FLOPs, of end to end, at which the plans need the least memory (default: 1.13)',
    )
    parser.add_argument('--batch-size', type=int, help="images in a batch (default: the config's)")
    parser.add_argument('--objects', type=int, help='objects in an image (default: the most in the data, else 50)')
    parser.add_argument(
        '--rounds',
        type=int,
        default=0,
        help='time so many rounds of real steps, in turn (default: none, dry runs only)',
    )
    parser.add_argument(
        '--ways',
        nargs='+',
        default=NAMES,
        help='rows of the table, as "end to end" "MAN++ planned" (default: all)',
    )
    parser.add_argument('--out', type=Path, help='folder for benchmark.json and benchmark.png')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    def report(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as work_dir:
        try:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'ERROR'
            question = Question(args.work, args.batch_size, args.objects)
            rows = measure_ways(ways_of(cfg, question, args.ways, report), args.rounds, report)
        except (FileNotFoundError, ValueError, MeasurementError) as error:
            raise SystemExit(f'benchmark.py: {error}') from None
    print(table(rows))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        save(rows, args.out / 'benchmark.json')
        by, first = ('time' if args.rounds else 'FLOPs'), rows[0]
        points = [(row.name, row.peak / first.peak, row.time or row.flops / first.flops) for row in rows]
        plot_frontier(points, by, args.out / 'benchmark.png')


if __name__ == '__main__':
    main()
