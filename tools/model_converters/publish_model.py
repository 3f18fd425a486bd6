#!/usr/bin/env python
"""Publish a checkpoint: what local learning and the training added is left out, a stock toolbox opens the rest."""

import argparse

from mmman.apis.publish import SAVE_KEYS, publish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('in_file', help='the checkpoint of a training run')
    parser.add_argument('out_file', help='the file to write; eight digits of its SHA-256 are added to the name')
    parser.add_argument(
        '--save-keys',
        nargs='+',
        default=list(SAVE_KEYS),
        help='entries of the checkpoint to keep (default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        path = publish(args.in_file, args.out_file, args.save_keys)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'publish_model.py: {error}') from None
    print(f'The published model is saved at {path}')


if __name__ == '__main__':
    main()
