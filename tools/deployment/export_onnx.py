#!/usr/bin/env python
"""Write the plain model of a config as ONNX, with the head's raw outputs, and compare onnxruntime with torch."""

import argparse

from mmman.apis.export import TOLERANCE, export_onnx, plain_model


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, stock or of local learning')
    parser.add_argument('checkpoint', help='a checkpoint of a training run, or a published one')
    parser.add_argument('--out', default='model.onnx', help='the file to write (default: %(default)s)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(800, 1344),
        metavar=('H', 'W'),
        help='size of the images (default: 800 1344)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        model = plain_model(args.config, args.checkpoint)
        done = export_onnx(model, args.out, tuple(args.shape))
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(f'export_onnx.py: {error}') from None
    for name, shape in done.outputs.items():
        print(f'{name:20} N x ' + ' x '.join(map(str, shape[1:])))
    print(
        f'{done.path}: onnxruntime equals torch up to {done.difference:.1e} of each output ({TOLERANCE:g} is allowed)'
    )


if __name__ == '__main__':
    main()
