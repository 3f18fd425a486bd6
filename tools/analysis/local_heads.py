#!/usr/bin/env python
"""What each block's own local head scores on the test data, by the config's metrics: accuracy, mIoU or mAP.

The last block's is the model's. Draws the metrics, and writes them as JSON.
"""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.probing.checkpoint import LoadedModel
from mmman.probing.local_head_scores import score_local_heads
from mmman.probing.plots import draw_metrics


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of local learning')
    parser.add_argument('checkpoint', help='a checkpoint that training wrote')
    parser.add_argument('--out', type=Path, help='the picture (default: local_heads.png beside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_name('local_heads.png')
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            launch.check_data(cfg, 'test')
            found = score_local_heads(LoadedModel(cfg, args.checkpoint))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'local_heads.py: {error}') from None
    print(draw_metrics(found, "Each block's own local head", out))


if __name__ == '__main__':
    main()
