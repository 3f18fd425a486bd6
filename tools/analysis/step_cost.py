#!/usr/bin/env python
"""Compare what one training step of several configs costs: memory, computing and time, as ratios to the first."""

import argparse
import tempfile

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.costs.benchmark import MeasurementError, Way, measure_ways, table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='config files')
    parser.add_argument(
        '--rounds', type=int, default=0, help='time so many rounds, the configs in turn (default: none, dry runs only)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over all of them')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as work_dir:
        ways = []
        for path in args.configs:
            cfg = launch.load_config(path, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'ERROR'
            try:
                launch.check_data(cfg, 'step')
            except FileNotFoundError as error:
                raise SystemExit(f'step_cost.py: {error}') from None
            ways.append(Way(path, cfg))
        try:
            print(table(measure_ways(ways, args.rounds, lambda line: print(line, flush=True))))
        except MeasurementError as error:
            raise SystemExit(f'step_cost.py: {error}') from None


if __name__ == '__main__':
    main()
