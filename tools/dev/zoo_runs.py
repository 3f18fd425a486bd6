#!/usr/bin/env python
"""Train well-known models in blocks on small real data, and write a table of losses and evaluation."""

import argparse
import json
from pathlib import Path

from mmman.zoo.small_runs import FROM_SCRATCH, RUNS, run_small, write_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, default=Path('../shared/data'), help='the folder of the small data sets')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/zoo_runs'), help='where all is written')
    parser.add_argument('--models', nargs='+', choices=list(RUNS), metavar='NAME', help='defaults to all')
    parser.add_argument('--from-scratch', action='store_true', help='two models for longer, on bccd_coco')
    parser.add_argument('--num-blocks', type=int, default=4, metavar='K', help='0 trains end to end')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='as in tools/train.py')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    runs = FROM_SCRATCH if args.from_scratch else RUNS
    results = []
    for name in args.models or runs:
        out = args.out.resolve() / name.replace(' ', '_')
        found = run_small(name, runs[name], args.data.resolve(), out, args.num_blocks or None, options)
        (out / 'results.json').write_text(json.dumps(found, indent=1))
        results.append(found)
    print(write_table(results))


if __name__ == '__main__':
    main()
