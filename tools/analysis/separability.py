#!/usr/bin/env python
"""How well a linear classifier on each block's output does: fitted on the training split, evaluated on the test split.

For classifiers, and by pixel for segmentors; not for detectors. Draws the config's metrics, and writes them as JSON.
"""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.probing.checkpoint import LoadedModel
from mmman.probing.linear_probe import probe_blocks
from mmman.probing.plots import draw_metrics


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config file; of an end-to-end model, the stages are probed')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('--out', type=Path, help='the picture (default: separability.png beside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_name('separability.png')
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            launch.check_data(cfg, 'train')
            launch.check_data(cfg, 'test')
            found = probe_blocks(LoadedModel(cfg, args.checkpoint))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'separability.py: {error}') from None
    print(draw_metrics(found, 'Linear probe on the output of each block', out))


if __name__ == '__main__':
    main()
