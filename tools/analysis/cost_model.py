#!/usr/bin/env python
"""What MAN++ costs by the paper's equations, beside the count of a config's real model on a batch of its data."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction
from mmengine.fileio import dump

from mmman.apis import launch
from mmman.costs.counted_cost import count_cost
from mmman.theory.cost_model import PAPER_EPS
from mmman.theory.cost_table import compare_theory_with_count, table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a config of local learning')
    parser.add_argument(
        '--eps', type=float, default=PAPER_EPS, help="LB's size in layers: 1 in the code, 0.02 in the paper (default)"
    )
    parser.add_argument('--json', type=Path, help='also write the numbers to this file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            launch.check_data(cfg, 'step')
            comparison = compare_theory_with_count(count_cost(cfg), args.eps)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'cost_model.py: {error}') from None
    print(table(comparison))
    if args.json:
        dump(comparison, args.json, file_format='json', indent=1)


if __name__ == '__main__':
    main()
