"""Runs of tiny two-stage detectors, whose second stage depends on what the first predicts."""

from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.fileio import dump, load
from mmengine.hub import get_config

from .runner import tiny_run_cfg

TWO_STAGE = {
    'faster': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mask': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'cascade': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
}
# Of the shipped settings, what makes the models large.
SMALL = dict(
    num_classes=3, in_channels=8, feat_channels=8, out_channels=8, conv_out_channels=8, fc_out_channels=16, num=32
)


def tiny_two_stage_cfg(
    name: str, num_blocks: int | None, work_dir: Path, data_root: Path, classes: tuple[str, ...]
) -> Config:
    """Config of a run of one of ``TWO_STAGE`` with a small ResNet-18 whose first stage is frozen, as mmdet ships it.

    Args:
        name (str): Which.
        num_blocks (int, optional): K, with RetinaNet heads as local heads; None for the plain mmdet model.
        work_dir (Path): Where the run writes.
        data_root (Path): Folder with ``annotations/`` and ``train2017/``.
        classes (tuple[str, ...]): Names of the three classes.
    """
    cfg = tiny_run_cfg(num_blocks, work_dir, data_root, classes=classes)
    local = cfg.model.backbone
    model = get_config(f'mmdet::{TWO_STAGE[name]}').model
    for part in ('rpn_head', 'roi_head', 'train_cfg'):
        _make_small(model[part])
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=50)
    model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=8)
    if num_blocks is not None:
        local.backbone = model.backbone
        model.backbone = local
    cfg.model = model
    if name == 'mask':
        dataset = cfg.train_dataloader.dataset
        dataset.pipeline[1].with_mask = True
        dataset.ann_file = str(_with_masks(data_root / dataset.ann_file, work_dir / 'with_masks.json'))
    return cfg


def _make_small(node: ConfigDict | list) -> None:
    for key, value in list(node.items()) if isinstance(node, dict) else enumerate(node):
        if isinstance(value, (dict, list)):
            _make_small(value)
        elif key in SMALL:
            node[key] = SMALL[key]


def _with_masks(annotations: Path, path: Path) -> Path:
    """Write annotations with the boxes as masks, which the photos have none of."""
    found = load(annotations)
    for item in found['annotations']:
        x, y, width, height = item['bbox']
        item['segmentation'] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    dump(found, path)
    return path
