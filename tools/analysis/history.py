#!/usr/bin/env python
"""Draw how the losses of the blocks and the scales s went during a training, from what mmman.LocalLossHook logged."""

import argparse
from pathlib import Path

from mmengine.fileio import dump

from mmman.probing.history import read_history
from mmman.probing.plots import Panel, draw_panels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', type=Path, help="the training's work dir")
    parser.add_argument('--out', type=Path, help='the picture (default: history.png in the work dir)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or args.work_dir / 'history.png'
    try:
        history = read_history(args.work_dir)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'history.py: {error}') from None
    panels = [Panel('Loss of each block', history.steps, history.losses, xlabel='iteration', ylabel='loss', log=True)]
    if history.scales:
        panels.append(Panel('Scale s of each auxiliary network', history.steps, history.scales, 'iteration', 's'))
    draw_panels(panels, out)
    dump(vars(history), out.with_suffix('.json'), indent=1)
    print(f'{"":18} {"first loss":>10} {"last loss":>10} {"last s":>7}')
    for name, losses in history.losses.items():
        scale = f'{history.scales[name][-1]:7.3f}' if name in history.scales else f'{"-":>7}'
        print(f'{name:18} {losses[0]:10.4f} {losses[-1]:10.4f} {scale}')
    print(out)


if __name__ == '__main__':
    main()
