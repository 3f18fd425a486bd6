#!/usr/bin/env python
"""Write a short config that inherits a stock one of mmdet, mmseg or mmpretrain and trains it in blocks."""

import argparse
from pathlib import Path

from mmman.apis import launch
from mmman.apis.config_text import short_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
    parser.add_argument('-o', '--out', required=True, help='the file to write')
    parser.add_argument('--num-blocks', type=int, metavar='K', help='the number of blocks (default: 4, by stage)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        cfg = launch.load_config(args.config)
        text = short_config(args.config, cfg, args.out, args.num_blocks)
    except (FileNotFoundError, launch.NotLocalizableError) as error:
        raise SystemExit(f'localize.py: {error}') from None
    Path(args.out).write_text(text)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
