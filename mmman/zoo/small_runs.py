"""Real runs of well-known models on small real data: `tools/train.py CONFIG --local-learning K`, and what came out."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn
from torch.utils._pytree import tree_leaves

from mmman.apis.launch import load_config
from mmman.apis.publish import publish

from .small_data import on_small_data

ROOT = Path(__file__).parents[2]
FIGURES = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'mIoU', 'aAcc', 'top1')
ENDS = 10  # iterations at the beginning and at the end, whose mean losses are compared


@dataclass(frozen=True)
class SmallRun:
    """A model and how it is made small.

    Args:
        config (str): The config, as ``mmdet::...``.
        data_set (str): See :func:`on_small_data`.
        shrink (float): By what images become smaller.
        batch_size (int): Images of a step. Defaults to 2.
        iterations (int): At least so many. Defaults to 60.
        lr (float, optional): The learning rate for batches of this size. Defaults to the config's.
        changes (Mapping[str, Any]): What else changes, as in ``Config.merge_from_dict``. Defaults to nothing.
    """

    config: str
    data_set: str
    shrink: float
    batch_size: int = 2
    iterations: int = 60
    lr: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


RUNS = {
    'Mask R-CNN Swin-T': SmallRun('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'coco_free', 0.15),
    'RTMDet-tiny': SmallRun('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'bccd_coco', 0.4, 4, 300, 1e-3),
    'YOLOX-tiny': SmallRun('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', 'bccd_coco', 0.6, 4),
    'DINO R50': SmallRun('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', 'bccd_coco', 0.6, 1),
    'Mask2Former R50': SmallRun('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', 'coco_free', 0.25, 1, 150),
    'Cascade Mask R-CNN ConvNeXt-T': SmallRun(
        'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py',
        'coco_free',
        0.15,
        1,
    ),
    'FCOS HRNet-W18': SmallRun('mmdet::hrnet/fcos_hrnetv2p-w18-gn-head_4xb4-1x_coco.py', 'bccd_coco', 0.2),
    'SegFormer-B0': SmallRun('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', 'coco_free', 0.4),
    'UPerNet Swin-T': SmallRun(
        'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py', 'coco_free', 0.25
    ),
    'DeepLabV3 R50': SmallRun('mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py', 'coco_free', 0.25),
    'Swin-T classifier': SmallRun(
        'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        'cifar10_mini',
        0.3,
        32,
        300,
        2e-4,
        # The maps of 64 pixels become smaller than the windows.
        {'model.backbone.pad_small_map': True},
    ),
    'EfficientNet-B0 classifier': SmallRun(
        'mmpretrain::efficientnet/efficientnet-b0_8xb32_in1k.py', 'cifar10_mini', 0.3, 16, 150, 0.02
    ),
}
# From random weights, for as long as fits: what they reach is compared with what they reach end to end. YOLOX has its
# learning rate scaled by the root of the batch's size: with the rate for 64 images it does not learn end to end.
FROM_SCRATCH = {
    'YOLOX-tiny': SmallRun('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', 'bccd_coco', 0.6, 4, 600, 2.5e-3),
    'Mask R-CNN Swin-T': SmallRun('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'bccd_coco', 0.2, 2, 300),
}


def run_small(name: str, run: SmallRun, data: Path, out: Path, num_blocks: int | None, options: Sequence[str]) -> dict:
    """Train a model by the command line, test it, publish it, and open it in the stock config.

    Args:
        name (str): The model's name.
        run (SmallRun): How it is made small.
        data (Path): The folder of the data sets.
        out (Path): Where all is written.
        num_blocks (int, optional): K; None trains end to end.
        options (Sequence[str]): Further options of ``tools/train.py``.

    Returns:
        dict: The losses, each as means of ten iterations, the figures of the evaluation, and whether the
            published checkpoint is right.
    """
    out.mkdir(parents=True, exist_ok=True)
    stock = out / 'stock.py'
    cfg = on_small_data(load_config(run.config), data, run.data_set, run.iterations, run.shrink, run.batch_size, run.lr)
    cfg.merge_from_dict(dict(run.changes))
    cfg.dump(stock)
    local = [] if num_blocks is None else ['--local-learning', str(num_blocks)]
    command = ['tools/train.py', stock, *local, '--work-dir', out / 'run', *options]
    with (out / 'log.txt').open('w') as log:
        subprocess.run(
            [sys.executable, '-W', 'ignore', *map(str, command)], cwd=ROOT, stdout=log, stderr=log, check=True
        )
    lines = [json.loads(line) for line in next(out.glob('run/*/vis_data/scalars.json')).read_text().splitlines()]
    steps = [line for line in lines if 'loss' in line]
    starts = [*range(0, len(steps) - ENDS, ENDS), len(steps) - ENDS]
    losses = [key for key in steps[0] if key == 'loss' or (key.startswith('local') and key.endswith('.loss'))]
    results = dict(
        name=name,
        command=' '.join(map(str, ['tools/train.py', run.config, *local, *options])),
        iterations=len(steps),
        losses={key: [mean(s[key] for s in steps[i : i + ENDS]) for i in starts] for key in losses},
        evaluation={k: v for k, v in lines[-1].items() if isinstance(v, float) and '/' in k or k in ('mIoU', 'aAcc')},
    )
    if num_blocks is not None:
        results.update(_opened_by_stock(stock, out))
    return results


def write_table(results: Sequence[Mapping[str, Any]]) -> str:
    """What came out, in Markdown: means of the first and of the last ten iterations, figures, checkpoints.

    Of a loss that has risen, the highest mean of ten iterations stands between them.

    Args:
        results (Sequence[Mapping]): What :func:`run_small` gave for each model.
    """
    lines = [
        '| model | iterations | main loss | local losses | evaluation | published checkpoint |',
        '|---|---|---|---|---|---|',
    ]
    for found in results:
        losses = {key: ' → '.join(f'{loss:.2f}' for loss in _turns(curve)) for key, curve in found['losses'].items()}
        main = losses.pop('loss')
        figures = {key.rpartition('/')[2]: value for key, value in found['evaluation'].items()}
        figures = ', '.join(f'{key} {value:.3g}' for key, value in figures.items() if key in FIGURES)
        local, checkpoint = ', '.join(losses.values()), _checkpoint(found)
        lines.append(f'| {found["name"]} | {found["iterations"]} | {main} | {local} | {figures} | {checkpoint} |')
    return '\n'.join(lines) + '\n'


def _checkpoint(found: Mapping[str, Any]) -> str:
    if 'missing' not in found:
        return ''
    if lost := len(found['missing']) + len(found['unexpected']):
        return f'{lost} keys differ'
    return 'opens, same predictions' if found['same_predictions'] else 'opens, predicts something else'


def _turns(curve: Sequence[float]) -> list[float]:
    """The ends of a curve, and its height in between if it ends above where it began."""
    return [curve[0], curve[-1]] if curve[-1] < curve[0] else [curve[0], max(curve), curve[-1]]


def _opened_by_stock(stock: Path, out: Path) -> dict[str, Any]:
    """Publish the checkpoint, open it in the stock config, and compare what both models predict."""
    path = Path((out / 'run/last_checkpoint').read_text())
    published = publish(path, out / 'published.pth')
    plain_cfg = load_config(str(stock))
    local_cfg = Config.fromfile(next(path.parent.glob('*.py')))
    with DefaultScope.overwrite_default_scope(plain_cfg.default_scope):
        plain, local = map(_model, (plain_cfg, local_cfg))
        state = torch.load(published, weights_only=True)['state_dict']
        keys = plain.load_state_dict(state, strict=False)
        local.load_state_dict(torch.load(path, weights_only=False)['state_dict'])
        dataset = DATASETS.build(plain_cfg.test_dataloader.dataset)
        predictions = []
        for model in (plain, local):
            with torch.no_grad():
                samples = model.test_step(pseudo_collate([dataset[0]]))
            predictions.append([x for s in samples for x in tree_leaves(_tensors(s)) if isinstance(x, torch.Tensor)])
    same = len(predictions[0]) == len(predictions[1]) and all(map(torch.equal, *predictions))
    return dict(missing=list(keys.missing_keys), unexpected=list(keys.unexpected_keys), same_predictions=same)


def _model(cfg: Config) -> nn.Module:
    """The model, with the data preprocessor that a runner gives it."""
    given = {'data_preprocessor': cfg.data_preprocessor} if 'data_preprocessor' in cfg else {}
    return revert_sync_batchnorm(MODELS.build({**given, **cfg.model})).eval()


def _tensors(part: Any) -> Any:
    """All that a data sample holds."""
    if hasattr(part, 'all_items'):
        return {key: _tensors(value) for key, value in part.all_items()}
    return part
