#!/usr/bin/env python
"""Upgrade a training checkpoint of version 0.1, whose blocks are numbered, so that a run can go on from it."""

import argparse

from mmman.apis.upgrade import upgrade_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config that the checkpoint was trained with')
    parser.add_argument('old', help='the checkpoint')
    parser.add_argument('new', help='the file to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        renamed = upgrade_checkpoint(args.config, args.old, args.new)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'upgrade_checkpoint.py: {error}') from None
    print(f'The upgraded checkpoint is saved at {args.new}: {", ".join(renamed)}')


if __name__ == '__main__':
    main()
