#!/usr/bin/env python
"""MAN++ for segmentation, on CPU: train in two blocks, test, publish, test again without mmman, draw, plot."""

import os
import time
from pathlib import Path

import common  # first: it sets what torch and matplotlib read when they are loaded
import mmcv
import mmseg
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model, init_model
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS
from torch.nn.functional import interpolate, one_hot

from mmman.apis.publish import publish

LOCAL_CONFIG = common.ROOT / 'demo/configs/deeplabv3_r18_manpp_coco_free.py'
STOCK_CONFIG = common.ROOT / 'demo/configs/deeplabv3_r18_e2e_coco_free.py'  # the same model without mmman
METRICS = ('mIoU', 'aAcc')
LOSSES = {'whole loss': ('loss', 'loss'), 'cross-entropy of decode head and local head': ('decode.loss_ce', 'loss_ce')}
UNLABELLED = 255
WHITE = (255, 255, 255)


def photos(part: str) -> tuple[list[dict], dict]:
    """List the photos of a part (``'train'`` or ``'val'``) with their label maps (H, W); also classes and colours."""
    cfg = Config.fromfile(STOCK_CONFIG)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    for photo in found:
        photo['labels'] = torch.from_numpy(mmcv.imread(photo['seg_map_path'], flag='unchanged')).long()
    return found, dataset.metainfo


def baselines(grid: int = 64) -> dict[str, dict[str, float]]:
    """Score two predictions that look at no photo: what most training pixels show, anywhere, and at the same place."""
    (training, meta), (validation, _) = photos('train'), photos('val')
    num_classes = len(meta['classes'])
    votes, votes_by_place = torch.zeros(num_classes), torch.zeros(num_classes, grid, grid)
    for labels in (photo['labels'] for photo in training):
        known = one_hot(labels.where(labels != UNLABELLED, num_classes), num_classes + 1)[..., :-1].float()
        votes += known.sum((0, 1))
        votes_by_place += interpolate(known.permute(2, 0, 1)[None], (grid, grid), mode='area')[0]
    anywhere, by_place = votes.argmax().float().expand(1, 1, 1, 1), votes_by_place.argmax(0).float()[None, None]
    return {
        'commonest class everywhere': score(validation, anywhere, num_classes),
        'commonest class at each place': score(validation, by_place, num_classes),
    }


def score(validation: list[dict], prediction: torch.Tensor, num_classes: int) -> dict[str, float]:
    """Score one map (1, 1, H, W), scaled to each photo's size, as IoUMetric does."""
    areas = [
        IoUMetric.intersect_and_union(interpolate(prediction, labels.shape)[0, 0], labels, num_classes, UNLABELLED)
        for labels in (photo['labels'] for photo in validation)
    ]
    result = IoUMetric.total_area_to_metrics(*map(sum, zip(*areas)))
    return dict(mIoU=100 * np.nanmean(result['IoU']), aAcc=100 * result['aAcc'])


def draw(checkpoint: Path, folder: Path, count: int = 4) -> None:
    """Draw photo, label map and predicted map side by side, for validation photos that show several classes."""
    model = init_model(str(STOCK_CONFIG), str(checkpoint), device='cpu')
    validation, meta = photos('val')
    colors = np.full((UNLABELLED + 1, 3), WHITE, dtype=np.uint8)
    colors[: len(meta['palette'])] = meta['palette']
    patches = [Patch(color=np.array(color) / 255, label=name) for name, color in zip(meta['classes'], meta['palette'])]
    patches.append(Patch(facecolor='white', edgecolor='gray', label='no label'))
    folder.mkdir()

    validation = [photo for photo in validation if len(photo['labels'].unique()) > 4]
    for photo in validation[:: len(validation) // count][:count]:
        labels = photo['labels'].numpy()
        predicted = inference_model(model, photo['img_path']).pred_sem_seg.data[0].numpy()
        known = labels != UNLABELLED
        sides = {
            'photo': mmcv.imread(photo['img_path'], channel_order='rgb'),
            'ground truth': colors[labels],
            f'prediction: {(predicted == labels)[known].mean():.0%} of the pixels right': colors[predicted],
        }
        height, width = labels.shape
        figure, axes = plt.subplots(1, 3, figsize=(13, 0.9 + 13 / 3 * height / width), layout='constrained')
        for axis, (title, image) in zip(axes, sides.items()):
            axis.imshow(image)
            axis.set_title(title)
            axis.axis('off')
        figure.legend(handles=patches, loc='outside lower center', ncols=len(patches), frameon=False, columnspacing=1)
        figure.savefig(folder / f'{Path(photo["img_path"]).stem}.png', dpi=110)
        plt.close(figure)


def main() -> None:
    args = common.parse_args(__doc__, common.ROOT / 'work_dirs/demo_seg')
    start, folder = time.time(), args.work_dir.resolve()
    os.environ['MMMAN_COCO_FREE_ROOT'] = f'{common.ROOT / "demo/data/coco_free"}/'  # the configs read it
    iters = args.max_iters or Config.fromfile(LOCAL_CONFIG).train_cfg.max_iters
    print(
        'DeepLabV3-R18 learns to tell 12 classes of pixels apart on 26 real photos, from scratch, on the CPU, in two\n'
        f'gradient-isolated blocks (MAN++), for {iters} iterations. It is then tested on 27 other photos,\n'
        'published as a plain checkpoint, and tested again by stock mmseg without mmman.\n'
        + ('' if args.max_iters else 'The whole takes about five minutes on two cores that nothing else uses.\n'),
        flush=True,
    )
    common.clear(folder, 'deeplabv3_r18_coco_free')

    checkpoint, scalars = common.train(LOCAL_CONFIG, folder / 'train', args.max_iters)
    published = publish(checkpoint, folder / 'deeplabv3_r18_coco_free.pth')
    stock_log = common.test_stock(mmseg, STOCK_CONFIG, published, folder / 'test_stock')
    wrapped, stock = (common.metrics_of(log, METRICS) for log in (scalars, stock_log))
    draw(published, folder / 'pictures')
    common.plot(scalars, folder / 'losses.png', LOSSES, 'last block, heads')

    rows = {'trained with mmman': wrapped, 'published, in stock mmseg': stock, **baselines()}
    print(f'\n{"":40}   mIoU    aAcc')
    for name, metrics in rows.items():
        print(f'{name:40} {metrics["mIoU"]:6.2f}  {metrics["aAcc"]:6.2f}')
    failures = []
    if wrapped != stock:
        failures.append(f'the published model is not the one that was trained: {wrapped} against {stock}')
    constant, by_place = (row['mIoU'] for row in list(rows.values())[2:])
    least = max(2 * constant, by_place)
    if not args.max_iters and stock['mIoU'] < least:
        failures.append(f'mIoU is {stock["mIoU"]:.2f}, it has to be at least {least:.2f}')
    common.finish(failures, start, folder)


if __name__ == '__main__':
    main()
