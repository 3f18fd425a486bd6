#!/usr/bin/env python
"""Try every config that mmdet, mmseg and mmpretrain ship in blocks; write docs/en/coverage.md and a JSON file."""

import argparse
from pathlib import Path

from mmman.zoo.coverage import run_all, write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('docs/en/coverage.md'), help='the report')
    parser.add_argument(
        '--json', type=Path, default=Path('work_dirs/coverage.json'), help='what was found; goes on there'
    )
    parser.add_argument('--toolboxes', nargs='+', default=['mmdet', 'mmseg', 'mmpretrain'])
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--seconds', type=int, default=300, help='the time that one config has')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    outcomes = run_all(args.toolboxes, args.json, args.processes, args.seconds)
    args.out.write_text(write_report(outcomes))
    print(f'wrote {args.out} and {args.json}')


if __name__ == '__main__':
    main()
