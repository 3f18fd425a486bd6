#!/usr/bin/env python
"""Grad-CAM: where in an image a layer moves the model's score, for classifiers, segmentors and detectors."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.probing.checkpoint import LoadedModel
from mmman.probing.grad_cam import explain, read_item
from mmman.probing.plots import draw_explanations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files, or numbers of images of the test data')
    parser.add_argument('--layer', nargs='+', required=True, metavar='NAME', help='modules, such as backbone.layer4.1')
    parser.add_argument('--category', help='the class that is explained (default: what is predicted)')
    parser.add_argument('--out', type=Path, help='the picture (default: grad_cam.png beside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_name('grad_cam.png')
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            loaded = LoadedModel(cfg, args.checkpoint)
            items = [read_item(loaded, image) for image in args.images]
            found = [explain(loaded, item, args.layer, args.category) for item in items]
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'grad_cam.py: {error}') from None
    for image, explanation in zip(args.images, found, strict=True):
        print(f'{image}: {explanation.what} ({explanation.score:.3f})')
    draw_explanations(found, out)
    print(out)


if __name__ == '__main__':
    main()
