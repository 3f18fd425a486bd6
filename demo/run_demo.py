#!/usr/bin/env python
"""MAN++ on real photos, on CPU: train in four blocks, test, publish, test again without mmman, draw, plot."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

# Both before torch is loaded. On the CPU the demo is the same everywhere, and its numbers repeat.
os.environ['CUDA_VISIBLE_DEVICES'] = ''
# Threads that wait by spinning make a step four times slower where other programs share the cores.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import matplotlib

matplotlib.use('Agg')

import mmcv
import mmdet
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmman.publish import publish

ROOT = Path(__file__).resolve().parents[1]
LOCAL_CONFIG = ROOT / 'demo/configs/retinanet_r18_manpp_bccd.py'
STOCK_CONFIG = ROOT / 'demo/configs/retinanet_r18_e2e_bccd.py'  # the same model without mmman
COLORS = {'WBC': (31, 119, 180), 'RBC': (214, 39, 40), 'Platelets': (255, 187, 0)}
SCORE = 0.3
MIN_AP50 = 0.5
SMOOTHING = 10  # iterations that one point of the plot stands for

# mmdet's own tools/test.py, in a process where `import mmman` fails.
RUN_WITHOUT_MMMAN = (
    "import runpy, sys; sys.modules['mmman'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def train(folder: Path, max_iters: int | None) -> tuple[Path, Path, dict[str, float]]:
    """Train with the standard Runner; return the checkpoint, the log of all losses and the run's own validation."""
    cfg = Config.fromfile(LOCAL_CONFIG)
    cfg.work_dir = str(folder)
    cfg.log_processor.window_size = SMOOTHING
    if max_iters:
        cfg.train_cfg.update(max_iters=max_iters, val_interval=max_iters)
        cfg.default_hooks.checkpoint.interval = max_iters
        cfg.default_hooks.logger.interval = 1
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = Path(runner.log_dir, 'vis_data/scalars.json')
    return folder / f'iter_{runner.iter}.pth', scalars, metrics_of(scalars)


def test_stock(checkpoint: Path, folder: Path) -> dict[str, float]:
    """Test a checkpoint with mmdet's installed tools/test.py and the stock config; mmman cannot be imported there."""
    test_py = Path(mmdet.__path__[0], '.mim/tools/test.py')
    command = [sys.executable, '-c', RUN_WITHOUT_MMMAN, test_py, STOCK_CONFIG, checkpoint, '--work-dir', folder]
    subprocess.run(list(map(str, command)), check=True)
    (results,) = folder.glob('*/*.json')
    return metrics_of(results)


def metrics_of(log: Path) -> dict[str, float]:
    """What CocoMetric wrote last into a log with one JSON object a line; nothing where there were no detections."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {key: value for line in lines for key, value in line.items() if key.startswith('coco/')}


def draw(checkpoint: Path, folder: Path, count: int = 4) -> None:
    """Draw predictions beside the ground truth, on validation photos that show all classes."""
    cfg = Config.fromfile(STOCK_CONFIG)
    init_default_scope(cfg.default_scope)
    model = init_detector(cfg, str(checkpoint), device='cpu')
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    visualizer = DetLocalVisualizer(line_width=2, alpha=1)
    visualizer.dataset_meta = dict(classes=list(COLORS), palette=list(COLORS.values()))
    warnings.filterwarnings('ignore', message='Warning: The (bbox|polygon) is out of bounds')  # cells at the border
    folder.mkdir()

    photos = [dataset.get_data_info(i) for i in range(len(dataset))]
    photos = [photo for photo in photos if len({box['bbox_label'] for box in photo['instances']}) == len(COLORS)]
    for photo in photos[:: len(photos) // count][:count]:
        image = mmcv.imread(photo['img_path'], channel_order='rgb')
        found = inference_detector(model, photo['img_path']).pred_instances
        found = found[found.scores > SCORE]
        boxes = photo['instances']
        sides = {
            f'ground truth: {len(boxes)} boxes': InstanceData(
                bboxes=np.array([box['bbox'] for box in boxes], dtype=np.float32),
                labels=np.array([box['bbox_label'] for box in boxes]),
                label_names=[''] * len(boxes),  # colours tell the class; in a crowd, names would hide the cells
            ),
            f'prediction: {len(found)} boxes with a score above {SCORE:.0%}': InstanceData(
                bboxes=found.bboxes, labels=found.labels, label_names=[f'{score:.0%}' for score in found.scores]
            ),
        }
        figure, axes = plt.subplots(1, 2, figsize=(12, 5.2), layout='constrained')
        for axis, (title, instances) in zip(axes, sides.items()):
            visualizer.add_datasample('', image, DetDataSample(gt_instances=instances), draw_pred=False)
            axis.imshow(visualizer.get_image())
            axis.set_title(title)
            axis.axis('off')
        patches = [Patch(color=np.array(color) / 255, label=name) for name, color in COLORS.items()]
        figure.legend(handles=patches, loc='outside lower center', ncols=len(patches), frameon=False)
        figure.savefig(folder / f'{Path(photo["img_path"]).stem}.png', dpi=110)
        plt.close(figure)


def plot(scalars: Path, file: Path) -> None:
    """Plot the losses of all blocks against the iteration: their sum and its parts, one line for each block."""
    lines = [line for line in map(json.loads, scalars.read_text().splitlines()) if 'loss' in line]
    blocks = sorted({key.split('.')[0] for key in lines[0] if key.startswith('local') and key.endswith('.loss')})
    parts = dict(loss='whole loss', loss_cls='classification: loss_cls', loss_bbox='boxes: loss_bbox')
    figure, axes = plt.subplots(1, len(parts), figsize=(15, 4.5), layout='constrained', sharex=True)
    for axis, (part, title) in zip(axes, parts.items()):
        for block in (*blocks, 'main'):
            name = part if block == 'main' else f'{block}.{part}'
            style = dict(color='black', linewidth=2) if block == 'main' else {}
            label = 'main (last block, neck, head)' if block == 'main' else f'{block} (block {block[5:]})'
            axis.plot([line['step'] for line in lines], [line[name] for line in lines], label=label, **style)
        axis.set(title=title, xlabel='iteration', yscale='log')
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter('{x:g}')
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f'loss (mean of {SMOOTHING} iterations)')
    axes[0].legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--max-iters', type=int, help='train for so many iterations only: a quick check of all steps')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/demo', help='where the results go')
    args = parser.parse_args()
    start, folder = time.time(), args.work_dir.resolve()
    os.environ['MMMAN_BCCD_ROOT'] = f'{ROOT / "demo/data/bccd_coco"}/'  # the configs read it; any folder will do now
    iters = args.max_iters or Config.fromfile(LOCAL_CONFIG).train_cfg.max_iters
    print(
        'RetinaNet-R18 learns to find blood cells on 205 real photos, from scratch, on the CPU, in four\n'
        f'gradient-isolated blocks (MAN++), for {iters} iterations. It is then tested on 87 other photos,\n'
        'published as a plain checkpoint, and tested again by stock mmdet without mmman.\n'
        + ('' if args.max_iters else 'The whole takes about seven minutes on two cores that nothing else uses.\n'),
        flush=True,
    )
    for part in ('train', 'test_stock', 'pictures'):  # of an earlier demo; nothing else in the folder is touched
        shutil.rmtree(folder / part, ignore_errors=True)
    for file in folder.glob('retinanet_r18_bccd-*.pth'):
        file.unlink()

    checkpoint, scalars, wrapped = train(folder / 'train', args.max_iters)
    published = publish(checkpoint, folder / 'retinanet_r18_bccd.pth')
    stock = test_stock(published, folder / 'test_stock')
    draw(published, folder / 'pictures')
    plot(scalars, folder / 'losses.png')

    print(f'\n{"":40}   mAP    AP50')
    for name, metrics in (('trained with mmman', wrapped), ('published, in stock mmdet', stock)):
        mean_ap, ap50 = (metrics.get(f'coco/bbox_{key}', 0.0) for key in ('mAP', 'mAP_50'))
        print(f'{name:40} {mean_ap:.3f}  {ap50:.3f}')
    failed = wrapped != stock or (not args.max_iters and ap50 <= MIN_AP50)
    if wrapped != stock:
        print(f'FAILED: the published model is not the one that was trained: {wrapped} against {stock}')
    elif failed:
        print(f'FAILED: AP50 is {ap50}, it has to be above {MIN_AP50}')
    print(f'\nDone in {(time.time() - start) / 60:.1f} minutes.')
    print(f'Pictures of predictions, losses.png, checkpoints and logs: {folder}')
    sys.exit(int(failed))


if __name__ == '__main__':
    main()
